/// Rows that share one array of M numbers: each run of Z columns is Z neighbours in it, from a place that a hash of the
/// row and the run gives, with a sign that the hash gives too if there are signs.
///
/// Desai, Chou and Shrivastava, "Random Offset Block Embedding Array (ROBE)", MLSys 2022 (arXiv 2108.02191). Bytes: those
/// of the array, 4 M or 2 M, and 8 each for seed and Z. M is below 2^31.
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
    private let values: NumberArray

    /// The type of the array's numbers.
    public var element: ScaleType { values.type }
    /// M: numbers of the array.
    public var count: Int { values.count }
    public var ownBytes: Int { values.bytes.count + Self.constantBytes }
    public var summary: String {
        "SharedArray \(count.grouped) numbers in \(element.rawValue), \(block) columns a run"
            + (hasSigns ? ", with signs" : "")
    }

    /// Of the seed and Z.
    static let constantBytes = 16
    /// Most numbers of an array.
    static let mostCount = Int(Int32.max)

    init(
        _ values: Bytes, element: ScaleType, rows: Int, dimension: Int, block: Int, seed: UInt64, hasSigns: Bool,
        offset: Int = 0
    ) throws {
        self.values = NumberArray(values, type: element)
        (self.rows, self.dimension, self.block) = (rows, dimension, block)
        (self.seed, self.hasSigns, self.offset) = (seed, hasSigns, offset)
        guard (1...maximumDimension).contains(dimension), (1...maximumDimension).contains(block) else {
            throw EmbedCompressError.invalidArgument(
                "dimension and block must be from 1 to \(maximumDimension), not \(dimension) and \(block)")
        }
        try checkRows(rows, from: offset)
        guard (1...Self.mostCount).contains(count), count * element.byteCount == values.count else {
            throw EmbedCompressError.invalidArgument(
                "a shared array must have from 1 to \(Self.mostCount) numbers, not \(count)")
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

    init(from decoder: inout NodeDecoder) throws {
        let element = try decoder.choice("element", ScaleType.self)
        let count = try decoder.integer("count", 1...Self.mostCount)
        let block = try decoder.integer("block", 1...maximumDimension)
        let seed = try decoder.integer("seed", Int.min...Int.max)
        let signs = try decoder.integer("signs", 0...1)
        let offset = try decoder.integer("offset", 0...maximumRows)
        let values = try decoder.tensor("values", type: element.elementType, shape: [count])
        let (rows, dimension) = (decoder.rows, decoder.dimension)
        self = try decoder.checking("offset") {
            try SharedArray(
                values, element: element, rows: rows, dimension: dimension, block: block,
                seed: UInt64(bitPattern: Int64(seed)), hasSigns: signs == 1, offset: offset)
        }
    }

    func encode(into encoder: inout NodeEncoder) {
        encoder.set("element", element.rawValue)
        encoder.set("count", count)
        encoder.set("block", block)
        encoder.set("seed", Int(Int64(bitPattern: seed)))
        encoder.set("signs", hasSigns ? 1 : 0)
        encoder.set("offset", offset)
        encoder.add("values", type: element.elementType, shape: [count], bytes: values.bytes)
    }

    func sliced(_ range: Range<Int>) throws -> any Node {
        try SharedArray(
            values.bytes, element: element, rows: range.count, dimension: dimension, block: block, seed: seed,
            hasSigns: hasSigns, offset: offset + range.lowerBound)
    }

    func aligned(to rowAlignment: Int, progress: ProgressCounter) throws -> any Node { self }
    func discardPages() { values.bytes.discardPages() }

    var ownScratchBytes: Int {
        blockScratchBytes + tileBytes(dimension: dimension)
            + SharedRows.scratchBytes(dimension: dimension, block: block)
    }

    func gather(_ ids: IDBlock, into output: RowBlock, context: LookupContext) {
        SharedRows(
            values: values.places, count: count, dimension: dimension, block: block, seed: seed, hasSigns: hasSigns,
            offset: offset
        ).gather(ids, into: output)
    }

    func accumulate(_ block: BagBlock, context: LookupContext) { accumulateGathered(block, context: context) }
}
