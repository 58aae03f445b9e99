/// Rows of trellis codes: each column's value is computed from a window of the row's bits, most of which it shares with its
/// neighbours, so that few bits a column choose among the values of very many states.
///
/// A row is a ring of bits, of which each column has 0 to 8 of its own, and a byte that says which of the table's 256 scales
/// the row has. Column `j` is `scale * value * factor[j]`: see ``TrellisCode`` for the value, and ``TrellisColumns`` for the
/// windows. Bytes per row: the columns' bits in whole bytes, and 1; for the table `256 * 4` of scales and `dimension * 5` of
/// bits and factors. Any bits are a row.
///
/// Marcellin and Fischer, "Trellis Coded Quantization of Memoryless and Gauss-Markov Sources", 1990; Tseng et al., "QTIP:
/// Quantization with Trellises and Incoherence Processing", NeurIPS 2024 (arXiv 2406.11235).
public struct Trellis: RowStore {
    public static let kind = "trellis"

    /// Scales of a table, of which the first is 0.
    static let scaleCount = 256
    /// Significant bits of a scale: products with values are then exact.
    static let scalePrecision = 14

    let columns: TrellisColumns
    let spacing: RowSpacing
    let memory: RowMemory
    /// 256 f32.
    let scales: Bytes
    /// An f32 for each column.
    let factors: Bytes
    /// The bits of each column.
    private let bitBytes: Bytes
    /// The scales and then the factors, in whole vectors, as kernels read them.
    private let numbers: Buffer<Float>

    public var rows: Int { memory.rows }
    public var dimension: Int { columns.dimension }
    /// Bits of a state.
    public var stateBits: Int { columns.code.stateBits }
    /// What states are multiplied by.
    public var multiplier: UInt32 { columns.code.multiplier }
    /// Bits that each column has of its own.
    public var bits: [UInt8] { columns.bits }
    public var ownBytes: Int { memory.bytes.count + tableBytes }
    private var tableBytes: Int { Self.tableBytes(dimension: dimension) }
    public var summary: String {
        let total = 8 * columns.codeBytes
        let mean = (Double(100 * total) / Double(dimension)).rounded() / 100
        let text = total % dimension == 0 ? "\(total / dimension)" : "\(mean)"
        return "Trellis \(text) bits a column, \(stateBits)-bit states, a scale per row" + spacing.summary
    }

    static func tableBytes(dimension: Int) -> Int { 4 * scaleCount + 5 * dimension }

    static func spacing(_ columns: TrellisColumns, rowAlignment: Int = 1) throws -> RowSpacing {
        try RowSpacing(unpaddedBytes: columns.codeBytes + 1, alignment: rowAlignment)
    }

    /// - Parameters:
    ///   - scales: 256 f32 of at most ``scalePrecision`` significant bits, the first of which is 0.
    ///   - factors: An f32 for each column.
    ///   - bitBytes: The columns' bits, where there are bytes of them already.
    init(
        _ bytes: Bytes, rows: Int, columns: TrellisColumns, scales: Bytes, factors: Bytes, bitBytes: Bytes? = nil,
        rowAlignment: Int = 1
    ) throws {
        guard (1...maximumDimension).contains(columns.dimension) else {
            throw EmbedCompressError.invalidArgument(
                "a table needs from 1 to \(maximumDimension) columns, not \(columns.dimension)")
        }
        guard scales.count == 4 * Self.scaleCount, factors.count == 4 * columns.dimension else {
            throw EmbedCompressError.invalidArgument(
                "a trellis has \(Self.scaleCount) scales and a factor for each of \(columns.dimension) columns, in f32")
        }
        numbers = try Buffer(repeating: 0, count: Self.scaleCount + (columns.dimension + 15) / 16 * 16)
        for index in 0..<Self.scaleCount {
            let scale = Self.float(scales, index)
            numbers[index] = scale
            guard scale.isFinite, Self.roundedScale(scale) == scale, index > 0 || scale.bitPattern == 0 else {
                throw EmbedCompressError.invalidArgument(
                    "scales must be finite, have at most \(Self.scalePrecision) significant bits, and the first must be 0, "
                        + "but scale \(index) is \(scale)")
            }
        }
        for column in 0..<columns.dimension {
            let factor = Self.float(factors, column)
            guard factor.isFinite else {
                throw EmbedCompressError.invalidArgument("factors must be finite, but that of column \(column) is not")
            }
            numbers[Self.scaleCount + column] = factor
        }
        self.columns = columns
        self.scales = scales
        self.factors = factors
        spacing = try Self.spacing(columns, rowAlignment: rowAlignment)
        memory = try RowMemory(bytes, rows: rows, rowBytes: spacing.rowBytes)
        self.bitBytes = try bitBytes ?? columns.bits.withUnsafeBytes { try Bytes(copying: $0) }
        try checkLimits()
    }

