#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

extension Method {
    static let trellis = Method(
        name: "trellis", title: "TCQ", family: .codebookQuantization,
        paper: "Marcellin and Fischer 1990, IEEE Transactions on Communications 38 (1); QTIP 2024, arXiv 2406.11235",
        summary: "bits of a row by Viterbi's algorithm, whose windows are multiplied to become values",
        bytesPerRow:
            "ceil(d * bits / 8) + 1, and 1024 + 5 * d for the table; a partial rotation d * d / 4, a full one d * d; a mean row "
            + "4 * d, means of rows 2 a row and 4 * d",
        cost: "some 2^10, 2^12 or 2^16 steps for each value: fast, default, best",
        options: [
            Option("bits", .number(0.25...8), default: .integer(4), "bits of a column, on average"),
            Option(
                "effort", .choice(TrellisCompressor.Effort.allCases.map(\.rawValue)), default: .string("default"),
                "states of the search: 10 bits of them (12 where a column has more than 6), 12 or 16"),
            Option(
                "rotation", .choice(["auto"] + TrellisTurn.Kind.allCases.map(\.rawValue)), default: .string("none"),
                "partial turns a quarter of the principal directions out, full all of them, and columns have bits as they vary; "
                    + "hadamard turns at random; auto is one of none, hadamard and partial, the next where it saves 1.5 dB"
            ),
            Option(
                "first_stage", .choice(FirstStage.Choice.allCases.map(\.rawValue)), default: .string("none"),
                "vectors: a byte of each row says to which of 256 vectors its codes are added; auto: where a sample has less error "
                    + "so"),
            Option(
                "seed", .integer(0...Int.max), default: .integer(0), "of the rotation at random, and of the vectors"),
            Option(
                "center", .choice(["auto"] + RowCenter.Kind.allCases.map(\.rawValue)), default: .string("auto"),
                "what is kept apart: table the mean row, rows the mean of each row's columns; auto where that saves more bits "
                    + "than it takes"),
            Option(
                "normalize", .flag, default: .bool(false),
                "rows of norm 1 are decoded to the norm 1, but for rounding in f32; for tables of such rows"),
            Option(
                "fallback", .flag, default: .bool(true),
                "rows that least squares serves better in no more bytes a row have its codes, but not where rows are normalized; "
                    + "without it, compress_to_file needs no memory for the result"),
            Option("budget", .budget, default: .null, "most bytes of the result; chooses bits"),
        ],
        takesWeights: true, passes: 2, countsSampledRows: true
    ) { input, options, progress in
        let dimension = input.source.dimension
        guard let effort = TrellisCompressor.Effort(rawValue: try options.string("effort")) else {
            throw EmbedCompressError.invalidArgument("trellis has no such effort")
        }
        let budget = try options.optionalInteger("budget")
        if budget != nil, options.isGiven("bits") {
            throw EmbedCompressError.invalidArgument("give trellis either bits or a budget, not both")
        }
        let normalizes = try options.flag("normalize")
        let stage = try FirstStage(forTrellis: input, options, watch: progress.watch)
        let rest = try stage?.rest(of: input) ?? input
        let stageBytes = stage == nil ? 0 : FirstStage.rowBytes
        let plan = TrellisPlan(
            rows: input.budgetRows, dimension: dimension, effort: effort, bits: try options.number("bits"),
            budget: budget, stageBytes: stageBytes, extraBytes: stage?.storedBytes ?? 0)
        var choices: [MethodChoice] = []
        let center = try center(rest, options, plan, &choices, watch: progress.watch)
        let kind = try rotation(rest, options, plan, center, &choices, watch: progress.watch)
        let turn = try TrellisTurn(
            kind, rest, center: center, seed: try options.integer("seed"), watch: progress.watch)
        let made = choices
        @Sendable func compressor(_ columns: TrellisColumns, _ progress: ProgressCounter) throws -> any RowCompressor {
            let codes = try TrellisCompressor(
                rest, columns: columns, energies: turn.energies, turn: turn, center: center, effort: effort,
                normalizes: normalizes, choices: made, progress: progress)
            return stage.map { StagedCompressor(stage: $0, inner: codes) } ?? codes
        }
        let columns = try plan.columns(turn, center)
        let plain = try compressor(columns, progress)
        guard try options.flag("fallback"), !normalizes else { return plain }
        return TrellisFallback(
            codeBytes: columns.codeBytes, compressor: plain, leastCodeBytes: plan.least,
            otherBytes: 1 + stageBytes + center.rowBytes, budget: budget
        ) { codeBytes, progress in
            try compressor(try plan.columns(codeBytes: codeBytes, turn), progress)
        }
    }

