#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// What is taken from rows before they become codes, and added again behind them: the mean row of the table, the mean of each
/// row's own columns, or both.
///
/// The mean row takes `4 * d` bytes for the table. A row's own mean is kept as bf16, 2 bytes a row, and is spread over the
/// columns by a matrix of ones, `4 * d` bytes for the table; it is taken as it is stored, so that its rounding costs nothing.
struct RowCenter: Sendable {
    enum Kind: String, CaseIterable {
        case none, table, rows, both

        var takesMeanRow: Bool { self == .table || self == .both }
        var takesRowMeans: Bool { self == .rows || self == .both }
    }

    static let none = RowCenter(kind: .none, mean: nil)

    let kind: Kind
    /// The mean row; nil where it is not taken.
    private let mean: [Float]?

    private init(kind: Kind, mean: [Float]?) { (self.kind, self.mean) = (kind, mean) }

    var isNone: Bool { kind == .none }
    /// Of each row.
    var rowBytes: Int { Self.rowBytes(kind) }
    /// Of the table.
    func tableBytes(dimension: Int) -> Int { Self.tableBytes(kind, dimension: dimension) }

    static func rowBytes(_ kind: Kind) -> Int { kind.takesRowMeans ? MemoryLayout<UInt16>.size : 0 }
    static func tableBytes(_ kind: Kind, dimension: Int) -> Int {
        ((kind.takesMeanRow ? 1 : 0) + (kind.takesRowMeans ? 1 : 0)) * MemoryLayout<Float>.size * dimension
    }

    /// - Parameter sample: Rows that the mean row is of.
    init(_ kind: Kind, of sample: RowSample) throws {
        self.init(kind: kind, mean: kind.takesMeanRow ? try Self.meanRow(of: sample) : nil)
    }

    /// The mean of a sample's rows, which may be the whole table; zeros if there is none.
    private static func meanRow(of sample: RowSample) throws -> [Float] {
        var sums = try [Double](allocating: 0, count: sample.dimension)
        for index in 0..<sample.count {
            let row = sample.values + index * sample.dimension
            for column in 0..<sample.dimension { sums[column] += Double(row[column]) }
        }
        return sums.map { Float($0 / Double(max(sample.count, 1)) / Double(sample.unit)) }
    }

    // MARK: - Taking and giving back

    /// Takes from rows in place what they have.
    ///
    /// - Parameters:
    ///   - unit: A power of two that the rows are multiplied by.
    ///   - means: Where the bits of the rows' own means go, as bf16; nil where nobody needs them.
    func take(
        from rows: UnsafeMutablePointer<Float>, stride: Int, count: Int, dimension: Int, unit: Float = 1,
        means: UnsafeMutablePointer<UInt16>? = nil
    ) {
        guard !isNone else { return }
        for index in 0..<count {
            let row = rows + index * stride
            if let mean { for column in 0..<dimension { row[column] -= mean[column] * unit } }
            guard kind.takesRowMeans else { continue }
            var sum = 0.0
            for column in 0..<dimension { sum += Double(row[column]) }
            let stored = brainFloat(Float(sum / Double(dimension)))
            means?[index] = stored.littleEndian
            let value = Float(bitPattern: UInt32(stored) << 16)
            for column in 0..<dimension { row[column] -= value }
        }
    }

    /// The mean row as it is stored.
    func offset() throws -> Bytes? { try mean.map { try $0.withUnsafeBytes { try Bytes(copying: $0) } } }

    /// Adds the rows' own means to decoded rows.
    func adding(_ means: Bytes, to node: any Node) throws -> any Node {
        guard kind.takesRowMeans else { return node }
        let ones = try [Float](allocating: 1, count: node.dimension)
        let column = try Dense(means, element: .bfloat16, rows: node.rows, dimension: 1)
        let spread = try Project(
            matrix: try ones.withUnsafeBytes { try Bytes(copying: $0) }, bias: nil, element: .float32,
            dimension: node.dimension, inner: column)
        return try Combination([node, spread], operation: .sum)
    }

