/// The type of a table's scales, or of the entries of codebooks, where it is left open: f16, unless the table's values are
/// so small that this costs more than a tenth of the error, or so large that f16 has no such numbers.
///
/// Below 2^-14 numbers in f16 are 2^-24 apart, so that scales of small values lose digits. Where some of up to 256 rows have
/// such scales, these rows are compressed with either type, and what each loses is compared. There is no bf16: its 8
/// digits are fewer than 8-bit codes need.
struct ScaleChoice {
    private static let sampleRows = 256
    /// No more than these, of wide tables.
    private static let sampleFloats = 1 << 20
    private static let rowsAtOnce = 8
    /// f32 is taken where the error with f16 is so many times as large.
    private static let worth = 1.1
    /// Of the rows' norm, by numbers that are stored as they are: entries of codebooks of vectors, and values.
    private static let mostLost = 0x1p-6
    /// Scales of at least this lose nothing, not even those of groups of a row's columns, which are smaller.
    private static let safeScale: Float = 0x1p-12

    /// Some rows of the table.
    private let sample: Table

    init(_ source: any Node) throws {
        let count = min(source.rows, Self.sampleRows, max(Self.sampleFloats / source.dimension, 1))
        let chosen = (0..<count).map { Checked.share(of: source.rows, $0, of: count) }
        // A few rows at a time, as each may bring a large page of a mapped file into memory.
        var values: [Float] = []
        for start in stride(from: 0, to: chosen.count, by: Self.rowsAtOnce) {
            values += try Table(source).lookup(Array(chosen[start...].prefix(Self.rowsAtOnce)))
            source.discardPages()
        }
        sample = Table(try Dense(values, rows: chosen.count, dimension: source.dimension))
    }

    // MARK: - Choices

    /// A format with f16 scales, or the same with f32 ones if those are worth their bytes.
    ///
    /// - Parameters:
    ///   - wide: The format with f32 scales; the bits may differ where a budget chooses them.
    ///   - steps: Steps between the smallest and the largest value of a row that the smallest scale is one of; 1 where
    ///     numbers of the size of values are stored.
    ///   - visible: Of the rows' norm, what f16 may lose in any case: what f16 numbers themselves do.
    ///   - compressor: Makes rows of a format.
    static func better<Format>(
        _ narrow: Format, of input: CompressionInput, wide: () throws -> Format, steps: Int, visible: Double = 0x1p-10,
        compressor: (Format) throws -> any RowCompressor
    ) throws -> Format {
        let choice = try ScaleChoice(input.source)
        func compressed(_ format: Format) throws -> any Node {
            try compressor(format).compress(
                CompressionInput(source: choice.sample.root), tally: FallbackTally(),
                progress: ProgressCounter(total: 0, callback: nil))
        }
        do {
            var found: Format?
            let losses = try choice.losses(
                steps: steps, visible: visible, narrow: { try compressed(narrow) },
                wide: {
                    let format = try wide()
                    found = format
                    return try compressed(format)
                })
            guard let losses else { return narrow }
            let chosen = try found ?? wide()
            input.wideScales.add(losses)
            return chosen
        } catch EmbedCompressError.budget {
            // There is no room for larger scales.
            return narrow
        }
    }

    /// What a sample of a table loses with f16 and with f32 scales, if the latter are worth their bytes.
    ///
    /// - Parameters:
    ///   - steps: As in ``better(_:of:wide:steps:visible:compressor:)``.
    ///   - compressed: The sample with scales of a type.
    static func losses(
        of source: any Node, steps: Int, _ compressed: (_ sample: any Node, ScaleType) throws -> any Node
    ) throws -> WideScales.Losses? {
        let choice = try ScaleChoice(source)
        return try choice.losses(
            steps: steps, visible: 0x1p-10, narrow: { try compressed(choice.sample.root, .float16) },
            wide: { try compressed(choice.sample.root, .float32) })
    }

