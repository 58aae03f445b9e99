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
            "ceil(d * bits / 8) + 1, and 1024 + 5 * d for the table; a partial rotation d * d / 4, a full one d * d",
        cost: "some 2^10, 2^12 or 2^16 steps for each value: fast, default, best",
        options: [
            Option("bits", .number(0.25...8), default: .integer(4), "bits of a column, on average"),
            Option(
                "effort", .choice(TrellisCompressor.Effort.allCases.map(\.rawValue)), default: .string("default"),
                "states of the search: 10 bits of them (12 where a column has more than 6), 12 or 16"),
            Option(
                "rotation", .choice(TrellisTurn.Kind.allCases.map(\.rawValue)), default: .string("none"),
                "partial turns a quarter of the principal directions out, full all of them, and columns have bits as they vary; "
                    + "hadamard turns at random"),
            Option("seed", .integer(0...Int.max), default: .integer(0), "of the rotation at random"),
            Option("budget", .budget, default: .null, "most bytes of the result; chooses bits"),
        ],
        takesWeights: true, passes: 2, countsSampledRows: true
    ) { input, options, progress in
        let dimension = input.source.dimension
        guard let effort = TrellisCompressor.Effort(rawValue: try options.string("effort")),
            let kind = TrellisTurn.Kind(rawValue: try options.string("rotation"))
        else { throw EmbedCompressError.invalidArgument("trellis has no such effort or rotation") }
        if kind != .none, input.elementWeights != nil {
            throw EmbedCompressError.invalidArgument(
                "trellis: weights of columns go with rotation 'none': a rotated row has other columns")
        }
        let turn = try TrellisTurn(kind, input, seed: try options.integer("seed"), watch: progress.watch)
        let plan = TrellisPlan(dimension: dimension, effort: effort, extraBytes: turn.storedBytes)
        let codeBytes: Int
        if let budget = try options.optionalInteger("budget") {
            if options.isGiven("bits") {
                throw EmbedCompressError.invalidArgument("give trellis either bits or a budget, not both")
            }
            codeBytes = try plan.codeBytes(rows: input.budgetRows, budget: budget)
        } else {
            codeBytes = plan.codeBytes(bits: try options.number("bits"))
        }
        return try TrellisCompressor(
            input, columns: try plan.columns(codeBytes: codeBytes, energies: turn.ordersColumns ? turn.energies : nil),
            energies: turn.energies, turn: turn, effort: effort, progress: progress)
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

    /// Rows that directions and energies are learned from, each divided by its norm. Weights of rows play no part: each row is
    /// encoded by itself.
    private static func sample(_ input: CompressionInput, watch: ProgressCounter) throws -> RowSample {
        let sample = try RowSample(
            CompressionInput(source: input.source, firstRow: input.firstRow), atMost: 65_536, seed: 0, watch: watch)
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

    init(_ kind: Kind, _ input: CompressionInput, seed: Int, watch: ProgressCounter) throws {
        let sample = try Self.sample(input, watch: watch)
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
            let count = max(kind == .full ? dimension - 1 : dimension / 4, 1)
            let vectors = try vectors(sample, count: count, watch: watch)
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

    /// Codes of turned rows as a table of rows.
    func back(_ codes: Trellis) throws -> any Node {
        switch way {
        case .none: return codes
        case .seeded(let rotation): return try Rotate(inner: codes, seed: rotation.seed)
        case .reflected(_, let vectors): return try Rotate(inner: codes, vectors: vectors)
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
private struct TrellisPlan {
    let dimension: Int
    let effort: TrellisCompressor.Effort
    /// Beside the trellis.
    let extraBytes: Int

    /// Every fourth column has a bit, and all together have as many as the fewest states.
    private var least: Int { max((dimension + 31) / 32, TrellisCode.stateBitRange.lowerBound / 8) }
    private var most: Int { dimension * TrellisCode.mostColumnBits / 8 }

    func codeBytes(bits: Double) -> Int {
        min(max(Int((Double(dimension) * bits / 8).rounded(.up)), least), most)
    }

    func codeBytes(rows: Int, budget: Int) throws -> Int {
        let table = Trellis.tableBytes(dimension: dimension) + extraBytes
        let room = rows > 0 ? (budget - table) / rows - 1 : most
        guard budget >= table, room >= least else {
            throw EmbedCompressError.budget(
                method: "trellis", budgetBytes: budget,
                floorBytes: Checked.sum(of: [Checked.product(rows, least + 1), table]) ?? Int.max)
        }
        return min(room, most)
    }

    /// - Parameter energies: Of columns that are to have bits as they vary; nil for even bits.
    func columns(codeBytes: Int, energies: [Double]?) throws -> TrellisColumns {
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
