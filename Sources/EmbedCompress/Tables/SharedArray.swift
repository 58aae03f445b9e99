/// Rows that share one array of M numbers: each run of Z columns is Z neighbours in it, from a place that a hash of the
/// row and the run gives, with a sign that the hash gives too if there are signs.
///
/// Desai, Chou and Shrivastava, "Random Offset Block Embedding Array (ROBE)", MLSys 2022 (arXiv 2108.02191). The array is
/// numbers in f32 or f16, or the rows of an inner table one after the other, such as codes of 4 bits. Bytes: 4 M, 2 M, or
/// those of the inner table, and 8 each for seed and Z. M is below 2^31.
public struct SharedArray: Node {
    public static let kind = "shared_array"

    public let rows: Int
    public let dimension: Int
    /// Z: columns that are neighbours in the array.
    public let block: Int
    public let seed: UInt64
    /// Whether runs have signs.
    public let hasSigns: Bool
    /// Added to ids; not 0 in slices.
    let offset: Int
    /// M: numbers of the array.
    public let count: Int
    private let array: Numbers
    /// The inner table, if its codes are decoded where they lie.
    private let codes: Codebook?

    /// Where the array's numbers are.
    private enum Numbers {
        case floats(NumberArray)
        /// The rows of a table, one after the other; of the last one perhaps only a part.
        case rows(any Node)
    }

    /// The type of the array's numbers; nil if they are those of an inner table.
    public var element: ScaleType? {
        if case .floats(let numbers) = array { numbers.type } else { nil }
    }
    public var ownBytes: Int {
        if case .floats(let numbers) = array { numbers.bytes.count + Self.constantBytes } else { Self.constantBytes }
    }
    public var summary: String {
        "SharedArray \(count.grouped) numbers\(element.map { " in \($0.rawValue)" } ?? ""), \(block) columns a run"
            + (hasSigns ? ", with signs" : "")
    }
    public var children: [(name: String, expression: any TableExpression)] {
        if case .rows(let inner) = array { [("array", inner)] } else { [] }
    }

    /// Of the seed and Z.
    static let constantBytes = 16
    /// Most numbers of an array.
    static let mostCount = Int(Int32.max)
    /// Most columns of an inner table: a run that needs one number has a whole row decoded.
    static let mostInnerColumns = 64

    /// Numbers in f32 or f16.
    init(
        _ values: Bytes, element: ScaleType, rows: Int, dimension: Int, block: Int, seed: UInt64, hasSigns: Bool
    ) throws {
        let numbers = NumberArray(values, type: element)
        guard numbers.count * element.byteCount == values.count else {
            throw EmbedCompressError.invalidArgument(
                "a shared array of \(values.count) bytes does not hold whole numbers in \(element.rawValue)")
        }
        try self.init(
            .floats(numbers), count: numbers.count, rows: rows, dimension: dimension, block: block, seed: seed,
            hasSigns: hasSigns)
    }

    /// The rows of an inner table of up to ``mostInnerColumns`` columns, one after the other.
    ///
    /// - Parameter count: M, if the last row's last numbers are not part of the array.
    init(
        _ inner: any Node, count: Int?, rows: Int, dimension: Int, block: Int, seed: UInt64, hasSigns: Bool
    ) throws {
        // No overflow: a table has at most 2^56 numbers.
        try self.init(
            .rows(inner), count: count ?? inner.rows * inner.dimension, rows: rows, dimension: dimension, block: block,
            seed: seed, hasSigns: hasSigns)
    }

    private init(
        _ array: Numbers, count: Int, rows: Int, dimension: Int, block: Int, seed: UInt64, hasSigns: Bool,
        offset: Int = 0
    ) throws {
        (self.array, self.count) = (array, count)
        var codes: Codebook?
        if case .rows(let inner as Codebook) = array, CodedRuns.takes(inner.layout, block: block) {
            codes = inner
        }
        self.codes = codes
        (self.rows, self.dimension, self.block) = (rows, dimension, block)
        (self.seed, self.hasSigns, self.offset) = (seed, hasSigns, offset)
        guard (1...maximumDimension).contains(dimension), (1...maximumDimension).contains(block) else {
            throw EmbedCompressError.invalidArgument(
                "dimension and block must be from 1 to \(maximumDimension), not \(dimension) and \(block)")
        }
        try checkRows(rows, from: offset)
        guard (1...Self.mostCount).contains(count) else {
            throw EmbedCompressError.invalidArgument(
                "a shared array must have from 1 to \(Self.mostCount) numbers, not \(count)")
        }
        if case .rows(let inner) = array {
            guard inner.dimension <= Self.mostInnerColumns else {
                throw EmbedCompressError.invalidArgument(
                    "the table of a shared array has at most \(Self.mostInnerColumns) columns, not \(inner.dimension)")
            }
            let all = inner.rows * inner.dimension
            guard count <= all, count > all - inner.dimension else {
                throw EmbedCompressError.invalidArgument(
                    "an array of \(count) numbers does not end in the last of \(inner.rows) rows of "
                        + "\(inner.dimension) columns")
            }
        }
        try checkLimits()
    }

