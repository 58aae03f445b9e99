/// OPQ: product codes of rotated rows, and a matrix that rotates them back.
///
/// Ge, He, Ke and Sun, "Optimized Product Quantization", 2013 (IEEE TPAMI 36 (4), 2014). The rotation starts as the best
/// of none, a random one, and the principal directions shared out among parts so that each has the same product of
/// variances; product codes of a sample and the rotation that fits them best (Procrustes) then take turns. Last, the
/// matrix is fitted to the codes of all rows by least squares. Rows of up to 1024 columns are rotated as they are read; for
/// wider ones, the rotated table is held in memory.
///
/// Bytes: those of `pq`, and d * d * (2 or 4) for the matrix. Work beside that of `pq`: d^3 and rows * d^2 operations for
/// each turn.
extension Method {
    static let optimizedProduct = Method(
        name: "opq", title: "OPQ", family: .productQuantization, paper: "Ge, He, Ke and Sun 2013, IEEE TPAMI 36 (4)",
        summary: "product codes of rows that a learned matrix rotates",
        bytesPerRow: "ceil(parts * bits / 8) + (2^bits + d) * d * (2 for f16, 4 for f32) / rows",
        cost: "turns * (2^bits * d + d^2) steps for each of 32768 rows, and that of pq",
        options: [
            Option(
                "parts", .integer(1...maximumDimension), default: .null,
                "parts of a row; if not given, as many as have 4 columns"),
            Option("bits", .integer(Product.bitWidths), default: .integer(8), "bits of a code"),
            entryOption,
            Option(
                "matrix_dtype", .choice(ScaleType.allCases.map(\.rawValue)), default: .string("f16"),
                "type of the matrix"),
            Option("turns", .integer(0...1000), default: .integer(12), "fits of the rotation"),
            Option(
                "rounds", .integer(1...100_000), default: .integer(25), "most rounds of k-means, of the last codes"),
            Option(
                "seed", .integer(0...Int.max), default: .integer(0),
                "of the rows that are learned from, and the first rotation"),
            Option(
                "budget", .budget, default: .null,
                "most bytes of the result; chooses parts, and bits unless given"),
        ],
        takesWeights: false, passes: 10, countsSampledRows: true
    ) { input, options, progress in
        try OptimizedProduct(input, options).compress(progress)
    }
}

private struct OptimizedProduct {
    private let source: any Node
    private let parts: Int
    private let bits: Int
    private let seed: Int
    private let rounds: Int
    private let turns: Int
    private let entryType: ScaleType
    private let matrixType: ScaleType

    init(_ input: CompressionInput, _ options: OptionValues) throws {
        source = input.source
        let dimension = source.dimension
        (seed, rounds, turns) = (
            try options.integer("seed"), try options.integer("rounds"), try options.integer("turns")
        )
        matrixType = ScaleType(rawValue: try options.string("matrix_dtype")) ?? .float16
        let given = try options.optionalInteger("parts", atMost: dimension, method: "opq")
        guard let budget = try options.optionalInteger("budget") else {
            parts = given ?? (dimension + 3) / 4
            bits = try options.integer("bits")
            entryType = try ScaleChoice.withNumberType("entry_dtype", options, of: input, mixesColumns: true) { $0 }
            return
        }
        if given != nil { throw EmbedCompressError.invalidArgument("give opq either parts or a budget, not both") }
        let matrixBytes = Checked.product(dimension, dimension, matrixType.byteCount) ?? Int.max
        (parts, bits, entryType) = try ScaleChoice.withNumberType("entry_dtype", options, of: input, mixesColumns: true)
        { element in
            var choices = ProductChoices(rows: input.budgetRows, dimension: dimension, element: element)
            if options.isGiven("bits") { choices.widths = [try options.integer("bits")] }
            guard let choice = choices.best(within: budget - matrixBytes) else {
                throw EmbedCompressError.budget(
                    method: "opq", budgetBytes: budget,
                    floorBytes: Checked.sum(choices.leastBytes, matrixBytes) ?? Int.max)
            }
            return (choice.parts, choice.bits, element)
        }
    }