    /// What is taken from rows, as the options have it or as a sample shows.
    private static func center(
        _ input: CompressionInput, _ options: OptionValues, _ plan: TrellisPlan, _ choices: inout [MethodChoice],
        watch: ProgressCounter
    ) throws -> RowCenter {
        let given = RowCenter.Kind(rawValue: try options.string("center"))
        if given == RowCenter.Kind.none { return .none }
        let sample = try TrellisTurn.rows(of: input, watch: watch)
        if let given { return try RowCenter(given, of: sample) }
        let rotation = givenBytes(rotation: try options.string("rotation"), dimension: input.source.dimension)
        let (center, choice) = try RowCenter.chosen(
            for: sample, rows: input.budgetRows, keepsZeros: try options.flag("normalize")
        ) { rowBytes, tableBytes in
            plan.hasRoom(rowBytes: rowBytes, tableBytes: Checked.sum(tableBytes, rotation) ?? Int.max)
        }
        choices.append(choice)
        return center
    }

    /// Bytes of a rotation that the options name; 0 for one that is to be chosen.
    fileprivate static func givenBytes(rotation: String, dimension: Int) -> Int {
        guard let kind = TrellisTurn.Kind(rawValue: rotation) else { return 0 }
        return kind == .hadamard ? MemoryLayout<Int64>.size : TrellisTurn.vectorBytes(kind, dimension: dimension)
    }

    /// How rows are turned, as the options have it or as a sample shows.
    private static func rotation(
        _ input: CompressionInput, _ options: OptionValues, _ plan: TrellisPlan, _ center: RowCenter,
        _ choices: inout [MethodChoice], watch: ProgressCounter
    ) throws -> TrellisTurn.Kind {
        let given = TrellisTurn.Kind(rawValue: try options.string("rotation"))
        guard input.elementWeights == nil else {
            if let given, given != .none {
                throw EmbedCompressError.invalidArgument(
                    "trellis: weights of columns go with rotation 'none': a rotated row has other columns")
            }
            return .none
        }
        if let given { return given }
        let plan = plan.with(.fast)
        let found = try TrellisRotationChoice(
            input, center: center, seed: try options.integer("seed"), watch: watch, isInBudget: plan.budget != nil
        ) { turn in
            do { return try plan.columns(turn, center) } catch EmbedCompressError.budget { return nil }
        }
        choices.append(found.choice)
        return found.kind
    }
}

extension FirstStage {
    /// The first stage that options of `trellis` ask for; nil for none.
    fileprivate init?(forTrellis input: CompressionInput, _ options: OptionValues, watch: ProgressCounter) throws {
        guard let choice = Choice(rawValue: try options.string("first_stage")), choice != .none else { return nil }
        if try options.flag("normalize") {
            if choice == .auto { return nil }
            throw EmbedCompressError.invalidArgument("trellis: normalize goes with first_stage 'none'")
        }
        do {
            try self.init(input, seed: try options.integer("seed"), watch: watch)
        } catch EmbedCompressError.invalidArgument where choice == .auto {
            return nil  // Values that no vectors can be learned of.
        }
        guard choice == .auto else { return }
        let (rows, dimension) = (input.source.rows, input.source.dimension)
        var (codeBytes, fewer, besides) = (0, 0, 0.0)
        if let budget = try options.optionalInteger("budget") {
            let center = RowCenter.Kind(rawValue: try options.string("center")) ?? .none
            let rotation = Method.givenBytes(rotation: try options.string("rotation"), dimension: dimension)
            guard
                let beside = Checked.sum(RowCenter.tableBytes(center, dimension: dimension), rotation)
            else { return nil }
            func bytes(extra: Int) throws -> Int {
                try TrellisPlan(
                    rows: rows, dimension: dimension, effort: .fast, bits: 0, budget: budget, extraBytes: extra
                ).codeBytes(rowBytes: RowCenter.rowBytes(center), tableBytes: beside)
            }
            do {
                (codeBytes, fewer) = (try bytes(extra: 0), try bytes(extra: storedBytes))
            } catch EmbedCompressError.budget {
                return nil
            }
        } else {
            let plan = TrellisPlan(
                rows: rows, dimension: dimension, effort: .fast, bits: try options.number("bits"), budget: nil)
            codeBytes = try plan.codeBytes(rowBytes: 0, tableBytes: 0)
            fewer = codeBytes - Self.rowBytes
            besides = Double(storedBytes) / Double(max(rows, 1)) - Double(Self.rowBytes)
            guard fewer >= plan.least else { return nil }
        }
        let rotation = input.elementWeights == nil ? try options.string("rotation") : "none"
        let center = try options.string("center")
        let seed = try options.integer("seed")
        let helps = try helps(input, codeBytes: codeBytes, fewer: fewer, besides: besides) { sample, codeBytes in
            // Half a bit less, so that rounding up gives these bytes whatever the division rounds to.
            let bits = max((8 * Double(codeBytes) - 0.5) / Double(dimension), 0.25)
            return try Method.trellis.compress(
                sample,
                [
                    "bits": .number(bits), "effort": "fast", "rotation": .string(rotation), "center": .string(center),
                    "seed": .integer(seed), "fallback": false,
                ],
                progress: { _, _ in (try? watch.report()) != nil })
        }
        guard helps else { return nil }
    }
}

