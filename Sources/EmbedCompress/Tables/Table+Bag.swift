/// The arguments of a pooled lookup, in a caller's memory.
package struct Bags {
    let ids: IDs
    let offsets: IDs
    /// One for each id; nil for all ones.
    let weights: UnsafePointer<Float>?
    /// Whether the last offset is the end of the last bag, not the start of another one.
    let includesLastOffset: Bool
    /// Ids equal to this are left out, as in `torch.nn.EmbeddingBag`; -1 for none.
    let paddingID: Int64
    let pooling: Pooling
    let onInvalid: InvalidIDs

    package init(
        ids: IDs, offsets: IDs, weights: UnsafePointer<Float>?, includesLastOffset: Bool, paddingID: Int64,
        pooling: Pooling,
        onInvalid: InvalidIDs
    ) {
        self.ids = ids
        self.offsets = offsets
        self.weights = weights
        self.includesLastOffset = includesLastOffset
        self.paddingID = paddingID
        self.pooling = pooling
        self.onInvalid = onInvalid
    }

    package var count: Int { includesLastOffset ? max(offsets.count - 1, 0) : offsets.count }

    /// Where the ids of a bag begin; those of the one after the last bag, where they end. Clamped, so that offsets
    /// which change during the call can't lead out of bounds.
    @inline(__always)
    func start(_ bag: Int) -> Int {
        bag < offsets.count ? min(max(Int(offsets[bag]), 0), ids.count) : ids.count
    }

    /// Where the ids of a bag are.
    @inline(__always)
    func places(_ bag: Int) -> Range<Int> {
        let first = start(bag)
        return first..<max(bag == count - 1 ? ids.count : start(bag + 1), first)
    }

    /// Calls `body` with an array of weights.
    static func with<Result>(
        _ ids: IDs, offsets: IDs, weights: [Float]?, includesLastOffset: Bool, paddingID: Int?, pooling: Pooling,
        onInvalid: InvalidIDs, _ body: (Bags) throws -> Result
    ) throws -> Result {
        if let weights, weights.count != ids.count {
            throw EmbedCompressError.invalidArgument("\(weights.count) weights do not go with \(ids.count) ids")
        }
        return try (weights ?? []).withUnsafeBufferPointer { values in
            try body(
                Bags(
                    ids: ids, offsets: offsets,
                    weights: weights.map { _ in values.baseAddress ?? nothing.assumingMemoryBound(to: Float.self) },
                    includesLastOffset: includesLastOffset, paddingID: Int64(paddingID ?? -1), pooling: pooling,
                    onInvalid: onInvalid))
        }
    }

    /// The ids of the bags from `first` on that have one id each, up to `limit` of them.
    func singles(from first: Int, limit: Int) -> Range<Int> {
        let begin = start(first)
        var count = 0
        while count < limit, begin + count < ids.count, start(first + count + 1) == begin + count + 1 { count += 1 }
        return begin..<begin + count
    }

    /// Whether every bag is the row of its one id, however rows are put together.
    var areRows: Bool {
        weights == nil && paddingID < 0 && ids.count == count && ids.count > 0 && offsets.areConsecutive
    }

    func check() throws {
        if weights != nil, pooling != .sum {
            throw EmbedCompressError.invalidArgument("per-sample weights go with the mode sum only")
        }
        guard offsets.count > 0 else {
            if includesLastOffset {
                throw EmbedCompressError.invalidArgument("offsets that include the last offset must not be empty")
            }
            if ids.count > 0 { throw EmbedCompressError.invalidArgument("there are \(ids.count) ids but no offsets") }
            return
        }
        if offsets[0] == 0, !offsets.decrease {
            let last = offsets[offsets.count - 1]
            if includesLastOffset ? last == ids.count : last <= ids.count { return }
        }
        try explain()
    }

    /// Throws what is wrong with offsets that are none.
    private func explain() throws {
        guard offsets[0] == 0 else {
            throw EmbedCompressError.invalidArgument("offsets must start at 0, not \(offsets[0])")
        }
        var previous: Int64 = 0
        for position in 0..<offsets.count {
            let offset = offsets[position]
            if offset < previous {
                throw EmbedCompressError.invalidArgument(
                    "offsets must not decrease, but the offset at position \(position) is \(offset) after \(previous)")
            }
            if offset > ids.count {
                throw EmbedCompressError.invalidArgument(
                    "the offset at position \(position) is \(offset), past the end of \(ids.count) ids")
            }
            previous = offset
        }
        if includesLastOffset, previous != ids.count {
            throw EmbedCompressError.invalidArgument(
                "the last offset must be the number of ids, \(ids.count), not \(previous)")
        }
    }
}

