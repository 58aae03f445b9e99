/// Which elements of a matrix share a scale and a bias.
///
/// Q-BERT (Shen et al. 2020, arXiv 1909.05840) quantizes a matrix of out x in elements in groups. Its text groups
/// consecutive output rows, its authors' code consecutive input columns; GPTQ and others have blocks within each row.
public enum MatrixGroups: Sendable, Hashable {
    /// One group.
    case tensor
    /// Groups of consecutive rows: so many, or fewer, as each has `ceil(rows / groups)` rows.
    case rows(groups: Int)
    /// Groups of consecutive columns, shared by all rows; each has `ceil(columns / groups)` columns.
    case columns(groups: Int)
    /// Blocks of so many consecutive columns within each row, a multiple of 8; nil for the whole row.
    case blocks(columns: Int?)

    /// The names of the kinds, for callers in other languages.
    private static let names = ["tensor", "rows", "columns", "blocks"]

    /// Groups of a kind by its name. The numbers are checked even where the kind does not use them.
    package init(named name: String, groups: Int, block: Int?) throws {
        switch name {
        case "tensor": self = .tensor
        case "rows": self = .rows(groups: groups)
        case "columns": self = .columns(groups: groups)
        case "blocks": self = .blocks(columns: block)
        default:
            throw EmbedCompressError.invalidArgument(
                "group must be one of \(Self.names.joined(separator: ", ")), not '\(name)'")
        }
        try Self.check(groups: groups)
        try Self.check(block: block)
    }

    private static func check(groups: Int) throws {
        guard groups >= 1 else {
            throw EmbedCompressError.invalidArgument("groups must be an integer of at least 1, not \(groups)")
        }
    }

    private static func check(block: Int?) throws {
        guard let block else { return }
        guard block >= 8, block % 8 == 0 else {
            throw EmbedCompressError.invalidArgument("block must be a multiple of 8, not \(block)")
        }
    }

    /// The groups of a matrix of that shape.
    package func grid(rows: Int, columns: Int) throws -> GroupGrid {
        guard rows >= 0, columns >= 0, Checked.product(rows, columns, MemoryLayout<Float>.size) != nil else {
            throw EmbedCompressError.invalidArgument("there is no matrix of \(rows) x \(columns)")
        }
        var grid = GroupGrid(
            rows: rows, columns: columns, groupRows: max(rows, 1), groupColumns: max(columns, 1), lines: 1,
            groupsPerLine: 1)
        switch self {
        case .tensor:
            break
        case .rows(let groups):
            try Self.check(groups: groups)
            grid.groupRows = max(Self.share(rows, groups), 1)
            grid.lines = Self.share(rows, grid.groupRows)
        case .columns(let groups):
            try Self.check(groups: groups)
            grid.groupColumns = max(Self.share(columns, groups), 1)
            grid.groupsPerLine = Self.share(columns, grid.groupColumns)
        case .blocks(let block):
            try Self.check(block: block)
            grid.groupColumns = max(min(block ?? columns, columns), 1)
            (grid.groupRows, grid.lines) = (1, rows)
            grid.groupsPerLine = Self.share(columns, grid.groupColumns)
        }
        return grid
    }

    /// `count / groups`, rounded up.
    private static func share(_ count: Int, _ groups: Int) -> Int { count / groups + (count % groups > 0 ? 1 : 0) }

    /// The bytes that ``Table/groupQuantized(bits:groups:ranges:scaleType:progress:)`` gives a matrix of that shape. Its
    /// codes take `c = rows * ceil(columns * bits / 8)`, and with `s` = 2 for f16 and 4 for f32 scales there are
    ///
    /// - `c + 8` bytes for the tensor, whose scale and bias are always f32,
    /// - `c + 2 s rows` for groups of rows: each row repeats the scale and the bias of its group,
    /// - `c + 8 + 2 s columns` for groups of columns: each column repeats those of its group,
    /// - `c + 2 s rows * ceil(columns / block)` for blocks.
    public func storedBytes(rows: Int, columns: Int, bits: Int, scaleType: ScaleType = .float16) throws -> Int {
        let grid = try grid(rows: rows, columns: columns)
        let layout = try codeLayout(grid, bits: bits, scaleType: scaleType)
        var bytes = Checked.product(rows, layout.rowBytes)
        if layout.scope == .table { bytes = Checked.sum(of: [bytes, 8]) }
        if case .columns = self { bytes = Checked.sum(of: [bytes, 2 * scaleType.byteCount * columns]) }
        guard let bytes else { throw EmbedCompressError.outOfMemory(bytes: Int.max) }
        return bytes
    }

    /// The rows of codes that quantized groups are stored as. Those of columns have no scale of their own.
    func codeLayout(_ grid: GroupGrid, bits: Int, scaleType: ScaleType) throws -> Uniform.Layout {
        guard (1...8).contains(bits) else {
            throw EmbedCompressError.invalidArgument("bits must be an integer from 1 to 8, not \(bits)")
        }
        switch self {
        case .tensor, .columns:
            return try Uniform.Layout(
                dimension: grid.columns, bits: bits, group: nil, scaleType: .float32, scope: .table)
        case .rows:
            return try Uniform.Layout(dimension: grid.columns, bits: bits, group: nil, scaleType: scaleType)
        case .blocks:
            return try Uniform.Layout(
                dimension: grid.columns, bits: bits, group: grid.groupColumns, scaleType: scaleType)
        }
    }
}

/// The groups of a matrix: rectangles of `groupRows x groupColumns` elements, at least 1 each, of which the last ones along
/// an axis may be smaller. They are numbered line by line.
package struct GroupGrid: Sendable {
    package let rows: Int
    package let columns: Int
    package fileprivate(set) var groupRows: Int
    package fileprivate(set) var groupColumns: Int
    /// Lines of groups, each `groupRows` rows high.
    fileprivate(set) var lines: Int
    fileprivate(set) var groupsPerLine: Int

    /// No more than elements, or 1.
    package var count: Int { lines * groupsPerLine }
}