    private static func float(_ bytes: Bytes, _ index: Int) -> Float {
        Float(bitPattern: UInt32(littleEndian: bytes.pointer.loadUnaligned(fromByteOffset: 4 * index, as: UInt32.self)))
    }

    /// The nearest number of as many significant bits as a scale may have.
    static func roundedScale(_ scale: Float) -> Float {
        let dropped = UInt32(24 - scalePrecision)
        let pattern = scale.bitPattern &+ (1 &<< (dropped &- 1))
        return Float(bitPattern: (pattern &>> dropped) &<< dropped)
    }

    init(from decoder: inout NodeDecoder) throws {
        let stateBits = try decoder.integer("states", TrellisCode.stateBitRange)
        let multiplier = try decoder.integer("multiplier", 0...Int(UInt32.max))
        let codeBytes = try decoder.integer("code_bytes", 1...decoder.dimension)
        let dimension = decoder.dimension
        try decoder.reserve((dimension + 15) / 16 * MemoryLayout<TrellisChunk>.stride)
        let bits = try decoder.tensor("bits", type: .u8, shape: [dimension])
        let code = TrellisCode(stateBits: stateBits, multiplier: UInt32(multiplier))
        let columns = try decoder.checking("bits") {
            try TrellisColumns(
                code: code, bits: (0..<dimension).map { bits.pointer.load(fromByteOffset: $0, as: UInt8.self) })
        }
        guard columns.codeBytes == codeBytes else {
            throw EmbedCompressError.format(
                .invalidField(node: Self.kind, field: "code_bytes", expected: "those of the bits, \(columns.codeBytes)")
            )
        }
        let rowAlignment = try decoder.rowAlignment()
        let rowBytes = try Self.spacing(columns, rowAlignment: rowAlignment).rowBytes
        let bytes = try decoder.tensor("rows", type: .u8, shape: [decoder.rows, rowBytes])
        let scales = try decoder.tensor("scales", type: .f32, shape: [Self.scaleCount])
        let factors = try decoder.tensor("factors", type: .f32, shape: [dimension])
        let rows = decoder.rows
        self = try decoder.checking("scales") {
            try Trellis(
                bytes, rows: rows, columns: columns, scales: scales, factors: factors, bitBytes: bits,
                rowAlignment: rowAlignment)
        }
    }

    func encode(into encoder: inout NodeEncoder) {
        encoder.set("states", stateBits)
        encoder.set("multiplier", Int(multiplier))
        encoder.set("code_bytes", columns.codeBytes)
        encoder.set(spacing)
        encoder.add("rows", type: .u8, shape: [rows, spacing.rowBytes], bytes: memory.bytes)
        encoder.add("bits", type: .u8, shape: [dimension], bytes: bitBytes)
        encoder.add("scales", type: .f32, shape: [Self.scaleCount], bytes: scales)
        encoder.add("factors", type: .f32, shape: [dimension], bytes: factors)
    }

    func sliced(_ range: Range<Int>) throws -> any Node {
        try with(try memory.sliced(range).bytes, rows: range.count, rowAlignment: spacing.alignment)
    }

    func with(_ bytes: Bytes, spacing: RowSpacing) throws -> Trellis {
        try with(bytes, rows: rows, rowAlignment: spacing.alignment)
    }

    private func with(_ bytes: Bytes, rows: Int, rowAlignment: Int) throws -> Trellis {
        try Trellis(
            bytes, rows: rows, columns: columns, scales: scales, factors: factors, bitBytes: bitBytes,
            rowAlignment: rowAlignment)
    }

    // Each row's bits are checked as they are used.
    var takesAnyIDs: Bool { true }

    func gather(_ ids: IDBlock, into output: RowBlock, context: LookupContext) {
        withRows { $0.gather(ids, into: output) }
    }

    func accumulate(_ block: BagBlock, context: LookupContext) { withRows { $0.accumulate(block) } }

    @inline(__always)
    private func withRows(_ body: (TrellisRows) -> Void) {
        columns.chunks.withUnsafeBufferPointer { chunks in
            guard let first = chunks.baseAddress else { return }
            withExtendedLifetime((memory, numbers)) {
                body(
                    TrellisRows(
                        places: memory.places, chunks: first, alikeChunks: columns.alikeChunks, ring: columns.ring,
                        dimension: dimension, mask: columns.code.mask, codeBytes: columns.codeBytes,
                        scales: numbers.base, factors: numbers.base + Self.scaleCount))
            }
        }
    }
}