extension Table {
    /// Pooled rows: bag `b` has the ids `offsets[b] ..< offsets[b + 1]`, the last one those up to the end. An empty bag
    /// gives zeros. The semantics are those of `torch.nn.EmbeddingBag`.
    ///
    /// - Parameters:
    ///   - weights: One for each id; only with `.sum`.
    ///   - paddingID: Ids equal to this take no part.
    ///   - includesLastOffset: `offsets` has one more entry, the number of ids.
    /// - Returns: `bags * dimension` floats.
    /// - Throws: ``EmbedCompressError/invalidID(position:id:rows:)``, or ``EmbedCompressError/invalidArgument(_:)`` for
    ///   offsets that don't start at 0, decrease, or run past the end.
    public func bag(
        _ ids: [Int], offsets: [Int], pooling: Pooling = .sum, weights: [Float]? = nil, paddingID: Int? = nil,
        includesLastOffset: Bool = false, onInvalid: InvalidIDs = .raise
    ) throws -> [Float] {
        try IDs.with(ids) { ids in
            try IDs.with(offsets) { offsets in
                try bag(
                    ids, offsets: offsets, pooling: pooling, weights: weights, paddingID: paddingID,
                    includesLastOffset: includesLastOffset, onInvalid: onInvalid)
            }
        }
    }

    @usableFromInline
    package func bag(
        _ ids: IDs, offsets: IDs, pooling: Pooling, weights: [Float]?, paddingID: Int?, includesLastOffset: Bool,
        onInvalid: InvalidIDs
    ) throws -> [Float] {
        try checkPadding(paddingID)
        return try Bags.with(
            ids, offsets: offsets, weights: weights, includesLastOffset: includesLastOffset, paddingID: paddingID,
            pooling: pooling, onInvalid: onInvalid
        ) { bags in
            try Self.floats(bags.count, dimension) { try bag(bags, into: $0) }
        }
    }

    @usableFromInline
    package func bag(
        _ ids: IDs, offsets: IDs, into output: UnsafeMutableBufferPointer<Float>, pooling: Pooling, weights: [Float]?,
        paddingID: Int?, includesLastOffset: Bool, onInvalid: InvalidIDs
    ) throws {
        try checkPadding(paddingID)
        try Bags.with(
            ids, offsets: offsets, weights: weights, includesLastOffset: includesLastOffset, paddingID: paddingID,
            pooling: pooling, onInvalid: onInvalid
        ) { bags in
            try bag(bags, into: try checked(output, rows: bags.count))
        }
    }

    private func checkPadding(_ id: Int?) throws {
        if let id, id < 0 || id >= rows {
            throw EmbedCompressError.invalidArgument("paddingID must be from 0 to \(rows - 1), not \(id)")
        }
    }

    /// Pooled rows, one after the other.
    package func bag(_ bags: Bags, into output: UnsafeMutablePointer<Float>) throws {
        try bags.check()
        if bags.areRows { return try lookup(bags.ids, onInvalid: bags.onInvalid, into: output) }
        try reading { try pool(bags, into: output) }
    }

    private func pool(_ bags: Bags, into output: UnsafeMutablePointer<Float>) throws {
        let zeros = try check(bags.ids, bags.onInvalid)
        let context = LookupContext(onInvalid: bags.onInvalid)
        let feature = PooledFeature(
            table: self, bags: bags, context: context, output: output, outputStride: dimension)
        withUnsafePointer(to: feature) { PooledFeature.pool(UnsafeBufferPointer(start: $0, count: 1)) }
        countInvalid(zeros + (try context.finish()))
    }
}

/// Shorter runs of bags of one id take part in blocks.
private let leastSingles = 8

/// Packs bags into blocks. A bag of up to `blockCapacity` ids is never split; a longer one is split from its own start,
/// so that the order of its sums depends on nothing but itself.
struct BlockFiller {
    private let feature: PooledFeature
    private let root: any Node
    private let tableRows: Int
    private let dimension: Int
    private let bags: Bags
    private let ids: UnsafeMutablePointer<Int64>
    private let weights: UnsafeMutablePointer<Float>
    private let segments: UnsafeMutablePointer<Segment>
    private let rows: UnsafeMutablePointer<Float>
    private let kernel: KernelSpace
    private let rowCapacity: Int
    /// The ids where they are, if blocks may have them there.
    private let direct: UnsafePointer<Int64>?
    /// Whether kernels ask for the rows of the next block.
    private let asksAhead: Bool
    /// The most ids of bags that are summed without blocks.
    private let longestShortBag: Int
    /// The ids for them, where there are any: element `i` is the call's id `i`.
    private var shortIDs: UnsafePointer<Int64>?
    /// Ids that are copied at once: more than a chunk of a call has, unless a bag has very many.
    private static let mostCopiedIDs = 1 << 16
    /// After the last id of the bags that are added.
    private var lastID = 0
    /// The first id of the bags that are added.
    private var firstChunkID = 0
    /// Where the ids begin that the block before had ahead.
    private var aheadID = -1
    private var idCount = 0
    /// Where the block's ids begin, of which the last `uncopied` are not in it yet.
    private var firstID = 0
    private var uncopied = 0
    private var segmentCount = 0