    /// Calls `body` with what is left of a block of rows.
    ///
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for a row that leaves the range of f32.
    func withRest(
        of values: FloatBlock, count: Int, dimension: Int, firstRow: Int, _ body: (FloatBlock) throws -> Void
    ) throws {
        if isNone { return try body(values) }
        let stride = MatrixProduct.stride(dimension)
        try Scratch.with(count * stride, of: Float.self) { rows in
            for index in 0..<count { (rows + index * stride).update(from: values.row(index), count: dimension) }
            take(from: rows, stride: stride, count: count, dimension: dimension)
            for index in 0..<count where RowValues(base: rows + index * stride, count: dimension).extent() == nil {
                let extent = RowValues(base: values.row(index), count: dimension).extent() ?? (0, 0)
                throw EmbedCompressError.invalidArgument(
                    "row \(firstRow + index) has values from \(extent.minimum) to \(extent.maximum), too large for a mean "
                        + "to be taken from it in f32; center 'none' takes none")
            }
            try body(FloatBlock(base: rows, stride: stride))
        }
        try Scratch.check()
    }

    // MARK: - Choosing

    /// Bits that each value must save, beyond those that it takes, for a lookup to be slower: as for rotations.
    private static let leastGain = 0.25
    /// A rest of zeros saves no more than these.
    private static let mostSaved = 16.0

    /// The kind that saves the most bits a value for its own, if any saves enough.
    ///
    /// Half the logarithm of what taking means leaves of the squares is the bits that a value needs less for the same error.
    /// Counted is the smaller one of two: that of all squares together, and the mean of the rows' own, so that neither a few
    /// large rows nor many small ones decide alone.
    ///
    /// - Parameters:
    ///   - rows: Of the whole table.
    ///   - keepsZeros: Whether rows of zeros must have a rest of zeros, which they have where no mean row is taken.
    ///   - fits: Whether a budget has room for so many bytes of each row, and for the table.
    static func chosen(
        for sample: RowSample, rows: Int, keepsZeros: Bool, fits: (_ rowBytes: Int, _ tableBytes: Int) -> Bool
    ) throws -> (center: RowCenter, choice: MethodChoice) {
        let dimension = sample.dimension
        var best = (center: RowCenter.none, gain: leastGain)
        var candidates = [
            MethodChoice.Candidate(value: Kind.none.rawValue, figures: [("saved_bits", 0), ("bytes", 0)])
        ]
        for kind in [Kind.table, .rows, .both] where !(keepsZeros && kind.takesMeanRow) {
            let (rowBytes, tableBytes) = (rowBytes(kind), tableBytes(kind, dimension: dimension))
            guard sample.count > 0, fits(rowBytes, tableBytes),
                let bytes = Checked.product(rows, rowBytes).flatMap({ Checked.sum($0, tableBytes) })
            else { continue }
            let center = try RowCenter(kind, of: sample)
            let saved = try center.savedBits(on: sample)
            let gain = saved - 8 * Double(bytes) / (Double(rows) * Double(dimension))
            if gain > best.gain { best = (center, gain) }
            candidates.append(
                MethodChoice.Candidate(
                    value: kind.rawValue, figures: [("saved_bits", saved), ("bytes", Double(bytes))]))
        }
        return (
            best.center,
            MethodChoice(option: "center", value: best.center.kind.rawValue, candidates: candidates)
        )
    }

    /// Bits that each value needs less for the same error.
    private func savedBits(on sample: RowSample) throws -> Double {
        let dimension = sample.dimension
        let row = try Buffer<Float>(count: dimension)
        defer { row.keep() }
        func square() -> Double {
            var sum = 0.0
            for column in 0..<dimension { sum += Double(row[column]) * Double(row[column]) }
            return sum
        }
        func bits(_ before: Double, _ after: Double) -> Double {
            guard before > 0 else { return after > 0 ? -Self.mostSaved : 0 }
            return min(0.5 * log2(before / max(after, before * 0x1p-100)), Self.mostSaved)
        }
        var (before, after, each, counted) = (0.0, 0.0, 0.0, 0)
        for index in 0..<sample.count {
            row.base.update(from: sample.values + index * dimension, count: dimension)
            let own = square()
            take(from: row.base, stride: dimension, count: 1, dimension: dimension, unit: sample.unit)
            let rest = square()
            before += own
            after += rest
            if own > 0 {
                each += bits(own, rest)
                counted += 1
            }
        }
        let saved = min(bits(before, after), each / Double(max(counted, 1)))
        return saved.isNaN ? 0 : saved
    }
}
