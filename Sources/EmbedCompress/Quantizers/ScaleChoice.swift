/// The type of a table's scales, or of the entries of codebooks, where it is left open: f16, unless the table's values are
/// so small that this costs more than a tenth of the error.
///
/// Below 2^-14 numbers in f16 are 2^-24 apart, so that scales of small values lose digits. Where some of up to 256 rows have
/// such scales, these rows are compressed with either type, and what each loses is compared.
struct ScaleChoice {
    private static let sampleRows = 256
    /// No more than these, of wide tables.
    private static let sampleFloats = 1 << 20
    private static let rowsAtOnce = 8
    /// f32 is taken where the error with f16 is so many times as large.
    private static let worth = 1.1
    /// Of the rows' norm, by entries of codebooks of vectors.
    private static let mostLost = 0x1p-6
    /// Scales of at least this lose nothing, not even those of groups of a row's columns, which are smaller.
    private static let safeScale: Float = 0x1p-12

    /// Some rows of the table.
    private let sample: Table

    init(_ source: any Node) throws {
        let most = min(Self.sampleRows, max(Self.sampleFloats / source.dimension, 1))
        let chosen = Array(stride(from: 0, to: source.rows, by: max(1, source.rows / most)).prefix(most))
        // A few rows at a time, as each may bring a large page of a mapped file into memory.
        var values: [Float] = []
        for start in stride(from: 0, to: chosen.count, by: Self.rowsAtOnce) {
            values += try Table(source).lookup(Array(chosen[start...].prefix(Self.rowsAtOnce)))
            source.discardPages()
        }
        sample = Table(try Dense(values, rows: chosen.count, dimension: source.dimension))
    }

    /// A format with f16 scales, or the same with f32 ones if those are worth their bytes.
    ///
    /// - Parameters:
    ///   - wide: The format with f32 scales; the bits may differ where a budget chooses them.
    ///   - steps: Steps between the smallest and the largest value of a row that the smallest scale is one of; 1 where
    ///     numbers of the size of values are stored.
    ///   - visible: Of the rows' norm, what f16 may lose in any case: what f16 numbers themselves do.
    ///   - compressor: Makes rows of a format.
    static func better<Format>(
        _ narrow: Format, of source: any Node, wide: () throws -> Format, steps: Int, visible: Double = 0x1p-10,
        compressor: (Format) throws -> any RowCompressor
    ) throws -> Format {
        let choice = try ScaleChoice(source)
        guard try choice.hasSmallScales(steps: Float(steps)) else { return narrow }
        do {
            let wide = try wide()
            let (error, norm) = try choice.squares(compressor(narrow))
            let other = try choice.squares(compressor(wide)).error
            let isWorth = error > other * worth * worth && error > norm * visible * visible
            return isWorth ? wide : narrow
        } catch EmbedCompressError.budget {
            // There is no room for larger scales.
            return narrow
        }
    }

    /// What `body` makes with the type of entries of codebooks of vectors that options say. Where they leave it open it is
    /// f16, unless numbers of the size of the table's values lose more than a 64th of the rows' norm as f16, or are
    /// beyond it. f16 again where a budget has no room for f32.
    static func withEntryType<Result>(
        _ options: OptionValues, of source: any Node, _ body: (ScaleType) throws -> Result
    ) throws -> Result {
        if let given = ScaleType(rawValue: try options.string("entry_dtype")) { return try body(given) }
        guard try ScaleChoice(source).losesHalves() else { return try body(.float16) }
        do {
            return try body(.float32)
        } catch EmbedCompressError.budget {
            return try body(.float16)
        }
    }

    private func losesHalves() throws -> Bool {
        var (error, norm) = (0.0, 0.0)
        for value in try sample.decode() {
            // Compressing the table will say which row that is.
            guard value.isFinite else { return false }
            if value.magnitude >= leastHalfOverflow { return true }
            let lost = Double(value) - Double(floatFromHalf(halfFromFloat(value)))
            error += lost * lost
            norm += Double(value) * Double(value)
        }
        return error > norm * Self.mostLost * Self.mostLost
    }

    /// Whether a row has a scale that f16 may not hold well. Not so if any row can't be compressed: which one that is,
    /// compressing the table will say.
    private func hasSmallScales(steps: Float) throws -> Bool {
        let values = try sample.decode()
        var isFound = false
        for start in stride(from: 0, to: values.count, by: sample.dimension) {
            let row = values[start..<start + sample.dimension]
            guard row.allSatisfy({ $0.magnitude < leastHalfOverflow }), let low = row.min(), let high = row.max() else {
                return false
            }
            // A row of one value has no scale; its bias may be as small.
            let size = high > low ? (high - low) / steps : high.magnitude
            if size > 0, size < Self.safeScale { isFound = true }
        }
        return isFound
    }

    /// The squared error of the compressed sample, and the squared norm of the sample.
    private func squares(_ compressor: any RowCompressor) throws -> (error: Double, norm: Double) {
        let node = try compressor.compress(
            CompressionInput(source: sample.root), tally: FallbackTally(),
            progress: ProgressCounter(total: 0, callback: nil))
        let sums = try Table(node).qualitySums(against: sample)
        return (sums.error, sums.norm)
    }
}
