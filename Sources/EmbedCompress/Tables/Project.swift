/// Inner rows times a matrix, plus a bias: `row = inner_row · matrix + bias`. The row of id -1 is zeros, without bias.
///
/// `Project(Dense)` is a low-rank factorisation (SVD), and a table of narrow rows with its projection to the common
/// width (MDE, Ginart et al. 2021, arXiv 1909.11810; AutoDim). Own bytes: `inner.dimension * dimension` elements of the
/// matrix, and `4 * dimension` of the bias. A pooled sum pools inner rows and projects once for each bag.
public struct Project: Node {
    public static let kind = "project"

    /// The type of the matrix's elements.
    public let element: ScaleType
    public let dimension: Int
    let inner: any Node
    private let matrix: Bytes
    private let bias: Bytes?

    public var rows: Int { inner.rows }
    public var ownBytes: Int { matrix.count + (bias?.count ?? 0) }
    public var summary: String {
        "Project by \(inner.dimension) x \(dimension) \(element.rawValue)\(bias == nil ? "" : ", bias")"
    }
    public var children: [(name: String, expression: any TableExpression)] { [("inner", inner)] }

    /// - Parameters:
    ///   - matrix: `table.dimension` rows of `dimension` numbers, row after row.
    ///   - bias: `dimension` numbers.
    ///   - element: What the matrix is kept as; halves are the nearest ones.
    public init(
        _ table: Table, matrix: [Float], dimension: Int, bias: [Float]? = nil, element: ScaleType = .float32
    ) throws {
        guard (1...maximumDimension).contains(dimension),
            matrix.count == Checked.product(table.dimension, dimension), bias.map({ $0.count == dimension }) ?? true
        else {
            throw EmbedCompressError.invalidArgument(
                "a projection of \(table.dimension) to \(dimension) columns needs a matrix of as many rows and columns, "
                    + "and as many biases: not \(matrix.count) and \(bias?.count ?? 0) numbers")
        }
        let stored: Bytes
        switch element {
        case .float32: stored = try matrix.withUnsafeBytes { try Bytes(copying: $0) }
        case .float16:
            try Allocation.require(Checked.product(matrix.count, MemoryLayout<UInt16>.stride))
            let halves = matrix.map(halfFromFloat)
            guard halves.allSatisfy({ floatFromHalf($0).isFinite }) else {
                throw EmbedCompressError.invalidArgument("an element of the matrix is too large for f16")
            }
            stored = try halves.withUnsafeBytes { try Bytes(copying: $0) }
        }
        try self.init(
            matrix: stored, bias: try bias.map { try $0.withUnsafeBytes { try Bytes(copying: $0) } }, element: element,
            dimension: dimension, inner: table.root)
    }

    /// The bytes of the arrays are as many as there must be.
    init(matrix: Bytes, bias: Bytes?, element: ScaleType, dimension: Int, inner: any Node) throws {
        (self.matrix, self.bias, self.element) = (matrix, bias, element)
        (self.dimension, self.inner) = (dimension, inner)
        try checkLimits()
    }

    /// nil if they are too many to count.
    static func byteCount(innerDimension: Int, dimension: Int, element: ScaleType, hasBias: Bool) -> Int? {
        Checked.sum(of: [
            Checked.product(innerDimension, dimension, element.byteCount),
            hasBias ? Checked.product(dimension, ScaleType.float32.byteCount) : 0,
        ])
    }

    init(from decoder: inout NodeDecoder) throws {
        let element = try decoder.choice("element", ScaleType.self)
        let inner = try decoder.child("inner")
        guard inner.rows == decoder.rows else {
            throw EmbedCompressError.format(
                .invalidField(node: Self.kind, field: "rows", expected: "those of the inner table, \(inner.rows)"))
        }
        let matrix = try decoder.tensor(
            "matrix", type: element.elementType, shape: [inner.dimension, decoder.dimension])
        let bias = try decoder.optionalTensor("bias", type: .f32, shape: [decoder.dimension])
        try self.init(matrix: matrix, bias: bias, element: element, dimension: decoder.dimension, inner: inner)
    }

