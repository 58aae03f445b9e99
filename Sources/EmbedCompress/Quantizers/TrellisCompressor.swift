#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// Trellis-coded rows: the bits of each row whose values have the least squared error, by Viterbi's algorithm.
///
/// Columns are divided by how much they vary, and each row has one of 255 scales that lie at equal ratios from the smallest row
/// to the largest. A row is encoded at the one that suits normally distributed values; then the scale is fitted to what was
/// found. See ``Trellis`` for the papers and the bytes.
struct TrellisCompressor: RowCompressor {
    /// How many states a search goes through, and how many scales it tries.
    enum Effort: String, CaseIterable {
        case fast, `default`, best

        var stateBits: Int {
            switch self {
            case .fast: return 10
            case .default: return 12
            case .best: return 16
            }
        }
        /// Columns on each side of a row's seam that are searched first: for `fast`, those that have three states' bits.
        func seamColumns(_ columns: TrellisColumns) -> Int {
            let enough = (3 * columns.code.stateBits * columns.dimension - 1) / (8 * columns.codeBytes) + 1
            return self == .fast ? min(enough, 16) : 24
        }
        /// Whether a row is searched again at the scale that was fitted to it, where that is far from the one of the first search.
        var searchesAgain: Bool { self != .fast }
        /// What a row's first scale is multiplied by.
        var scaleFactors: [Double] { self == .best ? [1, 0.93, 1.07] : [1] }
    }

    private let search: TrellisSearch
    private let turn: TrellisTurn
    private let center: RowCenter
    /// Whether decoded rows have the norm 1.
    private let normalizes: Bool
    let choices: [MethodChoice]
    private let factors: [Float]
    /// As they are stored.
    private let scales: [Float]
    /// What stored scales are multiplied by, and stored factors are divided by: 1 unless values are so small that products
    /// would lose digits.
    private let unit: Double
    private let effort: Effort
    let mayOverflow: Bool

    private var columns: TrellisColumns { search.columns }

    /// Reads all rows once for the range of their scales.
    init(
        _ input: CompressionInput, columns: TrellisColumns, energies: [Double], turn: TrellisTurn, center: RowCenter,
        effort: Effort, normalizes: Bool = false, choices: [MethodChoice] = [], progress: ProgressCounter
    ) throws {
        search = TrellisSearch(columns, seamColumns: effort.seamColumns(columns))
        (self.turn, self.center, self.normalizes, self.choices) = (turn, center, normalizes, choices)
        self.effort = effort
        factors = Self.factors(energies, bits: columns.bits, isEven: !turn.ordersColumns)
        let dimension = columns.dimension
        let lock = Lock()
        var (least, most, largest) = (Double.infinity, 0.0, Float(0))
        try RowReader.forEachBlock(of: input.source, progress: progress) { first, count, values in
            var (low, high, magnitude) = (Double.infinity, 0.0, Float(0))
            for index in 0..<count {
                let row = RowValues(base: values.row(index), count: dimension)
                guard let extent = row.extent() else { throw nonFinite(row, row: input.firstRow + first + index) }
                magnitude = max(magnitude, -extent.minimum, extent.maximum)
                if normalizes { try Self.checkNorm(row, input.firstRow + first + index, center) }
            }
            try center.withRest(of: values, count: count, dimension: dimension, firstRow: input.firstRow + first) {
                rest in
                for index in 0..<count {
                    let scale = Self.scale(RowValues(base: rest.row(index), count: dimension))
                    if scale > 0 { (low, high) = (min(low, scale), max(high, scale)) }
                }
            }
            lock.withLock { (least, most, largest) = (min(least, low), max(most, high), max(largest, magnitude)) }
        }
        unit = most < 0x1p-60 ? 0x1p40 : 1
        scales = Self.scales(from: least * unit, to: most * unit)
        mayOverflow = most > Double(safeMagnitude) || largest > safeMagnitude
    }

    /// Norms may be off by this, as those of rows in bf16 are.
    private static let normTolerance = 0.01

    private static func checkNorm(_ row: RowValues, _ index: Int, _ center: RowCenter) throws {
        let norm = deviation(row) * Double(row.count).squareRoot()
        guard norm > 0 || !center.kind.takesMeanRow else {
            throw EmbedCompressError.invalidArgument(
                "row \(index) is zeros, which would not stay so with normalize and center '\(center.kind.rawValue)': center "
                    + "'none' and 'rows' keep rows of zeros")
        }
        guard norm == 0 || abs(norm - 1) <= normTolerance else {
            throw EmbedCompressError.invalidArgument(
                "row \(index) has the norm \(norm), but normalize is for rows of the norm 1: divide rows by their norms before"
            )
        }
    }