    /// What `body` makes with the type of numbers that options say, which are as large as the table's values: entries of
    /// codebooks of vectors, or values. Where options leave it open it is f16, unless that loses more than a 64th of the
    /// rows' norm, or values are beyond it. f16 again where a budget has no room for f32.
    ///
    /// - Parameter mixesColumns: Whether numbers may be as large as a row's norm, and not only as its values.
    static func withNumberType<Result>(
        _ option: String, _ options: OptionValues, of input: CompressionInput, mixesColumns: Bool = false,
        _ body: (ScaleType) throws -> Result
    ) throws -> Result {
        if let given = ScaleType(rawValue: try options.string(option)) { return try body(given) }
        guard let losses = try ScaleChoice(input.source).lossesOfHalves(mixesColumns: mixesColumns) else {
            return try body(.float16)
        }
        do {
            let result = try body(.float32)
            input.wideScales.add(losses)
            return result
        } catch EmbedCompressError.budget {
            return try body(.float16)
        }
    }

    // MARK: - What is lost

    /// What the sample's numbers lose as f16, if that is too much.
    private func lossesOfHalves(mixesColumns: Bool) throws -> WideScales.Losses? {
        let values = try sample.decode()
        // Compressing the table will say which row is not finite.
        guard values.allSatisfy(\.isFinite) else { return nil }
        if values.contains(where: { $0.magnitude >= leastHalfOverflow }) { return .beyondHalves }
        var (error, norm) = (0.0, 0.0)
        for start in stride(from: 0, to: values.count, by: sample.dimension) {
            var square = 0.0
            for value in values[start..<start + sample.dimension] {
                let lost = Double(value) - Double(floatFromHalf(halfFromFloat(value)))
                error += lost * lost
                square += Double(value) * Double(value)
            }
            if mixesColumns, square.squareRoot() >= Double(leastHalfOverflow) { return .beyondHalves }
            norm += square
        }
        guard error > norm * Self.mostLost * Self.mostLost else { return nil }
        return WideScales.Losses(f16: (error / norm).squareRoot(), f32: 0)
    }

    /// What the sample loses either way, if f32 is worth its bytes.
    private func losses(
        steps: Int, visible: Double, narrow: () throws -> any Node, wide: () throws -> any Node
    ) throws -> WideScales.Losses? {
        guard try mayLose(steps: Float(steps)) else { return nil }
        guard let (error, norm) = try squares(narrow) else { return try squares(wide) == nil ? nil : .beyondHalves }
        guard error > norm * visible * visible else { return nil }
        guard let other = try squares(wide)?.error, error > other * Self.worth * Self.worth else { return nil }
        return WideScales.Losses(f16: (error / norm).squareRoot(), f32: (other / norm).squareRoot())
    }

    /// Whether a row has a scale that f16 may not hold well, or values whose range it may not hold at all. Not so if a row is
    /// not finite: which one that is, compressing the table will say.
    private func mayLose(steps: Float) throws -> Bool {
        let values = try sample.decode()
        var isFound = false
        for start in stride(from: 0, to: values.count, by: sample.dimension) {
            let row = values[start..<start + sample.dimension]
            guard row.allSatisfy(\.isFinite), let low = row.min(), let high = row.max() else { return false }
            // A row of one value has no scale; its bias may be as small.
            let size = high > low ? high / steps - low / steps : high.magnitude
            if size > 0 && size < Self.safeScale || max(-low, high) >= leastHalfOverflow / 2 { isFound = true }
        }
        return isFound
    }

    /// The squared error of the compressed sample, and the squared norm of the sample; nil if a row can't be compressed.
    private func squares(_ compressed: () throws -> any Node) throws -> (error: Double, norm: Double)? {
        do {
            let sums = try Table(compressed()).qualitySums(against: sample)
            return (sums.error, sums.norm)
        } catch EmbedCompressError.invalidArgument {
            return nil
        }
    }
}

/// Whether a method chose f32 for scales, entries or values that are mostly f16, and why. Any thread may add to it.
final class WideScales: @unchecked Sendable {
    /// The normalised l2 loss of a sample of rows with f16, infinite where values are beyond it, and with f32, nil if that
    /// is not known.
    struct Losses {
        let f16: Double
        let f32: Double?

        static let beyondHalves = Losses(f16: .infinity, f32: nil)
    }

    private let lock = Lock()
    private var found: Losses?

    /// Of several choices the one where f16 loses most counts.
    func add(_ losses: Losses) {
        lock.withLock { if losses.f16 > found?.f16 ?? -1 { found = losses } }
    }

    /// nil if f32 was not chosen.
    var losses: Losses? { lock.withLock { found } }
}