    /// - Parameters:
    ///   - values: M numbers, at least one, below 2^31.
    ///   - block: Z.
    public init(
        _ values: [Float], rows: Int, dimension: Int, block: Int, seed: UInt64 = 0, hasSigns: Bool = false
    ) throws {
        try self.init(
            values.withUnsafeBytes { try Bytes(copying: $0) }, element: .float32, rows: rows, dimension: dimension,
            block: block, seed: seed, hasSigns: hasSigns)
    }

    /// - Parameters:
    ///   - array: Its rows, one after the other, are the array: from 1 to 64 columns.
    ///   - count: M; all of the table's numbers if nil, or some fewer, which end in its last row.
    ///   - block: Z.
    public init(
        _ array: Table, count: Int? = nil, rows: Int, dimension: Int, block: Int, seed: UInt64 = 0,
        hasSigns: Bool = false
    ) throws {
        try self.init(
            array.root, count: count, rows: rows, dimension: dimension, block: block, seed: seed, hasSigns: hasSigns)
    }

    /// A node has either `element` and the tensor `values`, or the child `array`.
    init(from decoder: inout NodeDecoder) throws {
        let element = try decoder.optionalChoice("element", ScaleType.self)
        let count = try decoder.integer("count", 1...Self.mostCount)
        let block = try decoder.integer("block", 1...maximumDimension)
        let seed = try decoder.integer("seed", Int.min...Int.max)
        let signs = try decoder.integer("signs", 0...1)
        let offset = try decoder.integer("offset", 0...maximumRows)
        let array: Numbers
        if let element {
            let values = try decoder.tensor("values", type: element.elementType, shape: [count])
            array = .floats(NumberArray(values, type: element))
        } else {
            array = .rows(try decoder.child("array"))
        }
        let (rows, dimension) = (decoder.rows, decoder.dimension)
        self = try decoder.checking(element == nil ? "children.array" : "offset") {
            try SharedArray(
                array, count: count, rows: rows, dimension: dimension, block: block,
                seed: UInt64(bitPattern: Int64(seed)), hasSigns: signs == 1, offset: offset)
        }
    }

    func encode(into encoder: inout NodeEncoder) {
        if let element { encoder.set("element", element.rawValue) }
        encoder.set("count", count)
        encoder.set("block", block)
        encoder.set("seed", Int(Int64(bitPattern: seed)))
        encoder.set("signs", hasSigns ? 1 : 0)
        encoder.set("offset", offset)
        switch array {
        case .floats(let numbers):
            encoder.add("values", type: numbers.type.elementType, shape: [count], bytes: numbers.bytes)
        case .rows(let inner): encoder.add("array", inner)
        }
    }

    private func with(_ array: Numbers, rows: Range<Int>) throws -> SharedArray {
        try SharedArray(
            array, count: count, rows: rows.count, dimension: dimension, block: block, seed: seed, hasSigns: hasSigns,
            offset: offset + rows.lowerBound)
    }

    func sliced(_ range: Range<Int>) throws -> any Node { try with(array, rows: range) }

    func aligned(to rowAlignment: Int, progress: ProgressCounter) throws -> any Node {
        guard case .rows(let inner) = array else { return self }
        return try with(.rows(try inner.aligned(to: rowAlignment, progress: progress)), rows: 0..<rows)
    }

    func discardPages() {
        switch array {
        case .floats(let numbers): numbers.bytes.discardPages()
        case .rows(let inner): inner.discardPages()
        }
    }

    var ownScratchBytes: Int {
        let own = blockScratchBytes + tileBytes(dimension: dimension)
        switch array {
        case .floats: return own + SharedRows.scratchBytes(dimension: dimension, block: block)
        case .rows(let inner):
            guard codes == nil else { return own + CodedRuns.scratchBytes(dimension: dimension, block: block) }
            return own + SharedTableRows.scratchBytes(innerDimension: inner.dimension)
        }
    }

    func gather(_ ids: IDBlock, into output: RowBlock, context: LookupContext) {
        let hash = RunHash(count: UInt64(count), seed: seed, hasSigns: hasSigns)
        switch array {
        case .floats(let numbers):
            SharedRows(values: numbers.places, hash: hash, dimension: dimension, block: block, offset: offset)
                .gather(ids, into: output)
        case .rows(let inner):
            guard let codes, let book = codes.shared else {
                SharedTableRows(inner: inner, hash: hash, dimension: dimension, block: block, offset: offset)
                    .gather(ids, into: output, context: context)
                return
            }
            CodedRuns(
                memory: codes.memory.places, bits: codes.bits, book: book.memory.places.row(0), hash: hash,
                dimension: dimension, block: block, offset: offset
            ).gather(ids, into: output)
        }
    }

    func accumulate(_ block: BagBlock, context: LookupContext) { accumulateGathered(block, context: context) }
}
