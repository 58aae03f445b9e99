/// Blocks of rows of a group of columns, and which of them are alike.
///
/// Candidates are neighbours in the order of random projections, those of L2-LSH (Datar et al. 2004): with as many
/// neighbours as a bucket would hold, there are no bucket widths to choose.
struct BlockNeighbours {
    let values: FloatBlock
    let blockRows: Int
    let columns: Range<Int>
    /// Entries that differ by no more count as equal.
    let tolerance: Float

    /// How alike two blocks are.
    struct Match {
        /// Entries that are equal.
        var equal: Int
        /// The squared distance.
        var distance: Float
        var block: Int

        static let none = Match(equal: -1, distance: .infinity, block: -1)

        /// Of equals, the block that comes first.
        func isBetter(than other: Match) -> Bool {
            if equal != other.equal { return equal > other.equal }
            if distance != other.distance { return distance < other.distance }
            return block < other.block
        }
    }

    var blockEntries: Int { blockRows &* columns.count }

    /// For each of `blocks` the most alike of the others, among `reach` neighbours on either side along each projection.
    func best(of blocks: [Int32], projections: Int, reach: Int, random: inout SeededRandom) throws -> [Match] {
        var best = try [Match](allocating: .none, count: blocks.count)
        for _ in 0..<projections {
            let order = try Self.order(try places(of: blocks, &random))
            // Neighbours lie side by side.
            try inOrder(order.map { blocks[$0] }) { entries in
                for (place, index) in order.enumerated() {
                    let own = entries + place &* blockEntries
                    var kept = best[index]
                    for next in min(place + 1, order.count)..<min(place + 1 + reach, order.count) {
                        let other = order[next]
                        var match = compare(own, entries + next &* blockEntries, of: Int(blocks[other]))
                        if match.isBetter(than: kept) { kept = match }
                        match.block = Int(blocks[index])
                        if match.isBetter(than: best[other]) { best[other] = match }
                    }
                    best[index] = kept
                }
            }
        }
        return best
    }

    /// For each of `blocks` the nearest of `targets` that is found in the same way, if it is nearer than the one given.
    func nearest(
        of blocks: [Int32], among targets: [Int32], unless known: [Int32], projections: Int, reach: Int,
        random: inout SeededRandom
    ) throws -> [Int32] {
        if blocks.isEmpty { return [] }
        // Blocks follow each other in memory; those that they are compared with may lie anywhere.
        var best = try [Match](allocating: .none, count: blocks.count)
        try inOrder(blocks) { entries in
            try inOrder(known) { others in
                for index in blocks.indices {
                    best[index] = compare(
                        entries + index &* blockEntries, others + index &* blockEntries, of: Int(known[index]))
                }
            }
            for _ in 0..<projections {
                let start = random
                let targetPlaces = try places(of: targets, &random)
                // Along the same direction.
                random = start
                let places = try places(of: blocks, &random)
                let targetOrder = try Self.order(targetPlaces)
                let order = try Self.order(places)
                try inOrder(targetOrder.map { targets[$0] }) { others in
                    var place = 0
                    for index in order {
                        while place < targetOrder.count, targetPlaces[targetOrder[place]] < places[index] { place += 1 }
                        for next in max(place - reach, 0)..<min(place + reach, targetOrder.count) {
                            let match = compare(
                                entries + index &* blockEntries, others + next &* blockEntries,
                                of: Int(targets[targetOrder[next]]))
                            if match.distance < best[index].distance { best[index] = match }
                        }
                    }
                }
            }
        }
        return best.map { Int32($0.block) }
    }

    /// The indices of numbers in ascending order; there are fewer than 2^32.
    private static func order(_ places: [Float]) throws -> [Int] {
        // The keys, as much again to sort them, and the order.
        try Allocation.require(Checked.product(places.count, 3, MemoryLayout<Int>.stride))
        var keys = places.enumerated().map { index, place in
            // Patterns of floats in the order of their values.
            let pattern = place.bitPattern
            let ordered = pattern >> 31 == 1 ? ~pattern : pattern | 1 << 31
            return UInt64(ordered) << 32 | UInt64(index)
        }
        keys.sort()
        return keys.map { Int($0 & 0xffff_ffff) }
    }

    /// Where blocks lie along a random direction.
    private func places(of blocks: [Int32], _ random: inout SeededRandom) throws -> [Float] {
        let entries = Checked.product(blockRows, columns.count)
        try Allocation.require(Checked.sum(of: [entries, blocks.count]).flatMap { Checked.product($0, 4) })
        let direction = (0..<blockEntries).map { _ -> Float in
            // The sum of four uniform numbers is near enough to a normal one.
            let bits = random.next()
            let sum = (0..<4).reduce(0) { $0 + Int((bits &>> UInt64(16 * $1)) & 0xffff) }
            return Float(sum - 131_070) / 37_837
        }
        return blocks.map { project(Int($0), direction) }
    }

    private func project(_ block: Int, _ direction: [Float]) -> Float {
        direction.withUnsafeBufferPointer { direction in
            var sum: Float = 0
            var entry = 0
            for row in block * blockRows..<(block + 1) * blockRows {
                let values = values.row(row)
                for column in columns {
                    sum += values[column] * direction[entry]
                    entry &+= 1
                }
            }
            return sum
        }
    }

    /// The share of entries that are equal.
    func similarity(_ block: Int, _ other: Int) throws -> Double {
        try inOrder([Int32(block), Int32(other)]) {
            Double(compare($0, $0 + blockEntries, of: other).equal) / Double(blockEntries)
        }
    }

    /// Calls `body` with the entries of blocks, one after the other.
    private func inOrder<Result>(
        _ blocks: [Int32], _ body: (UnsafePointer<Float>) throws -> Result
    ) throws -> Result {
        let entries = try Buffer<Float>(count: Checked.product(blocks.count, blockEntries) ?? Int.max)
        defer { entries.keep() }
        copy(blocks, rows: .max, to: entries.base)
        return try body(entries.base)
    }

    @inline(__always)
    private func compare(_ left: UnsafePointer<Float>, _ right: UnsafePointer<Float>, of block: Int) -> Match {
        var match = Match(equal: 0, distance: 0, block: block)
        for entry in 0..<blockEntries {
            let difference = left[entry] - right[entry]
            match.distance += difference * difference
            match.equal &+= difference.magnitude <= tolerance ? 1 : 0
        }
        return match
    }

    /// Copies blocks one after the other.
    func copy(_ blocks: [Int32], rows: Int, to target: UnsafeMutablePointer<Float>) {
        var target = target
        for block in blocks.lazy.map(Int.init) {
            for row in block * blockRows..<min((block + 1) * blockRows, rows) {
                target.update(from: values.row(row) + columns.lowerBound, count: columns.count)
                target += columns.count
            }
        }
    }
}