/// How rows are turned before they are encoded.
struct TrellisTurn: Sendable {
    enum Kind: String, CaseIterable {
        case none, partial, full, hadamard
    }

    private enum Way: Sendable {
        case none
        case seeded(Rotation)
        case reflected(Reflectors, Uniform)
    }

    private let way: Way
    /// The sum of squares of each column of a sample of rows, turned.
    let energies: [Double]

    /// Whether columns differ so much that they should have bits of their own.
    var ordersColumns: Bool {
        if case .reflected = way { return true }
        return false
    }

    /// Of what the route keeps.
    var storedBytes: Int {
        switch way {
        case .none: return 0
        case .seeded: return MemoryLayout<Int64>.size
        case .reflected(_, let vectors): return vectors.ownBytes
        }
    }

    /// Bytes of the vectors that a rotation keeps.
    static func vectorBytes(_ kind: Kind, dimension: Int) -> Int {
        // A row of 8-bit codes has a scale and a bias in f16.
        Checked.product(vectorCount(kind, dimension: dimension), dimension + 4) ?? Int.max
    }

    private static func vectorCount(_ kind: Kind, dimension: Int) -> Int {
        switch kind {
        case .none, .hadamard: return 0
        case .partial: return max(dimension / 4, 1)
        case .full: return max(dimension - 1, 1)
        }
    }

    /// Rows to learn from. Weights of rows play no part: each row is encoded by itself.
    static func rows(of input: CompressionInput, watch: ProgressCounter) throws -> RowSample {
        try RowSample(
            CompressionInput(source: input.source, firstRow: input.firstRow), atMost: 65_536, seed: 0, watch: watch)
    }

    /// The same without what is taken from them, each divided by its norm: what directions and energies are learned from.
    private static func sample(
        _ input: CompressionInput, center: RowCenter, watch: ProgressCounter
    ) throws -> RowSample {
        let sample = try rows(of: input, watch: watch)
        center.take(
            from: sample.values, stride: sample.dimension, count: sample.count, dimension: sample.dimension,
            unit: sample.unit)
        for index in 0..<sample.count {
            let row = sample.values + index * sample.dimension
            var square = 0.0
            for column in 0..<sample.dimension { square += Double(row[column]) * Double(row[column]) }
            guard square > 0 else { continue }
            let inverse = 1 / square.squareRoot()
            for column in 0..<sample.dimension { row[column] = Float(Double(row[column]) * inverse) }
        }
        return sample
    }

    init(_ kind: Kind, _ input: CompressionInput, center: RowCenter, seed: Int, watch: ProgressCounter) throws {
        let sample = try Self.sample(input, center: center, watch: watch)
        (way, energies) = try withExtendedLifetime(sample) {
            let way = try Self.way(kind, sample, seed: seed, watch: watch)
            return (way, try Self.energies(sample, way))
        }
    }

    private static func way(_ kind: Kind, _ sample: RowSample, seed: Int, watch: ProgressCounter) throws -> Way {
        let dimension = sample.dimension
        switch kind {
        case .none: return .none
        case .hadamard: return .seeded(try Rotation(dimension: dimension, seed: seed))
        case .partial, .full:
            let vectors = try vectors(sample, count: vectorCount(kind, dimension: dimension), watch: watch)
            return .reflected(try Reflectors(vectors, isForward: true), vectors)
        }
    }