    func compress(_ progress: ProgressCounter) throws -> FinishedTable {
        let rows = source.rows
        let steps = ProgressSteps(
            progress, units: Checked.product(rows, 9) ?? Int.max, shares: [Double(turns) + 1, 1, 3, 1])
        let rotation = try OptimizedRotation(source, parts: parts, bits: bits, seed: seed)
            .learned(turns: turns, progress: steps.next(total: max(turns, 1)))
        let rotated = try rotatedRows(rotation, progress: steps.next(total: rows))
        let codes = try Method.pq.compress(
            Table(rotated),
            [
                "parts": .integer(parts), "bits": .integer(bits), "seed": .integer(seed), "rounds": .integer(rounds),
                "entry_dtype": .string(entryType.rawValue),
            ],
            progress: steps.next(total: Checked.product(rows, Method.pq.passes) ?? Int.max, reading: source))
        let (matrix, largest) = try fitted(to: codes, rotation, progress: steps.next(total: rows))
        try steps.finish()
        let node = try Project(
            Table(codes), matrix: try FloatMatrix(matrix).numbers, dimension: source.dimension, element: matrixType)
        return FinishedTable(node: node, mayOverflow: largest > safeMagnitude)
    }

    /// Rows narrow enough are rotated as they are read, wider ones once: blocks of those are too short for fast products.
    private func rotatedRows(_ rotation: DoubleMatrix, progress: ProgressCounter) throws -> any Node {
        let dimension = source.dimension
        guard dimension <= Self.widestReadRotated else {
            return try coordinates(
                of: source, mean: [Double](repeating: 0, count: dimension), rotation, progress: progress)
        }
        // Rotated rows don't say which value of theirs is not finite, nor that they were too large to be rotated.
        let largest = try RowRuns.forEach(of: source, progress: progress) { _, _, _ in }
        try checkNorms(of: source, largest: largest, progress: progress)
        return try Project(Table(source), matrix: try FloatMatrix(rotation).numbers, dimension: dimension)
    }

    private static let widestReadRotated = 1024

    /// The matrix from codes to rows of the least squared error, the rotation back where codes leave it open; and the
    /// largest magnitude of the rows.
    private func fitted(
        to codes: any Node, _ rotation: DoubleMatrix, progress: ProgressCounter
    ) throws -> (matrix: DoubleMatrix, largest: Float) {
        let dimension = source.dimension
        var gram = try DoubleMatrix(rows: dimension, columns: dimension)
        var cross = try DoubleMatrix(rows: dimension, columns: dimension)
        let back = try rotation.transposed()
        let product = try FloatMatrix(back, isNegative: true)
        let runRows = min(RowRuns.rows(dimension: dimension), max(source.rows, 1))
        let (decoded, residual) = (
            try RowBuffer(rows: runRows, dimension: dimension), try RowBuffer(rows: runRows, dimension: dimension)
        )
        let watch = progress.watch
        let largest = try RowRuns.forEach(of: source, progress: progress) { first, count, values in
            try RowReader.forEachBlock(of: try codes.sliced(first..<first + count), progress: watch) {
                start, count, rows in
                for index in 0..<count {
                    decoded.block().row(start + index).update(from: rows.row(index), count: dimension)
                    residual.block().row(start + index).update(from: values.row(start + index), count: dimension)
                }
            }
            try product.multiply(
                decoded.values(), count: count, start: .output, into: residual.block(), watch: watch)
            try gram.addGram(of: decoded.values().base, stride: dimension, count: count) { try watch.report() }
            try cross.addProduct(
                of: decoded.values().base, stride: dimension, with: residual.values().base, otherStride: dimension,
                count: count
            ) { try watch.report() }
        }
        let trace = (0..<dimension).reduce(0) { $0 + gram[$1, $1] }
        let weight = 1e-6 * (trace > 0 ? trace / Double(dimension) : 1)
        for index in 0..<dimension { gram[index, index] += weight }
        var matrix = try LinearAlgebra.solvePositiveDefinite(gram, cross) { try watch.report() }
        matrix.withUnsafeMutableNumbers { matrix in
            back.withUnsafeNumbers { back in
                for index in 0..<dimension * dimension { matrix[index] += back[index] }
            }
        }
        return (matrix, largest)
    }
}