    /// The standard deviation of a column over that of a row, times what its values are best multiplied by.
    private static func factors(_ energies: [Double], bits: [UInt8], isEven: Bool) -> [Float] {
        let total = energies.reduce(0, +)
        let mean = Double(bits.reduce(0) { $0 + Int($1) }) / Double(bits.count)
        return zip(energies, bits).map { energy, own in
            let deviation = (total > 0 ? energy / total * Double(bits.count) : 1).squareRoot()
            return Float(deviation * amplitude(bits: isEven ? mean : Double(own)))
        }
    }

    /// The standard deviation of values that have the least error on normally distributed columns of deviation 1: below 1 where
    /// few bits leave much of the variance out, above where values are to reach the rare large ones. Measured with 12-bit
    /// states, whole bits; between them on a line.
    private static func amplitude(bits: Double) -> Double {
        let measured = [0, 0.86, 0.99, 1.04, 1.07, 1.12, 1.18, 1.22, 1.28]
        let low = min(Int(bits), measured.count - 1)
        let high = min(low + 1, measured.count - 1)
        // Half a bit keeps half of the variance; a line would keep a fifth.
        if low == 0 { return (1 - pow(4, -bits)).squareRoot() }
        return measured[low] + (measured[high] - measured[low]) * (bits - Double(low))
    }

    /// The scale at which a row is encoded first: 0 for a row of zeros. A turn leaves it what it is.
    private static func scale(_ row: RowValues) -> Double { deviation(row) / Double(TrellisCode.deviation) }

    /// The root of the mean of squares.
    private static func deviation(_ row: RowValues) -> Double {
        var square = 0.0
        for column in 0..<row.count { square += Double(row.base[column]) * Double(row.base[column]) }
        return (square / Double(row.count)).squareRoot()
    }

    /// 0, and 255 scales at equal ratios, with room for what fitting makes of the first and the last.
    private static func scales(from least: Double, to most: Double) -> [Float] {
        guard most > 0 else { return [Float](repeating: 0, count: Trellis.scaleCount) }
        let (low, high) = (log2(least) - 0.25, log2(most) + 1)
        let step = (high - low) / Double(Trellis.scaleCount - 2)
        return (0..<Trellis.scaleCount).map { index in
            index == 0 ? 0 : Trellis.roundedScale(Float(exp2(low + step * Double(index - 1))))
        }
    }

    func compress(_ input: CompressionInput, tally: FallbackTally, progress: ProgressCounter) throws -> any Node {
        let (rows, rowBytes) = (input.source.rows, columns.codeBytes + 1)
        guard let size = Checked.product(rows, rowBytes) else { throw EmbedCompressError.outOfMemory(bytes: Int.max) }
        let bytes = Bytes(try ByteStorage.allocate(size))
        let target = bytes.mutablePointer
        let dimension = columns.dimension
        let means = Bytes(try ByteStorage.allocate(rows * center.rowBytes))
        let meanBits = means.mutablePointer.assumingMemoryBound(to: UInt16.self)
        try withExtendedLifetime((bytes, means)) {
            try RowReader.forEachBlock(of: input.source, and: input.elementWeights, progress: progress) {
                first, count, values, weights in
                try checkFinite(values, count, dimension, firstRow: input.firstRow + first)
                let stride = MatrixProduct.stride(dimension)
                try Scratch.with(count * stride, of: Float.self) { rows in
                    for index in 0..<count { (rows + index * stride).update(from: values.row(index), count: dimension) }
                    center.take(
                        from: rows, stride: stride, count: count, dimension: dimension,
                        means: center.rowBytes > 0 ? meanBits + first : nil)
                    try turn.apply(rows, stride: stride, count: count)
                    for index in 0..<count {
                        guard RowValues(base: rows + index * stride, count: dimension).extent() == nil else { continue }
                        let extent = RowValues(base: values.row(index), count: dimension).extent() ?? (0, 0)
                        throw EmbedCompressError.invalidArgument(
                            "row \(input.firstRow + first + index) has values from \(extent.minimum) to \(extent.maximum), "
                                + "too large to be rotated in f32")
                    }
                    encode(
                        FloatBlock(base: rows, stride: stride), weights, count: count, to: target + first * rowBytes)
                }
            }
        }
        let codes = try Trellis(
            bytes, rows: rows, columns: columns, scales: try scales.withUnsafeBytes { try Bytes(copying: $0) },
            factors: try factors.map { $0 / Float(unit) }.withUnsafeBytes { try Bytes(copying: $0) })
        let node = try center.adding(means, to: turn.back(codes, offset: center.offset()))
        return normalizes ? try Normalize(node) : node
    }

    /// Encodes rows that are turned.
    private func encode(
        _ rows: FloatBlock, _ weights: FloatBlock?, count: Int, to target: UnsafeMutableRawPointer
    ) {
        let dimension = columns.dimension
        Scratch.with(3 * dimension + search.scratchFloats, of: Float.self) { floats in
            Scratch.with(2 * dimension, of: UInt16.self) { states in
                Scratch.with(search.scratchBytes, of: UInt8.self) { traces in
                    let encoder = RowEncoder(
                        compressor: self, row: floats, factors: floats + dimension, roots: floats + 2 * dimension,
                        states: states, best: states + dimension, costs: floats + 3 * dimension, traces: traces)
                    for index in 0..<count {
                        encoder.encode(
                            rows.row(index), weights?.row(index), to: target + index * (columns.codeBytes + 1))
                    }
                }
            }
        }
    }