    init(feature: PooledFeature, space: BlockSpace) {
        self.feature = feature
        (root, tableRows, dimension) = (feature.table.root, feature.table.rows, feature.table.dimension)
        bags = feature.bags
        (ids, weights, segments, rows) = (space.ids, space.weights, space.segments, space.rows)
        kernel = space.kernel
        rowCapacity = BlockSpace.rowCapacity(feature.table)
        direct = feature.table.root.takesAnyIDs ? feature.bags.ids.direct(from: 0) : nil
        asksAhead = feature.table.root.ownBytes > worthPrefetching
        let isPlain = feature.bags.weights == nil && feature.bags.paddingID < 0 && feature.bags.pooling != .max
        longestShortBag = isPlain ? feature.table.root.longestShortBag : -1
    }

    mutating func add(_ range: Range<Int>) {
        firstChunkID = bags.start(range.lowerBound)
        lastID = max(bags.start(range.upperBound), firstChunkID)
        let count = lastID - firstChunkID
        if longestShortBag >= 0, direct == nil, count > Self.mostCopiedIDs {
            // A bag of so many ids is not short; those beside it may be.
            guard range.count > 1 else { return addBags(range) }
            let middle = range.lowerBound + range.count / 2
            add(range.lowerBound..<middle)
            return add(middle..<range.upperBound)
        }
        guard longestShortBag >= 0 else { return addBags(range) }
        if let direct {
            shortIDs = direct
            return addBags(range)
        }
        Scratch.with(count, of: Int64.self) { copy in
            bags.ids.copy(from: firstChunkID, count: count, rows: tableRows, to: copy)
            shortIDs = UnsafePointer(copy - firstChunkID)
            addBags(range)
            shortIDs = nil
        }
    }

    private mutating func addBags(_ range: Range<Int>) {
        // Without weights and padding, a bag of one id is its row, and a run of them a lookup. The sum over one id gives
        // the same bits, but for the sign of a zero.
        let mayGather = bags.weights == nil && bags.paddingID < 0
        let isPlain = mayGather && bags.pooling != .max
        let isMean = bags.pooling == .mean
        var bag = range.lowerBound
        var start = bags.start(bag)
        while bag < range.upperBound {
            if longestShortBag >= 0 {
                let short = addShort(bag..<range.upperBound)
                if short > 0 {
                    bag &+= short
                    start = bags.start(bag)
                    continue
                }
            }
            let end = max(bags.start(bag &+ 1), start)
            let count = end &- start
            if isPlain, count > 1, count <= blockCapacity {
                if idCount &+ count > blockCapacity { flush() }
                // Bags follow each other, so that a block's ids can be copied at once.
                if idCount == 0 { firstID = start }
                segments[segmentCount] = Segment(
                    start: idCount, end: idCount &+ count, output: feature.output + bag &* feature.outputStride,
                    replaces: true, divisor: isMean ? Float(count) : 1)
                segmentCount &+= 1
                idCount &+= count
                uncopied &+= count
                start = end
                bag &+= 1
                continue
            }
            if mayGather, count == 1 {
                let singles = bags.singles(from: bag, limit: min(blockCapacity, range.upperBound - bag))
                if singles.count >= leastSingles {
                    gather(singles, from: bag)
                    bag += singles.count
                    start = singles.upperBound
                    continue
                }
            }
            add(bag, start..<end)
            start = end
            bag &+= 1
        }
        flush()
    }

    /// Sums short bags from the range's first on. Returns how many there are; none where the first is not short.
    private mutating func addShort(_ range: Range<Int>) -> Int {
        guard let shortIDs, bags.start(range.lowerBound + 1) - bags.start(range.lowerBound) <= longestShortBag else {
            return 0
        }
        flush()
        return root.writeSums(
            of: ShortBags(
                all: bags, ids: shortIDs, range: range, longest: longestShortBag, places: firstChunkID..<lastID,
                output: feature.output + range.lowerBound * feature.outputStride, outputStride: feature.outputStride))
    }

