/// Rows of a table to learn from: all of them, or one at random of each of as many runs of equal length.
struct RowSample {
    let count: Int
    let dimension: Int
    /// What values are multiplied by, a power of two: 1 unless squares of the largest would leave the range of f32, or
    /// those of all others vanish.
    let unit: Float
    /// The largest magnitude of a value, without the unit.
    let largest: Float
    /// Row after row, times the unit.
    let values: UnsafeMutablePointer<Float>
    /// One for each row; nil for all alike.
    let weights: UnsafeMutablePointer<Float>?
    private let memory: ByteStorage

    /// A sample is never of more numbers: 256 MiB.
    private static let mostFloats = 1 << 26

    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for a row that is not finite.
    init(_ input: CompressionInput, atMost limit: Int, seed: Int, watch: ProgressCounter) throws {
        let (rows, dimension) = (input.source.rows, input.source.dimension)
        let count = min(rows, limit, max(Self.mostFloats / dimension, 1))
        self.count = count
        self.dimension = dimension
        let floats = count * dimension
        memory = try ByteStorage.allocate((floats + (input.weights == nil ? 0 : count)) * 4, zeroed: false)
        let values = memory.base.assumingMemoryBound(to: Float.self)
        let weights = input.weights == nil ? nil : values + floats
        self.values = values
        self.weights = weights
        let ids = try Buffer<Int64>(count: count)
        defer { ids.keep() }
        var random = SeededRandom(seed: seed)
        for index in 0..<count {
            let (first, end) = (place(index, rows, count), place(index + 1, rows, count))
            ids[index] = Int64(count == rows ? index : first + random.below(end - first))
        }
        let context = LookupContext(onInvalid: .raise)
        let lock = Lock()
        var largest: Float = 0
        try Parallel.forEach(count: count, grain: RowReader.blockRows(dimension: dimension), progress: watch) { range in
            let block = IDBlock(ids: ids.base + range.lowerBound, count: range.count)
            let start = values + range.lowerBound * dimension
            input.source.gather(block, into: RowBlock(base: start, stride: dimension), context: context)
            if let weights, let source = input.weights {
                source.gather(block, into: RowBlock(base: weights + range.lowerBound, stride: 1), context: context)
            }
            var magnitude: Float = 0
            for index in 0..<range.count {
                let row = start + index * dimension
                for column in 0..<dimension {
                    guard row[column].isFinite else {
                        throw EmbedCompressError.invalidArgument(
                            "row \(ids[range.lowerBound + index]) has \(row[column]) in column \(column); "
                                + "every value must be finite")
                    }
                    magnitude = max(magnitude, row[column].magnitude)
                }
            }
            lock.withLock { largest = max(largest, magnitude) }
        }
        _ = try context.finish()
        (unit, self.largest) = (Self.unit(largest), largest)
        if unit != 1 { for index in 0..<floats { values[index] *= unit } }
    }

    /// Brings magnitudes above 2^40 down to that, and those below 2^-40 up to 1.
    private static func unit(_ largest: Float) -> Float {
        guard largest > 0, abs(largest.exponent) > 40 else { return 1 }
        return Float(sign: .plus, exponent: min((largest > 1 ? 40 : 0) - largest.exponent, 126), significand: 1)
    }

    /// Calls `body` with some columns of all rows, row after row, less their means; and the means; both times the unit.
    func withColumns<Result>(
        _ columns: Range<Int>, _ body: (UnsafeMutablePointer<Float>, [Float]) throws -> Result
    ) throws -> Result {
        let width = columns.count
        let memory = try Buffer<Float>(count: count * width)
        defer { memory.keep() }
        let part = memory.base
        var sums = try [Double](allocating: 0, count: width)
        for index in 0..<count {
            let row = values + index * dimension + columns.lowerBound
            for column in 0..<width { sums[column] += Double(row[column]) }
        }
        let means = sums.map { Float($0 / Double(max(count, 1))) }
        for index in 0..<count {
            let row = values + index * dimension + columns.lowerBound
            for column in 0..<width { part[index * width + column] = row[column] - means[column] }
        }
        return try withExtendedLifetime(self.memory) { try body(part, means) }
    }
}

/// Where run `index` begins of `count` runs of rows.
private func place(_ index: Int, _ rows: Int, _ count: Int) -> Int {
    count == 0 ? 0 : Checked.share(of: rows, index, of: count)
}
