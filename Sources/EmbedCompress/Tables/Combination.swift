/// Rows of two or more inner tables, added or multiplied element by element, in the order of the tables.
///
/// `Combination(product, [Remap(quotient), Remap(modulo)])` is CompoEmb, the quotient-remainder trick (Shi et al. 2020, arXiv
/// 1909.02107); `Combination(sum)` of tables that were compressed one after the other is residual compression. No bytes of
/// its own. A pooled sum of sums asks each table for its own pooled sum; products are gathered.
public struct Combination: Node {
    public static let kind = "combine"

    public enum Operation: String, Sendable, CaseIterable {
        case sum, product
    }

    public let operation: Operation
    let parts: [any Node]
    public let rows: Int
    public let dimension: Int

    public var ownBytes: Int { 0 }
    public var summary: String { "Combine \(operation.rawValue) of \(parts.count)" }
    public var children: [(name: String, expression: any TableExpression)] {
        parts.enumerated().map { (String($0), $1) }
    }

    /// - Parameter tables: Two or more, of the same rows and dimension.
    public init(_ tables: [Table], operation: Operation = .sum) throws {
        try self.init(tables.map(\.root), operation: operation)
    }

    init(_ parts: [any Node], operation: Operation) throws {
        guard parts.count > 1, let first = parts.first else {
            throw EmbedCompressError.invalidArgument("a combination needs two tables or more, not \(parts.count)")
        }
        (rows, dimension) = (first.rows, first.dimension)
        for (index, part) in parts.enumerated() where part.rows != rows || part.dimension != dimension {
            throw EmbedCompressError.invalidArgument(
                "table \(index) is \(part.rows) x \(part.dimension), but the first one is \(rows) x \(dimension)")
        }
        (self.parts, self.operation) = (parts, operation)
        try checkLimits()
    }

    init(from decoder: inout NodeDecoder) throws {
        let operation = try decoder.choice("operation", Operation.self)
        let parts = try decoder.numberedChildren()
        self = try decoder.checked { try Combination(parts, operation: operation) }
    }

    func encode(into encoder: inout NodeEncoder) {
        encoder.set("operation", operation.rawValue)
        for (index, part) in parts.enumerated() { encoder.add(String(index), part) }
    }

    /// The same operation on other rows.
    func with(_ parts: [any Node]) throws -> Combination { try Combination(parts, operation: operation) }

    func sliced(_ range: Range<Int>) throws -> any Node { try with(try parts.map { try $0.sliced(range) }) }

    func aligned(to rowAlignment: Int, progress: ProgressCounter) throws -> any Node {
        try with(try parts.map { try $0.aligned(to: rowAlignment, progress: progress) })
    }

    private var rowOperation: RowOperation { operation == .sum ? .sum : .product }
    private var stride: Int { (dimension + 15) & ~15 }

    var ownScratchBytes: Int { blockScratchBytes + 2 * tileBytes(dimension: dimension) }

    func gather(_ ids: IDBlock, into output: RowBlock, context: LookupContext) {
        let (capacity, stride) = (min(tileRows(dimension: dimension), ids.count), stride)
        Scratch.with(capacity * stride, of: Float.self) { rows in
            for start in Swift.stride(from: 0, to: ids.count, by: max(capacity, 1)) {
                let tile = ids.range(start, min(capacity, ids.count - start))
                gather(
                    tile, parts[...], into: RowBlock(base: output.row(start), stride: output.stride), scratch: rows,
                    context)
            }
        }
    }

    /// Puts the rows of `parts` together in `output`.
    private func gather(
        _ ids: IDBlock, _ parts: ArraySlice<any Node>, into output: RowBlock, scratch: UnsafeMutablePointer<Float>,
        _ context: LookupContext
    ) {
        parts.first?.gather(ids, into: output, context: context)
        for part in parts.dropFirst() {
            part.gather(ids, into: RowBlock(base: scratch, stride: stride), context: context)
            rowOperation.combine(
                scratch, stride: stride, count: ids.count, columns: dimension, into: output)
        }
    }

    func accumulate(_ block: BagBlock, context: LookupContext) {
        operation == .sum ? accumulateSums(block, context) : accumulateProducts(block, context)
    }

    private func accumulateSums(_ block: BagBlock, _ context: LookupContext) {
        parts.first?.accumulate(block, context: context)
        Scratch.with(block.segmentCount, of: Segment.self) { segments in
            let more = block.part(0, block.segmentCount, segments: segments) { (block.segments[$0].output, false) }
            for part in parts.dropFirst() { part.accumulate(more, context: context) }
        }
    }

    private func accumulateProducts(_ block: BagBlock, _ context: LookupContext) {
        let (count, stride) = (block.ids.count, stride)
        let capacity = min(tileRows(dimension: dimension), count)
        guard capacity > 0, let last = parts.last else { return }
        Scratch.with(capacity * stride, of: Float.self) { rows in
            Scratch.with(capacity * stride, of: Float.self) { factors in
                var sums = SegmentSums(block, columns: dimension)
                for start in Swift.stride(from: 0, to: count, by: capacity) {
                    let tile = block.ids.range(start, min(capacity, count - start))
                    gather(
                        tile, parts.dropLast(), into: RowBlock(base: rows, stride: stride), scratch: factors, context)
                    last.gather(tile, into: RowBlock(base: factors, stride: stride), context: context)
                    sums.add(rows, times: factors, stride: stride, first: start, count: tile.count)
                }
            }
        }
    }
}