    /// Looks ids up for bags of one id, from `bag` on.
    private mutating func gather(_ range: Range<Int>, from bag: Int) {
        flush()
        let target = feature.output + bag * feature.outputStride
        if direct == nil { bags.ids.copy(from: range.lowerBound, count: range.count, rows: tableRows, to: ids) }
        root.gather(
            IDBlock(ids: direct.map { $0 + range.lowerBound } ?? UnsafePointer(ids), count: range.count),
            into: RowBlock(base: target, stride: feature.outputStride),
            context: feature.context)
    }

    private mutating func add(_ bag: Int, _ range: Range<Int>) {
        let target = feature.output + bag * feature.outputStride
        if idCount + min(range.count, blockCapacity) > blockCapacity || segmentCount == blockCapacity { flush() }
        var pooled = 0
        var start = range.lowerBound
        while start < range.upperBound {
            let end = min(start + blockCapacity, range.upperBound)
            if start > range.lowerBound { flush() }
            let first = idCount
            append(start..<end)
            let kept = idCount - first
            if kept > 0 {
                segments[segmentCount] = Segment(start: first, end: idCount, output: target, replaces: pooled == 0)
                segmentCount += 1
                if bags.pooling == .max { reduceMaximum() }
                pooled += kept
            }
            start = end
        }
        if pooled == 0 { target.update(repeating: 0, count: dimension) }
        guard bags.pooling == .mean, pooled > 1 else { return }
        if segmentCount > 0, segments[segmentCount - 1].output == target {
            segments[segmentCount - 1].divisor = Float(pooled)
        } else {
            // The last piece was padding alone: what came before it is summed already.
            for column in 0..<dimension { target[column] /= Float(pooled) }
        }
    }

    private mutating func append(_ range: Range<Int>) {
        let count = range.count
        if bags.weights == nil, bags.paddingID < 0, bags.pooling != .max {
            // Bags follow each other, so that a block's ids can be copied at once.
            if idCount == 0 { firstID = range.lowerBound }
            if range.lowerBound == firstID + idCount {
                uncopied += count
                idCount += count
                return
            }
            copyIDs()
        }
        bags.ids.copy(from: range.lowerBound, count: count, rows: tableRows, to: ids + idCount)
        if let source = bags.weights {
            for index in 0..<count { weights[idCount + index] = source[range.lowerBound + index] }
        }
        guard bags.paddingID >= 0 else {
            idCount += count
            return
        }
        var kept = idCount
        for index in idCount..<idCount + count where ids[index] != bags.paddingID {
            ids[kept] = ids[index]
            if bags.weights != nil { weights[kept] = weights[index] }
            kept += 1
        }
        idCount = kept
    }

    /// Copies the ids that have not been copied yet, and `ahead` more.
    private mutating func copyIDs(ahead: Int = 0) {
        let copied = idCount - uncopied
        bags.ids.copy(from: firstID + copied, count: uncopied + ahead, rows: tableRows, to: ids + copied)
        uncopied = 0
    }

    private mutating func flush() {
        var block = IDBlock(ids: ids, count: idCount)
        if uncopied > 0 {
            let areTogether = uncopied == idCount
            if asksAhead, areTogether {
                let next = firstID + idCount
                block.ahead = max(min(lastID - next, blockCapacity), 0)
                block.wereAhead = firstID == aheadID
                aheadID = next
            }
            if areTogether, let direct {
                block.ids = direct + firstID
                uncopied = 0
            } else {
                copyIDs(ahead: block.ahead)
            }
        }
        if segmentCount > 0, bags.pooling != .max {
            let block = BagBlock(
                ids: block, weights: weights, isWeighted: bags.weights != nil, segments: segments,
                segmentCount: segmentCount, space: kernel)
            root.accumulate(block, context: feature.context)
            if bags.pooling == .mean { divide() }
        }
        idCount = 0
        segmentCount = 0
    }

    /// Makes means of a block's sums.
    private func divide() {
        for index in 0..<segmentCount where segments[index].divisor > 1 {
            let target = segments[index].output
            for column in 0..<dimension { target[column] /= segments[index].divisor }
        }
    }

    private mutating func reduceMaximum() {
        let segment = segments[segmentCount - 1]
        for start in stride(from: segment.start, to: segment.end, by: rowCapacity) {
            let count = min(rowCapacity, segment.end - start)
            root.gather(
                IDBlock(ids: ids + start, count: count), into: RowBlock(base: rows, stride: dimension),
                context: feature.context)
            for index in 0..<count {
                let row = rows + index * dimension
                if segment.replaces, start + index == segment.start {
                    segment.output.update(from: row, count: dimension)
                } else {
                    for column in 0..<dimension where row[column] > segment.output[column] {
                        segment.output[column] = row[column]
                    }
                }
            }
        }
        idCount = 0
        segmentCount = 0
    }
}
