#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// A method with every number of bits that a tier may have: the bytes of each, and what it loses.
struct TierLadder {
    struct Step {
        let bits: Double
        let inner: InnerMethod
        let rowBytes: Int
        /// Of what the rows of a tier share.
        let sharedBytes: Int
        /// The share of a row's squared norm that is lost.
        var error: Double
    }

    /// From the fewest bytes to the most.
    let steps: [Step]
    /// That the method takes.
    private let leastBits: Double

    private static let sampleRows = 512
    /// Of a row: those that are nearly zeros are not to outweigh all others.
    private static let mostError = 16.0
    /// Widths that are measured of a method that takes any number; others lie between them, on a line of the errors' logarithms.
    private static let measuredBits = [0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8]

    /// - Parameter order: Rows by how much they count: the sample is spread over it.
    init(_ inner: InnerMethod, _ input: CompressionInput, order: RowOrder, watch: ProgressCounter) throws {
        let (rows, dimension) = (input.source.rows, input.source.dimension)
        var steps: [Step] = []
        let choices = try inner.tierChoices()
        leastBits = choices.first?.bits ?? 0
        for choice in choices {
            let (row, shared) = try choice.method.bytesPerRow(bits: choice.bits, dimension: dimension)
            // Of widths that take the same bytes, the last one.
            if row == steps.last?.rowBytes { steps.removeLast() }
            steps.append(
                Step(bits: choice.bits, inner: choice.method, rowBytes: row, sharedBytes: shared, error: .infinity))
        }
        let count = min(Self.sampleRows, rows)
        let places = (0..<count).map { Int((Double($0) + 0.5) * (Double(rows) / Double(count))) }
        let sample = try Dense(
            try Table(input.source).lookup(places.map { order.ids[$0] }), rows: count, dimension: dimension)
        input.source.discardPages()
        var measured: [(bits: Double, logarithm: Double)] = []
        var before = 0.0
        for step in steps {
            defer { before = step.bits }
            let isMeasured = Self.measuredBits.contains { $0 > before && $0 <= step.bits }
            guard !inner.hasFractionalBits || isMeasured else { continue }
            let error = try Self.error(step.inner, sample, watch)
            let logarithm = log2(max(error, Double.leastNormalMagnitude))
            // More bits lose no more: what a small sample says against it is chance.
            measured.append((step.bits, min(logarithm, measured.last?.logarithm ?? .infinity)))
        }
        for index in steps.indices { steps[index].error = exp2(Self.line(measured, at: steps[index].bits)) }
        self.steps = steps
    }

    /// What rows lose on average, each over its own squared norm.
    private static func error(_ inner: InnerMethod, _ sample: Dense, _ watch: ProgressCounter) throws -> Double {
        let copies = try inner.compress(sample, progress: watch)
        var (sum, count) = (0.0, 0.0)
        let lock = Lock()
        try RowReader.forEachBlock(of: sample, and: copies, progress: watch) { _, rows, values, copies in
            guard let copies else { return }
            for index in 0..<rows {
                let (row, copy) = (values.row(index), copies.row(index))
                var (lost, square) = (0.0, 0.0)
                for column in 0..<sample.dimension {
                    let difference = Double(row[column]) - Double(copy[column])
                    lost += difference * difference
                    square += Double(row[column]) * Double(row[column])
                }
                guard square > 0 else { continue }
                lock.withLock { (sum, count) = (sum + min(lost / square, Self.mostError), count + 1) }
            }
        }
        return count > 0 ? sum / count : 0
    }

    /// The number at `bits` on the lines between points; that of the nearest point outside them.
    private static func line(_ points: [(bits: Double, logarithm: Double)], at bits: Double) -> Double {
        guard let next = points.firstIndex(where: { $0.bits >= bits }) else { return points.last?.logarithm ?? 0 }
        let (after, before) = (points[next], points[max(next - 1, 0)])
        guard after.bits > before.bits else { return after.logarithm }
        let share = (bits - before.bits) / (after.bits - before.bits)
        return before.logarithm + share * (after.logarithm - before.logarithm)
    }

    /// The bytes of all rows with so many bits; between two widths, in proportion.
    func bytes(rows: Int, bits: Double) throws -> Int {
        guard let next = steps.firstIndex(where: { $0.bits >= bits }), bits >= leastBits else {
            throw EmbedCompressError.invalidArgument(
                "tiers: the inner method takes \(leastBits) to \(steps.last?.bits ?? leastBits) bits, not \(bits)")
        }
        let (after, before) = (steps[next], steps[max(next - 1, 0)])
        let span = after.bits - before.bits
        let share = span > 0 ? (bits - before.bits) / span : 1
        let row = Double(before.rowBytes) + share * Double(after.rowBytes - before.rowBytes)
        return Int(exactly: (row * Double(rows) + Double(after.sharedBytes)).rounded(.down)) ?? Int.max
    }
}

extension InnerMethod {
    /// Whether bits need not be whole, so that rows are whole bytes of any number and what they share does not depend on it.
    var hasFractionalBits: Bool {
        guard case .method(let method) = kind, case .number = method.options.first(where: { $0.name == "bits" })?.kind
        else { return false }
        return true
    }

    /// This method with every number of bits that a tier may have, from few to many.
    fileprivate func tierChoices() throws -> [(bits: Double, method: InnerMethod)] {
        guard hasFreeBits, hasFixedRows, knownOptions.isDisjoint(with: ["points", "inner"]),
            case .method(let method) = kind,
            let option = method.options.first(where: { $0.name == "bits" })
        else {
            throw EmbedCompressError.invalidArgument(
                "tiers takes an inner method whose rows have bits of their own, such as trellis, eden or least_squares, "
                    + "not \(name)")
        }
        if case .number(let range) = option.kind {
            return try stride(from: range.lowerBound, through: range.upperBound, by: 0.125).map {
                ($0, try with("bits", .number($0)))
            }
        }
        return try (1...8).filter { option.kind.accepts(.integer($0)) }.map {
            (Double($0), try with("bits", .integer($0)))
        }
    }

    /// - Parameter bits: Those of this method, which a probe of other bits tells the bytes of where they need not be whole.
    fileprivate func bytesPerRow(bits: Double, dimension: Int) throws -> (row: Int, shared: Int) {
        if !hasFractionalBits { return try sizePerRow(dimension) }
        let probe = try with("bits", .integer(8)).sizePerRow(dimension)
        return (probe.row - dimension + Int((Double(dimension) * bits / 8).rounded(.up)), probe.shared)
    }
}
