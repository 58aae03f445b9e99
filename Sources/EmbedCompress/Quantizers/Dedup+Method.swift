extension Method {
    static let dedup = Method(
        name: "dedup", title: "Dedup", family: .deduplication,
        paper: "Zhou et al. 2022, PVLDB 15; Zhang et al. 2024, PVLDB 17",
        summary: "one of the blocks of values that are alike stands for all of them",
        bytesPerRow:
            "(4 * r * c * kept + blocks * ceil(log2(kept)) / 8) / rows for each column of blocks of r x c values",
        cost: "16 comparisons of blocks for each projection, and sorting them by it; the table in memory as f32",
        options: [
            Option("block_rows", .integer(1...Int(Int32.max)), default: .integer(1), "rows of a block"),
            Option("block_columns", .integer(1...maximumDimension), default: .integer(4), "columns of a block"),
            Option(
                "similarity", .number(0...1), default: .number(0.7),
                "the least share of equal values of a block that is dropped without a budget"),
            Option(
                "tolerance", .number(0...1e6), default: .number(0.5),
                "how far equal values may be apart, in standard deviations of the table"),
            Option(
                "projections", .integer(1...1000), default: .integer(8),
                "random directions along which blocks that are alike are looked for"),
            Option("seed", .integer(0...Int.max), default: .integer(0), "of the projections"),
            Option(
                "budget", .budget, default: .null,
                "most bytes of the result; chooses how many blocks are dropped, whatever their similarity"),
        ],
        takesWeights: false, passes: 2
    ) { input, options, progress in
        let (source, rows) = (input.source, input.source.rows)
        let budget = try options.optionalInteger("budget")
        if budget != nil, options.isGiven("similarity") {
            throw EmbedCompressError.invalidArgument("give dedup either similarity or a budget, not both")
        }
        let (blockRows, blockColumns) = (try options.integer("block_rows"), try options.integer("block_columns"))
        let columns = (source.dimension - 1) / blockColumns + 1
        guard rows / blockRows <= Int(UInt32.max) / (2 * columns) else {
            throw EmbedCompressError.invalidArgument(
                "dedup takes at most 2^31 blocks: \(rows) rows in \(columns) columns of blocks have more")
        }
        let deviation = try standardDeviation(source, progress: progress)
        return try withFloats(of: source, progress: progress) { values in
            var dedup = try Dedup(
                values, rows: rows, dimension: source.dimension,
                blockRows: blockRows, blockColumns: blockColumns,
                tolerance: Float(try options.number("tolerance") * deviation))
            try dedup.drop(
                budget: budget, similarity: try options.number("similarity"),
                projections: try options.integer("projections"), seed: try options.integer("seed"), progress: progress)
            return FinishedTable(node: try dedup.node())
        }
    }

    /// Of all values of a table, which must be finite. Reads every row once.
    private static func standardDeviation(_ source: any Node, progress: ProgressCounter) throws -> Double {
        let dimension = source.dimension
        let grain = RowReader.blockRows(dimension: dimension)
        // A block's sums, so that the total does not depend on threads.
        let lock = Lock()
        var sums: [Int: (sum: Double, squares: Double)] = [:]
        try RowReader.forEachBlock(of: source, progress: progress) { first, count, values in
            var (sum, squares) = (0.0, 0.0)
            for index in 0..<count {
                let row = values.row(index)
                var (rowSum, rowSquares) = (0.0, 0.0)
                for column in 0..<dimension {
                    let value = Double(row[column])
                    rowSum += value
                    rowSquares += value * value
                }
                guard rowSquares.isFinite else {
                    throw nonFinite(RowValues(base: row, count: dimension), row: first + index)
                }
                sum += rowSum
                squares += rowSquares
            }
            lock.withLock { sums[first / grain] = (sum, squares) }
        }
        let count = Double(max(source.rows, 1)) * Double(dimension)
        let ordered = sums.sorted { $0.key < $1.key }.map(\.value)
        let mean = ordered.reduce(0) { $0 + $1.sum } / count
        return max(ordered.reduce(0) { $0 + $1.squares } / count - mean * mean, 0).squareRoot()
    }

    /// Calls `body` with every row of a table, in memory.
    private static func withFloats<Result>(
        of source: any Node, progress: ProgressCounter, _ body: (FloatBlock) throws -> Result
    ) throws -> Result {
        if let direct = (source as? Dense)?.floats(0..<source.rows) { return try body(direct) }
        let dimension = source.dimension
        guard let count = Checked.product(source.rows, dimension, 4) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        let bytes = Bytes(try ByteStorage.allocate(count))
        let floats = bytes.mutablePointer.assumingMemoryBound(to: Float.self)
        try RowReader.forEachBlock(of: source, progress: progress.watch) { first, count, values in
            try checkFinite(values, count, dimension, firstRow: first)
            for index in 0..<count {
                (floats + (first + index) * dimension).update(from: values.row(index), count: dimension)
            }
        }
        return try withExtendedLifetime(bytes) { try body(FloatBlock(base: floats, stride: dimension)) }
    }
}
