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

    var blockEntries: Int { blockRows * columns.count }

    /// For each of `blocks` the most alike of the others, among `reach` neighbours on either side along each projection.
    func best(of blocks: [Int32], projections: Int, reach: Int, random: inout SeededRandom) -> [Match] {
        var best = [Match](repeating: .none, count: blocks.count)
        for _ in 0..<projections {
            let order = Self.order(places(of: blocks, &random))
            for (place, index) in order.enumerated() {
                for next in order[min(place + 1, order.count)..<min(place + 1 + reach, order.count)] {
                    var match = compare(Int(blocks[index]), Int(blocks[next]))
                    if match.isBetter(than: best[index]) { best[index] = match }
                    match.block = Int(blocks[index])
                    if match.isBetter(than: best[next]) { best[next] = match }
                }
            }
        }
        return best
    }

    /// For each of `blocks` the nearest of `targets` that is found in the same way, if it is nearer than the one given.
    func nearest(
        of blocks: [Int32], among targets: [Int32], unless known: [Int32], projections: Int, reach: Int,
        random: inout SeededRandom
    ) -> [Int32] {
        var best = zip(blocks, known).map { compare(Int($0), Int($1)) }
        for _ in 0..<projections {
            let start = random
            let targetPlaces = places(of: targets, &random)
            // Along the same direction.
            random = start
            let places = places(of: blocks, &random)
            let targetOrder = Self.order(targetPlaces)
            var place = 0
            for index in Self.order(places) {
                while place < targetOrder.count, targetPlaces[targetOrder[place]] < places[index] { place += 1 }
                for target in targetOrder[max(place - reach, 0)..<min(place + reach, targetOrder.count)] {
                    let match = compare(Int(blocks[index]), Int(targets[target]))
                    if match.distance < best[index].distance { best[index] = match }
                }
            }
        }
        return best.map { Int32($0.block) }
    }

    /// The indices of numbers in ascending order; there are fewer than 2^32.
    private static func order(_ places: [Float]) -> [Int] {
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
    private func places(of blocks: [Int32], _ random: inout SeededRandom) -> [Float] {
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
    func similarity(_ block: Int, _ other: Int) -> Double {
        Double(compare(block, other).equal) / Double(blockEntries)
    }

    private func compare(_ block: Int, _ other: Int) -> Match {
        var match = Match(equal: 0, distance: 0, block: other)
        for row in 0..<blockRows {
            let (left, right) = (values.row(block * blockRows + row), values.row(other * blockRows + row))
            for column in columns {
                let difference = left[column] - right[column]
                match.distance += difference * difference
                match.equal &+= difference.magnitude <= tolerance ? 1 : 0
            }
        }
        return match
    }

    /// Copies blocks one after the other.
    func copy(_ blocks: [Int], rows: Int, to target: UnsafeMutablePointer<Float>) {
        var target = target
        for block in blocks {
            for row in block * blockRows..<min((block + 1) * blockRows, rows) {
                target.update(from: values.row(row) + columns.lowerBound, count: columns.count)
                target += columns.count
            }
        }
    }
}