    /// Vectors that turn out the directions in which rows vary the most and the least, by turns, in 8 bits.
    private static func vectors(_ sample: RowSample, count: Int, watch: ProgressCounter) throws -> Uniform {
        let dimension = sample.dimension
        try Allocation.require(Checked.product(dimension, dimension, 6, MemoryLayout<Double>.size))
        var gram = try DoubleMatrix(rows: dimension, columns: dimension)
        try gram.addGram(of: sample.values, stride: dimension, count: sample.count) { try watch.report() }
        let (values, directions) = try LinearAlgebra.symmetricEigenvectors(gram) { try watch.report() }
        let logarithms = values.map { log(max($0, Double.leastNormalMagnitude)) }
        let mean = logarithms.reduce(0, +) / Double(dimension)
        // The directions that differ most from the mean; the largest and the least take turns, so that no long run of columns is
        // without bits.
        let chosen = Set(
            (0..<dimension).sorted { abs(logarithms[$0] - mean) > abs(logarithms[$1] - mean) }.prefix(count))
        let large = (0..<dimension).reversed().filter { chosen.contains($0) && logarithms[$0] >= mean }
        let small = (0..<dimension).filter { chosen.contains($0) && logarithms[$0] < mean }
        let order = (0..<max(large.count, small.count)).flatMap { index in
            [large, small].compactMap { index < $0.count ? $0[index] : nil }
        }
        let numbers = try Reflectors.vectors(turning: try directions.columns(order))
        let table = Table(try Dense(numbers, rows: count, dimension: dimension))
        guard
            let stored = try Method.named("least_squares").compress(
                table, ["bits": .integer(8), "scale_dtype": .string("f16")]
            ).root as? Uniform
        else { throw EmbedCompressError.invalidArgument("vectors of a rotation are no codes") }
        return stored
    }

    /// Turns rows in place.
    func apply(_ rows: UnsafeMutablePointer<Float>, stride: Int, count: Int) throws {
        try Self.apply(way, rows, stride: stride, count: count)
    }

    private static func apply(_ way: Way, _ rows: UnsafeMutablePointer<Float>, stride: Int, count: Int) throws {
        switch way {
        case .none: break
        case .seeded(let rotation): rotation.rotate(rows, stride: stride, count: count)
        case .reflected(let reflectors, _): reflectors.turn(rows, stride: stride, count: count)
        }
        try Scratch.check()
    }

    /// Codes of turned rows as a table of rows, to which a row is added that all share.
    func back(_ codes: Trellis, offset: Bytes?) throws -> any Node {
        switch way {
        case .none:
            guard let offset else { return codes }
            let mean = try Dense(offset, element: .float32, rows: 1, dimension: codes.dimension)
            let shared = try Remap(.modulo(modulus: 1, offset: 0), rows: codes.rows, inner: mean)
            return try Combination([codes, shared], operation: .sum)
        case .seeded(let rotation): return try Rotate(inner: codes, seed: rotation.seed, offset: offset)
        case .reflected(_, let vectors): return try Rotate(inner: codes, vectors: vectors, offset: offset)
        }
    }

    private static func energies(_ sample: RowSample, _ way: Way) throws -> [Double] {
        let dimension = sample.dimension
        var sums = try [Double](allocating: 0, count: dimension)
        for first in stride(from: 0, to: sample.count, by: blockCapacity) {
            let count = min(blockCapacity, sample.count - first)
            let rows = sample.values + first * dimension
            try apply(way, rows, stride: dimension, count: count)
            for index in 0..<count * dimension { sums[index % dimension] += Double(rows[index]) * Double(rows[index]) }
        }
        return sums
    }
}

/// How many bits rows and columns have.
private struct TrellisPlan: Sendable {
    let rows: Int
    let dimension: Int
    let effort: TrellisCompressor.Effort
    /// Of a column, on average.
    let bits: Double
    /// Of the whole table, in place of the bits.
    let budget: Int?
    /// Bytes of a row that a first stage takes of those that the bits make.
    var stageBytes = 0
    /// Of a first stage, as a budget counts them.
    var extraBytes = 0

    func with(_ effort: TrellisCompressor.Effort) -> TrellisPlan {
        TrellisPlan(
            rows: rows, dimension: dimension, effort: effort, bits: bits, budget: budget, stageBytes: stageBytes,
            extraBytes: extraBytes)
    }

    /// Every fourth column has a bit, and all together have as many as the fewest states.
    var least: Int { max((dimension + 31) / 32, TrellisCode.stateBitRange.lowerBound / 8) }
    private var most: Int { dimension * TrellisCode.mostColumnBits / 8 }

