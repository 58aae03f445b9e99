/// The directions in which a table's rows vary most: the eigenvectors of their Gram matrix, in f64.
struct PrincipalBasis {
    /// What is subtracted from rows; zeros if nothing is.
    let mean: [Double]
    /// d x d: columns are orthonormal, the most important one first.
    let directions: DoubleMatrix
    /// The sum over rows of the square of each coordinate, falling.
    let energies: [Double]
    /// The largest magnitude of a value.
    let largest: Float

    /// Reads every row once.
    ///
    /// - Parameter center: Whether the mean of the rows is subtracted.
    init(of source: any Node, center: Bool, progress: ProgressCounter) throws {
        let dimension = source.dimension
        // The Gram matrix, and what its eigenvectors take: asked for before hours of work.
        try Allocation.require(Checked.product(dimension, dimension, 6, MemoryLayout<Double>.size))
        var gram = try DoubleMatrix(rows: dimension, columns: dimension)
        var sum = [Double](repeating: 0, count: dimension)
        let watch = progress.watch
        largest = try RowRuns.forEach(of: source, progress: progress) { _, count, values in
            try gram.addGram(of: values.base, stride: values.stride, count: count) { try watch.report() }
            guard center else { return }
            for index in 0..<count {
                let row = values.row(index)
                sum.withUnsafeMutableBufferPointer { for column in 0..<dimension { $0[column] += Double(row[column]) } }
            }
        }
        try checkNorms(of: source, largest: largest, progress: progress)
        let rows = Double(max(source.rows, 1))
        let mean = sum.map { $0 / rows }
        gram.withUnsafeMutableNumbers { numbers in
            for row in 0..<dimension {
                for column in 0..<dimension { numbers[row * dimension + column] -= sum[row] * mean[column] }
            }
        }
        let (values, vectors) = try LinearAlgebra.symmetricEigenvectors(gram) { try watch.report() }
        var directions = try vectors.columns((0..<dimension).reversed())
        directions.withUnsafeMutableNumbers { Self.orient($0, size: dimension) }
        self.mean = mean
        self.directions = directions
        energies = values.reversed().map { max($0, 0) }
    }

    /// An eigenvector's sign is arbitrary: its largest component is made positive.
    private static func orient(_ numbers: UnsafeMutablePointer<Double>, size: Int) {
        var largest = [Double](repeating: 0, count: size)
        for row in 0..<size {
            for column in 0..<size {
                let value = numbers[row * size + column]
                if abs(value) > abs(largest[column]) { largest[column] = value }
            }
        }
        for row in 0..<size {
            for column in 0..<size where largest[column] < 0 { numbers[row * size + column].negate() }
        }
    }
}

/// (rows - mean) * directions, in f32. Reads every row once.
///
/// - Parameter directions: d x r.
func coordinates(
    of source: any Node, mean: [Double], _ directions: DoubleMatrix, progress: ProgressCounter
) throws -> Dense {
    let rank = directions.columns
    let matrix = try FloatMatrix(directions)
    var shift = [Double](repeating: 0, count: rank)
    directions.withUnsafeNumbers { numbers in
        for (row, value) in mean.enumerated() {
            for column in 0..<rank { shift[column] -= value * numbers[row * rank + column] }
        }
    }
    let start = FloatMatrix.Start.row(shift.map { Float($0) })
    let result = try RowBuffer(rows: source.rows, dimension: rank)
    try RowRuns.forEach(of: source, progress: progress) { first, count, values in
        try matrix.multiply(
            values, count: count, start: start, into: result.block(from: first), watch: progress.watch)
    }
    return try result.table()
}

/// The matrix and the bias that make the least squared error of `inner * matrix + bias` against a table. Reads every row
/// of both once.
///
/// - Parameters:
///   - source: Rows of d columns.
///   - inner: As many rows, of r columns.
///   - center: Whether there is a bias.
///   - largest: The largest magnitude of a value of the table.
/// - Returns: r x d numbers, and d.
func fitted(
    _ source: any Node, to inner: any Node, center: Bool, largest: Float, progress: ProgressCounter
) throws -> (matrix: DoubleMatrix, bias: [Double]?) {
    let (rank, dimension) = (inner.dimension, source.dimension)
    // A column of ones stands for the bias, or of another power of two where ones would be all that counts, or nothing.
    let one =
        largest == 0 || (0x1p-6...0x1p6).contains(largest)
        ? 1 : Float(sign: .plus, exponent: largest.exponent, significand: 1)
    let width = rank + (center ? 1 : 0)
    var gram = try DoubleMatrix(rows: width, columns: width)
    var mixed = try DoubleMatrix(rows: width, columns: dimension)
    let known = try RowBuffer(
        rows: min(RowRuns.rows(dimension: dimension), max(source.rows, 1)), dimension: (width + 15) / 16 * 16)
    let watch = progress.watch
    try RowRuns.forEach(of: source, progress: progress) { first, count, values in
        try RowReader.forEachBlock(of: try inner.sliced(first..<first + count), progress: watch) {
            start, count, rows in
            for index in 0..<count {
                let row = known.block().row(start + index)
                row.update(from: rows.row(index), count: rank)
                if center { row[rank] = one }
            }
        }
        let decoded = known.values()
        try gram.addGram(of: decoded.base, stride: decoded.stride, count: count) { try watch.report() }
        try mixed.addProduct(
            of: decoded.base, stride: decoded.stride, with: values.base, otherStride: values.stride, count: count
        ) { try watch.report() }
    }
    let solution = try LinearAlgebra.leastSquares(gram, mixed, cutoff: 1e-12) { try watch.report() }
    let bias = center ? (0..<dimension).map { solution[rank, $0] * Double(one) } : nil
    return (try solution.rows(Array(0..<rank)), bias)
}
