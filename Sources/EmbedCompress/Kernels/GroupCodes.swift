/// The rows of a matrix under the scales and biases of its groups: what each row needs for its codes.
///
/// Scales and biases are spread to one for each column, so that sixteen columns are worked through at a time whatever the
/// width of a group. For one thread.
struct GroupCodes {
    let grid: GroupGrid
    private let ranges: GroupScales
    /// A column's scale, infinite where that is not positive, whose code is then 0; and its bias. Room for sixteen more.
    private let steps: UnsafeMutablePointer<Float>
    private let biases: UnsafeMutablePointer<Float>
    /// The line of groups that is spread; -1 for none.
    private var line = -1

    /// How many floats of scratch memory a matrix of so many columns needs.
    static func scratchCount(columns: Int) -> Int { 2 * (columns + 16) }

    /// - Parameter scratch: ``scratchCount(columns:)`` floats.
    init(_ grid: GroupGrid, _ ranges: GroupScales, scratch: UnsafeMutablePointer<Float>) {
        (self.grid, self.ranges) = (grid, ranges)
        (steps, biases) = (scratch, scratch + grid.columns + 16)
        scratch.update(repeating: 1, count: Self.scratchCount(columns: grid.columns))
    }

    /// Packs the codes of a row: `clamp(round((value - bias) / scale), 0, last)`, each operation in f32 and halves to
    /// even. At least as many columns as make whole sixteens are readable.
    mutating func pack(_ values: UnsafePointer<Float>, row: Int, bits: Int, to target: UnsafeMutableRawPointer) {
        spread(row / grid.groupRows)
        switch bits {
        case 1: pack(values, Codes1.self, target)
        case 2: pack(values, Codes2.self, target)
        case 3: pack(values, Codes3.self, target)
        case 4: pack(values, Codes4.self, target)
        case 5: pack(values, Codes5.self, target)
        case 6: pack(values, Codes6.self, target)
        case 7: pack(values, Codes7.self, target)
        default: pack(values, Codes8.self, target)
        }
    }

    @inline(__always)
    private func pack<Format: CodeFormat>(
        _ values: UnsafePointer<Float>, _: Format.Type, _ target: UnsafeMutableRawPointer
    ) {
        let last = Floats16(repeating: Float((1 << Format.bits) - 1))
        var column = 0
        RowValues(base: values, count: grid.columns).pack(as: Format.self, to: target) { values in
            defer { column &+= 16 }
            return nearestCodes((values - load16(biases + column)) / load16(steps + column), last)
        }
    }

    private mutating func spread(_ next: Int) {
        guard next != line else { return }
        line = next
        let first = next * grid.groupsPerLine
        for group in 0..<grid.groupsPerLine {
            let (scale, bias) = (ranges.scales[first + group], ranges.biases[first + group])
            let start = group * grid.groupColumns
            let count = min(grid.groupColumns, grid.columns - start)
            (steps + start).update(repeating: scale > 0 ? scale : .infinity, count: count)
            (biases + start).update(repeating: bias, count: count)
        }
    }
}

/// A scale and a bias for each group of a matrix.
struct GroupScales: Sendable {
    private let bytes: Bytes
    let count: Int

    /// Zeros.
    init(count: Int) throws {
        guard let size = Checked.product(count, 2, MemoryLayout<Float>.size) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        bytes = Bytes(try ByteStorage.allocate(size))
        self.count = count
    }

    /// Valid as long as this is; so are the biases.
    var scales: UnsafeMutablePointer<Float> { bytes.mutablePointer.assumingMemoryBound(to: Float.self) }
    var biases: UnsafeMutablePointer<Float> { scales + count }

