internal import CEmbedCompress.Shims

/// CAFE's sketch of which ids are important (Zhang et al., SIGMOD 2024, arXiv 2312.03256), in a caller's memory.
///
/// An id has one of the `depth` slots of the bucket that its hash says, if it is among the most important ones there. As in
/// SpaceSaving, an id without a slot takes that of the least important one of its bucket, and adds to what that had.
package struct HotSketch {
    /// Slots of a bucket.
    package static let depth = 4
    /// How many times as important an id with a row of its own counts.
    private static let stays: Float = 1.25

    /// The id of each slot, or a negative number.
    private let keys: UnsafeMutablePointer<Int64>
    /// Its importance.
    private let scores: UnsafeMutablePointer<Float>
    /// The place of its own row, or a negative number.
    private let places: UnsafeMutablePointer<Int32>
    /// From 1 to 2^31.
    private let buckets: Int
    private let seed: UInt64

    /// Arrays have `buckets * depth` elements.
    package init(
        keys: UnsafeMutablePointer<Int64>, scores: UnsafeMutablePointer<Float>, places: UnsafeMutablePointer<Int32>,
        buckets: Int, seed: Int
    ) throws {
        guard (1...Remap.maximumHashedRows).contains(buckets) else {
            throw EmbedCompressError.invalidArgument(
                "buckets must be from 1 to \(Remap.maximumHashedRows), not \(buckets)")
        }
        (self.keys, self.scores, self.places, self.buckets) = (keys, scores, places, buckets)
        self.seed = UInt64(bitPattern: Int64(seed))
    }

    /// Writes the place of each id's own row, or -1.
    package func places(_ ids: IDs, into output: UnsafeMutablePointer<Int64>) {
        Parallel.forEach(count: ids.count, grain: 1 << 12) { range in
            for position in range {
                if position &+ Self.ahead < range.upperBound { prefetch(bucket(ids[position &+ Self.ahead])) }
                let id = ids[position]
                let slot = slot(id, bucket(id))
                output[position] = slot < 0 ? -1 : Int64(max(places[slot], -1))
            }
        }
    }

    /// Adds to the importance of ids, of which some may come several times.
    ///
    /// Of ids that are new to a bucket, the `depth` that are most important in the batch take part, the most important one
    /// last. Those whose importance in the batch is not above 0 don't.
    ///
    /// - Throws: ``EmbedCompressError/invalidID(position:id:rows:)`` for a negative id, and
    ///   ``EmbedCompressError/invalidArgument(_:)`` for one too large to be sorted with its position; nothing has then
    ///   changed. Where memory is refused, ids with slots may have become more important.
    package func add(_ ids: IDs, _ norms: UnsafePointer<Float>) throws {
        guard ids.count > 0 else { return }
        var most: Int64 = 0
        for position in 0..<ids.count { most = max(most, ids[position]) }
        guard most.leadingZeroBitCount + (ids.count - 1).leadingZeroBitCount >= 64 else {
            throw EmbedCompressError.invalidArgument(
                "ids of up to \(most) are too large for a batch of \(ids.count): both have more than 64 bits together")
        }
        try Scratch.checking {
            try SortedPositions.with(ids, rows: Int(min(most, .max - 1)) + 1) { order in
                try Scratch.with(order.groups, of: New.self) { new in
                    let count = addUp(order, norms, new: new)
                    try replace(new, count: count)
                }
            }
        }
    }

    /// An id without a slot.
    private struct New {
        let id: Int64
        let bucket: Int64
        let sum: Float
    }

    /// Adds to what ids with slots have, and returns how many others there are.
    private func addUp(
        _ order: SortedPositions, _ norms: UnsafePointer<Float>, new: UnsafeMutablePointer<New>
    ) -> Int {
        var count = 0
        for group in 0..<order.groups {
            if group &+ Self.ahead < order.groups { prefetch(bucket(Int64(order.row(group &+ Self.ahead)))) }
            var sum: Float = 0
            for place in order.places(group) { sum += norms[order.position(place)] }
            let id = Int64(order.row(group))
            let bucket = bucket(id)
            let slot = slot(id, bucket)
            if slot >= 0 {
                scores[slot] += sum
            } else if sum > 0 {
                new[count] = New(id: id, bucket: Int64(bucket), sum: sum)
                count &+= 1
            }
        }
        return count
    }

    /// Gives slots to ids that rise.
    private func replace(_ new: UnsafePointer<New>, count: Int) throws {
        guard count > 0 else { return }
        try Scratch.with(count, of: Int64.self) { owners in
            for index in 0..<count { owners[index] = new[index].bucket }
            let ids = IDs(base: UnsafeRawPointer(owners), count: count, width: 8)
            try SortedPositions.with(ids, rows: buckets) { order in
                for group in 0..<order.groups {
                    let places = order.places(group)
                    withLargest(order, places, new) { best, count in
                        for turn in 0..<count { take(order.row(group), new[best[count &- 1 &- turn]]) }
                    }
                }
            }
        }
    }

    /// Calls `body` with the up to `depth` most important ones of a bucket, in falling order; of equal ones those come
    /// first that do so in the batch's order of ids.
    private func withLargest(
        _ order: SortedPositions, _ places: Range<Int>, _ new: UnsafePointer<New>,
        _ body: (UnsafePointer<Int>, Int) -> Void
    ) {
        withUnsafeTemporaryAllocation(of: Int.self, capacity: Self.depth) { best in
            guard let base = best.baseAddress else { return }
            var count = 0
            for place in places {
                let index = order.position(place)
                var rank = count
                while rank > 0, new[base[rank &- 1]].sum < new[index].sum { rank &-= 1 }
                if rank == Self.depth { continue }
                count = min(count &+ 1, Self.depth)
                var last = count &- 1
                while last > rank {
                    base[last] = base[last &- 1]
                    last &-= 1
                }
                base[rank] = index
            }
            body(UnsafePointer(base), count)
        }
    }

    /// Gives an id the cheapest slot of its bucket; an empty one is the cheapest.
    private func take(_ bucket: Int, _ new: New) {
        var (cheapest, least) = (bucket &* Self.depth, Float.infinity)
        for slot in bucket &* Self.depth..<(bucket &+ 1) &* Self.depth {
            let cost = keys[slot] < 0 ? -1 : places[slot] >= 0 ? scores[slot] * Self.stays : scores[slot]
            if cost < least { (cheapest, least) = (slot, cost) }
        }
        keys[cheapest] = new.id
        scores[cheapest] += new.sum
        places[cheapest] = -1
    }

    // MARK: - Slots

    /// How many ids ahead memory is asked for.
    private static let ahead = 16

    @inline(__always)
    private func bucket(_ id: Int64) -> Int {
        Int(truncatingIfNeeded: Remap.hash(UInt64(bitPattern: id), seed: seed, rows: UInt64(buckets)))
    }

    /// The slot of an id, or -1.
    @inline(__always)
    private func slot(_ id: Int64, _ bucket: Int) -> Int {
        guard id >= 0 else { return -1 }
        for slot in bucket &* Self.depth..<(bucket &+ 1) &* Self.depth where keys[slot] == id { return slot }
        return -1
    }

    @inline(__always)
    private func prefetch(_ bucket: Int) {
        ec_prefetch(keys + bucket &* Self.depth)
        ec_prefetch(scores + bucket &* Self.depth)
        ec_prefetch(places + bucket &* Self.depth)
    }
}
