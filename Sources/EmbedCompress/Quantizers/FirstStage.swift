#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// A first stage of vectors before another code: each row is the nearest of 256 vectors, found by k-means, plus what another code
/// makes of the rest. Where rows lie in clusters, the rest is smaller than a byte more of the other code would make the error.
///
/// Bytes: 1 for each row, and 256 vectors of f16 (f32 where that loses digits) for the table.
struct FirstStage: Sendable {
    enum Choice: String, CaseIterable {
        case none, vectors, auto
    }

    private static let bits = 8
    static let rowBytes = 1

    private let vectors: Product
    /// The same vectors times -1: added to a row, they leave the rest.
    private let negated: Product

    var storedBytes: Int { vectors.storedBytes }

    /// Learns the vectors, and finds that of each row.
    init(_ input: CompressionInput, seed: Int, watch: ProgressCounter) throws {
        guard
            let found = try Method.pq.compress(
                Table(input.source), ["parts": 1, "bits": .integer(Self.bits), "seed": .integer(seed)], progress: watch
            ) as? Product
        else { throw EmbedCompressError.invalidArgument("vectors of a first stage are no product codes") }
        vectors = found
        let books = try Bytes(copying: found.books.buffer)
        // The sign is the highest bit of the last byte.
        for last in stride(from: found.element.byteCount - 1, to: books.count, by: found.element.byteCount) {
            let byte = books.mutablePointer.load(fromByteOffset: last, as: UInt8.self)
            books.mutablePointer.storeBytes(of: byte ^ 0x80, toByteOffset: last, as: UInt8.self)
        }
        negated = try Product(found.memory.bytes, rows: found.rows, layout: found.layout, codebooks: books)
    }

    private static func range(_ input: CompressionInput) -> Range<Int> {
        input.firstRow..<input.firstRow + input.source.rows
    }

    /// Rows less their vectors.
    func rest(of input: CompressionInput) throws -> CompressionInput {
        CompressionInput(
            source: try Combination([input.source, try negated.sliced(Self.range(input))], operation: .sum),
            weights: input.weights, firstRow: input.firstRow, countedRows: input.countedRows)
    }

    /// Codes of the rest, plus the vectors.
    fileprivate func sum(_ codes: any Node, of input: CompressionInput) throws -> any Node {
        try Combination([try vectors.sliced(Self.range(input)), codes], operation: .sum)
    }

    // MARK: - Whether it helps

    private static let sampleRows = 2048

    /// Whether rows of a sample have less error with the vectors than without, in the same bytes.
    ///
    /// - Parameters:
    ///   - codeBytes: Of a row without vectors.
    ///   - fewer: Of a row with them.
    ///   - besides: What is left of the vectors' bytes, for each row: more bytes of codes would take error away.
    ///   - compress: What compresses a table in so many bytes of codes a row.
    func helps(
        _ input: CompressionInput, codeBytes: Int, fewer: Int, besides: Double,
        compress: (_ sample: Table, _ codeBytes: Int) throws -> Table
    ) throws -> Bool {
        let rows = input.source.rows
        guard rows > 0 else { return false }
        let count = min(Self.sampleRows, rows)
        let ids = (0..<count).map { Int((Double($0) + 0.5) * (Double(rows) / Double(count))) }
        func error(_ source: any Node, _ codeBytes: Int) throws -> Double {
            let sample = Table(
                try Dense(try Table(source).lookup(ids), rows: count, dimension: source.dimension) as any Node)
            return try compress(sample, codeBytes).quality(against: sample).meanSquaredError
        }
        // A bit of a column is three quarters of its error.
        let worth = exp2(2 * 8 * besides / Double(input.source.dimension))
        return try error(try rest(of: input).source, fewer) * worth < (try error(input.source, codeBytes))
    }
}

/// Rows as a vector each, and codes of the rest.
struct StagedCompressor: RowCompressor {
    let stage: FirstStage
    /// Of the rest.
    let inner: any RowCompressor

    /// The sum of two numbers that are in range may be out of it.
    var mayOverflow: Bool { true }
    var choices: [MethodChoice] { inner.choices }

    func compress(_ input: CompressionInput, tally: FallbackTally, progress: ProgressCounter) throws -> any Node {
        try stage.sum(try inner.compress(try stage.rest(of: input), tally: tally, progress: progress), of: input)
    }
}