    func encode(into encoder: inout NodeEncoder) {
        encoder.set("element", element.rawValue)
        encoder.add("matrix", type: element.elementType, shape: [inner.dimension, dimension], bytes: matrix)
        if let bias { encoder.add("bias", type: .f32, shape: [dimension], bytes: bias) }
        encoder.add("inner", inner)
    }

    func with(_ inner: any Node) throws -> Project {
        try Project(matrix: matrix, bias: bias, element: element, dimension: dimension, inner: inner)
    }

    func sliced(_ range: Range<Int>) throws -> any Node { try with(try inner.sliced(range)) }

    func aligned(to rowAlignment: Int, progress: ProgressCounter) throws -> any Node {
        try with(try inner.aligned(to: rowAlignment, progress: progress))
    }

    private var factors: Matrix { Matrix(matrix, rows: inner.dimension, columns: dimension, element: element) }
    private var biasStart: UnsafePointer<Float>? { bias?.pointer.assumingMemoryBound(to: Float.self) }

    var ownScratchBytes: Int { blockScratchBytes + tileBytes(dimension: inner.dimension) }

    func gather(_ ids: IDBlock, into output: RowBlock, context: LookupContext) {
        let (factors, biasStart) = (factors, biasStart)
        let stride = MatrixProduct.stride(inner.dimension)
        let capacity = tileRows(dimension: inner.dimension)
        Scratch.with(min(capacity, ids.count) * stride, of: Float.self) { rows in
            for start in Swift.stride(from: 0, to: ids.count, by: capacity) {
                let count = min(capacity, ids.count - start)
                inner.gather(
                    ids.range(start, count), into: RowBlock(base: rows, stride: stride), context: context)
                MatrixProduct.multiply(
                    rows, stride: stride, count: count, by: factors, start: biasStart.map { .row($0) } ?? .zeros,
                    into: RowBlock(base: output.row(start), stride: output.stride))
            }
        }
        for index in 0..<ids.count where ids.ids[index] < 0 {
            output.row(index).update(repeating: 0, count: dimension)
        }
    }

    func accumulate(_ block: BagBlock, context: LookupContext) {
        let (factors, biasStart) = (factors, biasStart)
        let stride = MatrixProduct.stride(inner.dimension)
        let capacity = min(tileRows(dimension: inner.dimension), block.segmentCount)
        Scratch.with(capacity * stride, of: Float.self) { sums in
            Scratch.with(capacity, of: Segment.self) { segments in
                for first in Swift.stride(from: 0, to: block.segmentCount, by: capacity) {
                    let pooled = block.part(first, min(capacity, block.segmentCount - first), segments: segments) {
                        (sums + $0 * stride, true)
                    }
                    inner.accumulate(pooled, context: context)
                    for index in 0..<pooled.segmentCount {
                        start(block.segments[first + index], of: block, bias: biasStart)
                    }
                    forEachRun(of: block, from: first, count: pooled.segmentCount) { start, count, output in
                        MatrixProduct.multiply(
                            sums + start * stride, stride: stride, count: count, by: factors, start: .output,
                            into: output)
                    }
                }
            }
        }
    }

    /// Gives a segment's output its bias, as often as the weights of its rows say.
    private func start(_ segment: Segment, of block: BagBlock, bias: UnsafePointer<Float>?) {
        guard let bias else {
            if segment.replaces { segment.output.update(repeating: 0, count: dimension) }
            return
        }
        var weight: Float = 0
        for index in segment.start..<segment.end where block.ids.ids[index] >= 0 { weight += block.weights[index] }
        for column in 0..<dimension {
            let value = weight * bias[column]
            segment.output[column] = segment.replaces ? value : segment.output[column] + value
        }
    }

    /// Calls `body` with runs of segments whose outputs are equally far apart, as those of bags are.
    private func forEachRun(
        of block: BagBlock, from first: Int, count: Int, _ body: (_ start: Int, _ count: Int, RowBlock) -> Void
    ) {
        var start = 0
        while start < count {
            let output = block.segments[first + start].output
            var (end, distance) = (start + 1, dimension)
            if end < count {
                distance = block.segments[first + end].output - output
                while end < count, block.segments[first + end].output == output + (end - start) * distance { end += 1 }
            }
            body(start, end - start, RowBlock(base: output, stride: distance))
            start = end
        }
    }
}