    /// Rounds all to the type that stores them.
    ///
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` if one is not finite then.
    func round(to type: ScaleType) throws {
        for index in 0..<2 * count {
            if type == .float16 { scales[index] = floatFromHalf(halfFromFloat(scales[index])) }
            guard scales[index].isFinite else {
                throw EmbedCompressError.invalidArgument(
                    type == .float16
                        ? "a scale or a bias does not fit f16; scale_dtype='f32' holds larger ones"
                        : "a scale or a bias is not finite")
            }
        }
    }
}

/// The least and the largest element of each group of a matrix. Any thread may add rows.
final class GroupExtremes: @unchecked Sendable {
    private let grid: GroupGrid
    private let lock = Lock()
    /// The least element of each group in the place of scales, the largest in that of biases.
    private let found: GroupScales

    init(_ grid: GroupGrid) throws {
        self.grid = grid
        found = try GroupScales(count: grid.count)
        guard grid.rows > 0 else { return }
        found.scales.update(repeating: .infinity, count: grid.count)
        found.biases.update(repeating: -.infinity, count: grid.count)
    }

    /// The least and the largest of a group; zeros in a matrix without rows.
    subscript(group: Int) -> (low: Float, high: Float) { (found.scales[group], found.biases[group]) }

    /// Adds rows. Throws for one that is not finite.
    func add(_ values: FloatBlock, first: Int, count: Int) throws {
        if grid.groupsPerLine == 1 { return try addRows(values, first: first, count: count) }
        if grid.groupRows == 1 { return try addBlocks(values, first: first, count: count) }
        try addColumns(values, first: first, count: count)
    }

    private func include(_ group: Int, _ low: Float, _ high: Float) {
        found.scales[group] = min(found.scales[group], low)
        found.biases[group] = max(found.biases[group], high)
    }

    /// Groups of whole rows.
    private func addRows(_ values: FloatBlock, first: Int, count: Int) throws {
        var (group, low, high) = (first / grid.groupRows, Float.infinity, -Float.infinity)
        for index in 0..<count {
            let extent = try finiteExtent(values.row(index), count: grid.columns, row: first + index)
            let next = (first + index) / grid.groupRows
            if next != group {
                lock.withLock { include(group, low, high) }
                (group, low, high) = (next, .infinity, -.infinity)
            }
            (low, high) = (min(low, extent.minimum), max(high, extent.maximum))
        }
        lock.withLock { include(group, low, high) }
    }

    /// Groups within a row, which no other thread has.
    private func addBlocks(_ values: FloatBlock, first: Int, count: Int) throws {
        for index in 0..<count {
            let start = (first + index) * grid.groupsPerLine
            for group in 0..<grid.groupsPerLine {
                let column = group * grid.groupColumns
                let extent = try finiteExtent(
                    values.row(index) + column, count: min(grid.groupColumns, grid.columns - column),
                    row: first + index)
                include(start + group, extent.minimum, extent.maximum)
            }
        }
    }

    /// Groups of whole columns: first those of each column.
    private func addColumns(_ values: FloatBlock, first: Int, count: Int) throws {
        let columns = (grid.columns + 15) & ~15
        for index in 0..<count { _ = try finiteExtent(values.row(index), count: grid.columns, row: first + index) }
        Scratch.with(2 * columns, of: Float.self) { scratch in
            let (lows, highs) = (scratch, scratch + columns)
            for column in stride(from: 0, to: columns, by: 16) {
                // Columns past the last one may be anything, and are not used.
                var low = load16(values.row(0) + column)
                var high = low
                for index in 1..<max(count, 1) {
                    let row = load16(values.row(index) + column)
                    (low, high) = (leastOf(row, low), mostOf(row, high))
                }
                store16(low, to: lows + column)
                store16(high, to: highs + column)
            }
            lock.withLock {
                for column in 0..<grid.columns { include(column / grid.groupColumns, lows[column], highs[column]) }
            }
        }
    }
}

/// The smallest and largest value of columns of a row. Throws if one is not finite.
@inline(__always)
func finiteExtent(
    _ values: UnsafePointer<Float>, count: Int, row: Int
) throws -> (minimum: Float, maximum: Float) {
    guard let extent = RowValues(base: values, count: count).extent() else {
        throw EmbedCompressError.invalidArgument("row \(row) has a value that is not finite")
    }
    return extent
}