    /// Whether rows of codes fit beside so many bytes of each row, and of the table.
    func hasRoom(rowBytes: Int, tableBytes: Int) -> Bool {
        guard let budget else { return true }
        guard let used = bytes(least, rowBytes: rowBytes, tableBytes: tableBytes) else { return false }
        return used <= budget
    }

    /// Of rows of so many bytes of codes; nil if they are too many to count.
    private func bytes(_ codeBytes: Int, rowBytes: Int, tableBytes: Int) -> Int? {
        Checked.sum(of: [
            Checked.product(rows, codeBytes + 1 + rowBytes), Trellis.tableBytes(dimension: dimension), tableBytes,
            extraBytes,
        ])
    }

    /// Bytes of the codes of a row.
    ///
    /// - Parameters:
    ///   - rowBytes: Of what a row has beside its codes and their scale.
    ///   - tableBytes: Of what the table has beside the trellis.
    func codeBytes(rowBytes: Int, tableBytes: Int) throws -> Int {
        guard let budget else {
            let bytes = min(max(Int((Double(dimension) * bits / 8).rounded(.up)), least), most)
            return max(bytes - stageBytes, least)
        }
        guard hasRoom(rowBytes: rowBytes, tableBytes: tableBytes) else {
            throw EmbedCompressError.budget(
                method: "trellis", budgetBytes: budget,
                floorBytes: bytes(least, rowBytes: rowBytes, tableBytes: tableBytes) ?? Int.max)
        }
        let table = Trellis.tableBytes(dimension: dimension) + tableBytes + extraBytes
        return rows > 0 ? min((budget - table) / rows - 1 - rowBytes, most) : most
    }

    func columns(_ turn: TrellisTurn, _ center: RowCenter) throws -> TrellisColumns {
        try columns(
            codeBytes: codeBytes(
                rowBytes: center.rowBytes, tableBytes: center.tableBytes(dimension: dimension) + turn.storedBytes), turn
        )
    }

    func columns(codeBytes: Int, _ turn: TrellisTurn) throws -> TrellisColumns {
        // Those of columns that differ, which have bits as they vary; the others have even bits.
        let energies = turn.ordersColumns ? turn.energies : nil
        let even = TrellisColumns.evenBits(dimension: dimension, codeBytes: codeBytes)
        // Rows of few bits have fewer states: those of windows of half of the row's bits, or as many as their columns need.
        let needed = Int(even.max() ?? 0) + TrellisCode.leastMemory
        let stateBits = max(min(effort.stateBits, 4 * codeBytes), needed, TrellisCode.stateBitRange.lowerBound)
        let mostBits = min(TrellisCode.mostColumnBits, stateBits - TrellisCode.leastMemory)
        let bits = energies.flatMap { Self.bits($0, total: 8 * codeBytes, most: mostBits) } ?? even
        let mean = (8 * codeBytes + dimension / 2) / dimension
        let multiplier = TrellisMultipliers.multiplier(stateBits: stateBits, bits: mean)
        let columns = try TrellisColumns(code: TrellisCode(stateBits: stateBits, multiplier: multiplier), bits: bits)
        let scratch = TrellisSearch.scratchBytes(columns)
        guard scratch <= Self.mostScratch else {
            throw EmbedCompressError.invalidArgument(
                "trellis: rows of \(dimension) columns need \(scratch.grouped) bytes on each thread to be encoded with effort "
                    + "'\(effort.rawValue)', and at most \(Self.mostScratch.grouped) are taken")
        }
        return columns
    }

    private static let mostScratch = 512 << 20

    /// Bits that leave the least error of all columns together, if each bit takes three quarters of a column's: reverse
    /// water-filling. nil if so many can't be shared out.
    private static func bits(_ energies: [Double], total: Int, most: Int) -> [UInt8]? {
        let dimension = energies.count
        // Every fourth column and the last one have a bit in any case.
        var bits = (0..<dimension).map { UInt8($0 % 4 == 3 || $0 == dimension - 1 ? 1 : 0) }
        var left = total - bits.reduce(0) { $0 + Int($1) }
        guard left >= 0, total <= dimension * most else { return nil }
        var gains = (0..<dimension).map { energies[$0] * (bits[$0] == 1 ? 0.25 : 1) }
        while left > 0 {
            guard let best = gains.indices.max(by: { gains[$0] < gains[$1] }), gains[best] >= 0 else { return nil }
            bits[best] += 1
            left -= 1
            gains[best] = Int(bits[best]) == most ? -1 : gains[best] / 4
        }
        return bits
    }
}
