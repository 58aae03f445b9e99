/// Row = inner row over its norm: every row has the norm 1, to within 1e-6, but for rows of zeros, which stay so.
///
/// For vectors that are compared by their cosine, such as sentence vectors: scalar products of rows are then cosines, whatever
/// compressing has made of the norms. No bytes of its own. Norms are computed as rows are decoded, and a pooled sum gathers
/// its rows, because each has another norm.
public struct Normalize: Node {
    public static let kind = "normalize"

    let inner: any Node

    public var rows: Int { inner.rows }
    public var dimension: Int { inner.dimension }
    public var ownBytes: Int { 0 }
    public var summary: String { "Normalize" }
    public var children: [(name: String, expression: any TableExpression)] { [("inner", inner)] }

    init(_ inner: any Node) throws {
        self.inner = inner
        try checkLimits()
    }

    init(from decoder: inout NodeDecoder) throws {
        let inner = try decoder.child("inner")
        guard inner.rows == decoder.rows, inner.dimension == decoder.dimension else {
            throw EmbedCompressError.format(
                .invalidField(
                    node: Self.kind, field: "children.inner",
                    expected:
                        "a table of \(decoder.rows) x \(decoder.dimension), not \(inner.rows) x \(inner.dimension)"))
        }
        try self.init(inner)
    }

    func encode(into encoder: inout NodeEncoder) { encoder.add("inner", inner) }

    func sliced(_ range: Range<Int>) throws -> any Node { try Normalize(try inner.sliced(range)) }

    func aligned(to rowAlignment: Int, progress: ProgressCounter) throws -> any Node {
        try Normalize(try inner.aligned(to: rowAlignment, progress: progress))
    }

    func gather(_ ids: IDBlock, into output: RowBlock, context: LookupContext) {
        inner.gather(ids, into: output, context: context)
        for index in 0..<ids.count { normalizeRow(output.row(index), count: dimension) }
    }

    func accumulate(_ block: BagBlock, context: LookupContext) { accumulateGathered(block, context: context) }
}
