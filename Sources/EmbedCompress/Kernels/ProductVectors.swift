/// Vectors that rows of a table are multiplied with, laid out for the groups of the rows' columns.
///
/// They are taken four at a time, or one alone if no more are left. Those of a pass lie chunk by chunk: sixteen columns of
/// each, one after the other. Each group is padded with zeros to whole chunks: what is decoded past a group's last column
/// then counts for nothing. Chunks that a format decodes in fours stand in the order in which it gives their columns.
struct ProductVectors {
    let count: Int
    /// Numbers of a padded vector.
    private let padded: Int
    /// The vectors, pass after pass.
    private let values: [Float]
    /// The sums of the columns of each group, four for each group of a pass.
    private let sums: [Float]
    private let groups: Int
    /// Whether sums of products with codes or entries, before they are scaled, are far from the largest float. Others are
    /// multiplied with decoded rows, so that only what is infinite there is.
    let areSmall: Bool

    /// Vectors that rows are multiplied with at once.
    struct Pass {
        let first: Int
        /// 1, or 2 to 4: room is for four then.
        let count: Int
        let values: UnsafePointer<Float>
        let sums: UnsafePointer<Float>
    }

    /// - Parameters:
    ///   - vectors: `count` of them, one after the other.
    ///   - ordered: Puts a tile of the format in the order of its columns.
    init(_ vectors: UnsafePointer<Float>, count: Int, dimension: Int, groups: ColumnGroups, ordered: (Tile) -> Tile)
        throws
    {
        let padded = groups.reduce(0) { $0 + ($1.columns + 15) & ~15 }
        let room = count + 3
        try Allocation.require(Checked.product(room, padded + groups.count, MemoryLayout<Float>.size))
        var values = [Float](repeating: 0, count: room * padded)
        var sums = [Float](repeating: 0, count: room * groups.count + 4 * groups.count)
        // The lane of a tile that each of its columns comes from.
        let lanes = Self.lanes(of: ordered)
        var largest: Float = 0
        for vector in 0..<count {
            let (first, lane) = (vector & ~3, vector & 3)
            let width = min(count - first, 4) == 1 ? 1 : 4
            let source = vectors + vector * dimension
            var start = 0
            for (number, group) in groups.enumerated() {
                let inTiles = group.columns & ~63
                var sum: Float = 0
                for column in 0..<group.columns {
                    let value = source[group.firstColumn + column]
                    let place = start + (column < inTiles ? column & ~63 | lanes[column & 63] : column)
                    values[first * padded + (place >> 4) * (16 * width) + lane * 16 + place & 15] = value
                    sum += value
                    // What is no number stays the largest.
                    largest = abs(value) <= largest ? largest : abs(value)
                }
                sums[first * groups.count + 4 * number + lane] = sum
                start += (group.columns + 15) & ~15
            }
        }
        (self.count, self.padded, self.values, self.sums, self.groups) = (count, padded, values, sums, groups.count)
        areSmall = largest < 0x1p64
    }

    /// Calls `body` with every pass.
    func forEachPass(_ body: (Pass) -> Void) {
        values.withUnsafeBufferPointer { values in
            sums.withUnsafeBufferPointer { sums in
                guard let values = values.baseAddress, let sums = sums.baseAddress else { return }
                for first in stride(from: 0, to: count, by: 4) {
                    body(
                        Pass(
                            first: first, count: min(count - first, 4), values: values + first * padded,
                            sums: sums + first * groups))
                }
            }
        }
    }

    private static func lanes(of ordered: (Tile) -> Tile) -> [Int] {
        func numbered(_ first: Int) -> Floats16 {
            var lanes = Floats16()
            for lane in 0..<16 { lanes[lane] = Float(first + lane) }
            return lanes
        }
        let tile = ordered(
            Tile(chunk0: numbered(0), chunk1: numbered(16), chunk2: numbered(32), chunk3: numbered(48)))
        return [tile.chunk0, tile.chunk1, tile.chunk2, tile.chunk3].flatMap { chunk in
            (0..<16).map { Int(chunk[$0]) }
        }
    }
}

/// Where products go: that of vector v and row r at `base[v * stride + r]`.
struct ProductBlock {
    let base: UnsafeMutablePointer<Float>
    let stride: Int

    /// The products of rows from `row` on.
    func rows(from row: Int) -> ProductBlock { ProductBlock(base: base + row, stride: stride) }
}
