#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// Which rotation a table's rows have: the error of some rows is compared with and without, at the same bytes.
///
/// Rotations are tried in this order: none; at random, which keeps no more than a seed, and of wide rows takes less of a
/// lookup; by a quarter of the principal directions. The next one is taken where it has 1.5 dB less squared error than what was taken before, which is what a
/// quarter of a bit for each value brings. Bytes of the vectors count, shared by all rows: small tables have no room for them.
/// Times are measured and told, but play no part.
struct TrellisRotationChoice {
    /// Squared errors are to be this many times smaller: 1.5 dB.
    static let worth = pow(10, 0.15)
    private static let sampleRows = 512
    /// Of the sample.
    private static let mostFloats = 1 << 20
    /// Columns that a choice looks for directions of: the search takes the time of the third power.
    private static let mostColumns = 4096

    let kind: TrellisTurn.Kind
    let choice: MethodChoice

    private struct Candidate {
        let kind: TrellisTurn.Kind
        /// Over the rows' squares.
        let error: Double
        /// What the rotation keeps beyond the bytes of the codes, in bits of a value.
        let extraBits: Double
        let nanoseconds: Double

        /// The error at the bytes of the codes: a bit fewer for each value makes it four times as large.
        var comparableError: Double { error * pow(4, extraBits) }
    }

    /// - Parameters:
    ///   - isInBudget: Whether the codes leave room for what the rotation keeps.
    ///   - columns: The bits of columns with a rotation; nil where there is no room for it.
    init(
        _ input: CompressionInput, center: RowCenter, seed: Int, watch: ProgressCounter,
        isInBudget: Bool, columns: (TrellisTurn) throws -> TrellisColumns?
    ) throws {
        let dimension = input.source.dimension
        let most = min(Self.sampleRows, max(Self.mostFloats / dimension, 1))
        let ids = Array(stride(from: 0, to: input.source.rows, by: max(1, input.source.rows / most)).prefix(most))
        let values = try Table(input.source).lookup(ids)
        input.source.discardPages()
        let sample = try Dense(values, rows: ids.count, dimension: dimension)
        var found: [Candidate] = []
        for kind in [TrellisTurn.Kind.none, .hadamard, .partial] {
            let vectorBytes = TrellisTurn.vectorBytes(kind, dimension: dimension)
            // Vectors that take as much as all rows do need not be looked for.
            guard kind == .none || vectorBytes / dimension < input.budgetRows, dimension <= Self.mostColumns else {
                continue
            }
            let turn = try TrellisTurn(kind, input, center: center, seed: seed, watch: watch)
            let valueCount = Double(max(input.budgetRows, 1)) * Double(dimension)
            guard let columns = try columns(turn),
                let candidate = try Self.measured(
                    sample, kind, turn, columns, center: center,
                    extraBits: isInBudget ? 0 : 8 * Double(turn.storedBytes) / valueCount, watch: watch)
            else { continue }
            found.append(candidate)
        }
        var taken = found.first
        for candidate in found.dropFirst() {
            if let best = taken, candidate.comparableError * Self.worth <= best.comparableError,
                best.error > 0
            {
                taken = candidate
            }
        }
        kind = taken?.kind ?? .none
        choice = MethodChoice(
            option: "rotation", value: kind.rawValue,
            candidates: found.map {
                MethodChoice.Candidate(
                    value: $0.kind.rawValue,
                    figures: [
                        ("normalized_l2", $0.error.squareRoot()), ("extra_bits", $0.extraBits),
                        ("lookup_ns_per_row", $0.nanoseconds),
                    ])
            })
    }

    /// nil for rows that can't be compressed so: which one that is, compressing the table will say.
    private static func measured(
        _ sample: Dense, _ kind: TrellisTurn.Kind, _ turn: TrellisTurn, _ columns: TrellisColumns, center: RowCenter,
        extraBits: Double, watch: ProgressCounter
    ) throws -> Candidate? {
        let input = CompressionInput(source: sample)
        do {
            let compressor = try TrellisCompressor(
                input, columns: columns, energies: turn.energies, turn: turn, center: center, effort: .fast,
                progress: watch)
            let node = try compressor.compress(input, tally: FallbackTally(), progress: watch)
            let sums = try Table(node).qualitySums(against: Table(sample))
            guard sums.error.isFinite, sums.norm > 0 else { return nil }
            return Candidate(
                kind: kind, error: sums.error / sums.norm, extraBits: extraBits,
                nanoseconds: try nanosecondsPerRow(node))
        } catch EmbedCompressError.invalidArgument {
            return nil
        }
    }

    /// Processor time of a row's lookup on this thread, the median of some blocks of rows.
    private static func nanosecondsPerRow(_ node: any Node) throws -> Double {
        let (count, turns, least) = (min(node.rows, 64), 5, 100_000)
        let stride = MatrixProduct.stride(node.dimension)
        let context = LookupContext(onInvalid: .raise)
        var times: [Double] = []
        let ids = (0..<count).map { Int64($0 * node.rows / count) }
        Scratch.with(count * stride, of: Float.self) { rows in
            ids.withUnsafeBufferPointer { ids in
                guard let base = ids.baseAddress else { return }
                // The first turn warms up.
                for _ in 0...turns {
                    let start = threadNanoseconds()
                    var (done, elapsed) = (0, 0)
                    while elapsed < least {
                        node.gather(
                            IDBlock(ids: base, count: count), into: RowBlock(base: rows, stride: stride),
                            context: context)
                        done += count
                        elapsed = threadNanoseconds() - start
                    }
                    times.append(Double(elapsed) / Double(done))
                }
            }
        }
        _ = try context.finish()
        return times.dropFirst().sorted().dropFirst(turns / 2).first ?? 0
    }
}
