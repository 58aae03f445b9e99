/// Rows of inner tables side by side: the dimension is the sum of theirs. No bytes of its own.
///
/// A table whose columns are compressed in groups: two-dimensional deduplication, or bits by column.
public struct Columns: Node {
    public static let kind = "columns"

    private let parts: [any Node]
    public let rows: Int
    public let dimension: Int

    public var ownBytes: Int { 0 }
    public var summary: String { "Columns of \(parts.count)" }
    public var children: [(name: String, expression: any TableExpression)] {
        parts.enumerated().map { (String($0), $1) }
    }

    /// - Parameter tables: One or more, of the same rows.
    public init(_ tables: [Table]) throws { try self.init(tables.map(\.root)) }

    init(_ parts: [any Node]) throws {
        guard let first = parts.first else {
            throw EmbedCompressError.invalidArgument("columns need one table or more")
        }
        rows = first.rows
        for (index, part) in parts.enumerated() where part.rows != rows {
            throw EmbedCompressError.invalidArgument(
                "table \(index) has \(part.rows) rows, but the first one has \(rows)")
        }
        guard let dimension = Checked.sum(of: parts.map(\.dimension)), dimension <= maximumDimension else {
            throw EmbedCompressError.invalidArgument(
                "a table needs from 1 to \(maximumDimension) columns; those of these tables are more")
        }
        (self.parts, self.dimension) = (parts, dimension)
        try checkLimits()
    }

    init(from decoder: inout NodeDecoder) throws {
        let parts = try decoder.numberedChildren()
        self = try decoder.checked { try Columns(parts) }
    }

    func encode(into encoder: inout NodeEncoder) {
        for (index, part) in parts.enumerated() { encoder.add(String(index), part) }
    }

    func sliced(_ range: Range<Int>) throws -> any Node { try Columns(try parts.map { try $0.sliced(range) }) }

    func aligned(to rowAlignment: Int, progress: ProgressCounter) throws -> any Node {
        try Columns(try parts.map { try $0.aligned(to: rowAlignment, progress: progress) })
    }

    func gather(_ ids: IDBlock, into output: RowBlock, context: LookupContext) {
        var column = 0
        for part in parts {
            part.gather(ids, into: RowBlock(base: output.base + column, stride: output.stride), context: context)
            column += part.dimension
        }
    }

    func accumulate(_ block: BagBlock, context: LookupContext) {
        Scratch.with(block.segmentCount, of: Segment.self) { segments in
            var column = 0
            for part in parts {
                let sums = block.part(0, block.segmentCount, segments: segments) {
                    (block.segments[$0].output + column, block.segments[$0].replaces)
                }
                part.accumulate(sums, context: context)
                column += part.dimension
            }
        }
    }
}