    /// Encodes a row at a time.
    private struct RowEncoder {
        let compressor: TrellisCompressor
        /// The row, of which each column is multiplied by the root of its weight, and then over the scale.
        let row: UnsafeMutablePointer<Float>
        /// The factors, times the same root.
        let factors: UnsafeMutablePointer<Float>
        let roots: UnsafeMutablePointer<Float>
        let states: UnsafeMutablePointer<UInt16>
        let best: UnsafeMutablePointer<UInt16>
        let costs: UnsafeMutablePointer<Float>
        let traces: UnsafeMutablePointer<UInt8>

        private var dimension: Int { compressor.columns.dimension }

        func encode(
            _ values: UnsafePointer<Float>, _ weights: UnsafePointer<Float>?, to target: UnsafeMutableRawPointer
        ) {
            let first = TrellisCompressor.scale(RowValues(base: values, count: dimension))
            weigh(weights)
            var found: (error: Double, scale: Int)?
            /// Encodes at a stored scale, and returns the one that then suits.
            func attempt(_ scale: Int) -> Int {
                let tried = encode(values, at: scale)
                if tried.error < found?.error ?? .infinity {
                    found = tried
                    best.update(from: states, count: dimension)
                }
                return tried.scale
            }
            if first > 0 {
                for factor in compressor.effort.scaleFactors {
                    let start = max(compressor.nearestScale(first * factor), 1)
                    let fitted = attempt(start)
                    guard compressor.effort.searchesAgain else { continue }
                    // Once more where the scale that was searched at was far from the one that suits.
                    let ratio = compressor.size(fitted) / compressor.size(start)
                    if fitted > 0, ratio < 0.97 || ratio > 1.03 { _ = attempt(fitted) }
                }
            }
            // Zeros have the scale 0, whatever their bits are.
            guard let found else { return }
            var writer = BitWriter(target: target)
            for column in 0..<dimension {
                let own = compressor.columns.bits[column]
                writer.write(UInt32(best[column]) & (1 << UInt32(own) - 1), bits: Int(own))
            }
            target.storeBytes(
                of: UInt8(truncatingIfNeeded: found.scale), toByteOffset: compressor.columns.codeBytes, as: UInt8.self)
        }

        /// The roots of a row's weights, over the largest. Where all are 0, errors count alike.
        private func weigh(_ weights: UnsafePointer<Float>?) {
            let largest = weights.map { weights in (0..<dimension).reduce(0) { max($0, weights[$1]) } } ?? 0
            for column in 0..<dimension {
                roots[column] = weights.map { largest > 0 ? ($0[column] / largest).squareRoot() : 1 } ?? 1
                factors[column] = compressor.factors[column] * roots[column]
            }
        }

        /// Finds the states at a stored scale, and then the stored scale that suits them best. Returns the squared error.
        private func encode(_ values: UnsafePointer<Float>, at start: Int) -> (error: Double, scale: Int) {
            let scale = compressor.size(start)
            let inverse = 1 / scale
            for column in 0..<dimension {
                row[column] = Float(Double(values[column]) * inverse) * roots[column]
            }
            compressor.search.encode(row, factors, states: states, floats: costs, bytes: traces)
            var (mixed, square, own) = (0.0, 0.0, 0.0)
            for column in 0..<dimension {
                let product = Double(factors[column] * compressor.search.value(states[column], column: column))
                mixed += Double(row[column]) * product
                square += product * product
                own += Double(row[column]) * Double(row[column])
            }
            let fitted = square > 0 && mixed > 0 ? compressor.nearestScale(scale * mixed / square) : 0
            let index = max(fitted, compressor.leastScale)
            let ratio = compressor.size(index) / scale
            return ((own - 2 * ratio * mixed + ratio * ratio * square) * scale * scale, index)
        }
    }

    /// Of a row that is not zeros: one that is to have the norm 1 can't be zeros, however little its codes say of it.
    private var leastScale: Int { normalizes ? 1 : 0 }

    /// A stored scale, without the unit.
    private func size(_ index: Int) -> Double { Double(scales[index]) / unit }

    /// The index of the stored scale that is nearest to a number that is not negative.
    private func nearestScale(_ size: Double) -> Int {
        let wanted = Float(size * unit)
        var (low, high) = (0, Trellis.scaleCount - 1)
        while high - low > 1 {
            let middle = (low + high) / 2
            if scales[middle] <= wanted { low = middle } else { high = middle }
        }
        return wanted - scales[low] <= scales[high] - wanted ? low : high
    }
}
