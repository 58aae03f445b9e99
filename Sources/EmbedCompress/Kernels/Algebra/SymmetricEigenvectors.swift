/// Decompositions of matrices that fit in memory, in f64, on all cores. Results don't depend on the number of threads.
package enum LinearAlgebra {
    /// ``symmetricEigenvectors(_:progress:)`` on a caller's memory, none of which is written to if this throws.
    ///
    /// - Parameters:
    ///   - matrix: `size` rows of `size` numbers, of which the lower triangle is read.
    ///   - values: Room for `size` numbers.
    ///   - vectors: Room for `size` rows of `size` numbers.
    ///   - progress: Told that nothing of 1 is done, over and over, and 1 at the end.
    package static func symmetricEigenvectors(
        _ matrix: UnsafePointer<Double>, size: Int, values: UnsafeMutablePointer<Double>,
        vectors: UnsafeMutablePointer<Double>, progress: ProgressCallback?
    ) throws {
        let counter = ProgressCounter(total: 1, callback: progress)
        let found = try symmetricEigenvectors(try DoubleMatrix(copying: matrix, rows: size, columns: size)) {
            try counter.report()
        }
        counter.advance(by: 1)
        try counter.report()
        found.vectors.withUnsafeNumbers { vectors.update(from: $0, count: size * size) }
        values.update(from: found.values, count: size)
    }
}

extension LinearAlgebra {
    /// The eigenvectors of a symmetric matrix, of which the lower triangle is read: by reduction to a tridiagonal matrix,
    /// and divide and conquer. Memory for four matrices of its size, besides.
    ///
    /// - Returns: The eigenvalues, rising, and the eigenvectors in the columns of an orthogonal matrix.
    /// - Throws: `invalidArgument` if the matrix is not square or has a number that is not finite.
    static func symmetricEigenvectors(
        _ matrix: DoubleMatrix, progress: (() throws -> Void)? = nil
    ) throws -> (values: [Double], vectors: DoubleMatrix) {
        let (values, vectors, order) = try symmetricEigenvectorRows(matrix, progress)
        return (values, try vectors.transposed(rows: order))
    }

    /// The eigenvalues, rising, and rows of which row `order[i]` is the eigenvector of value i.
    static func symmetricEigenvectorRows(
        _ matrix: DoubleMatrix, _ progress: (() throws -> Void)?
    ) throws -> (values: [Double], vectors: DoubleMatrix, order: [Int]) {
        guard matrix.rows == matrix.columns else {
            throw EmbedCompressError.invalidArgument(
                "a matrix of \(matrix.rows) x \(matrix.columns) has no eigenvectors: it must be square")
        }
        let reduced = try Tridiagonalization(matrix, progress: progress)
        var (values, vectors) = try TridiagonalEigenvectors.solve(
            reduced.diagonal, reduced.offDiagonal, progress: progress)
        try vectors.withUnsafeMutableNumbers { try reduced.turnBack($0, progress: progress) }
        let order = values.indices.sorted { (values[$0], $0) < (values[$1], $1) }
        values = order.map { values[$0] * reduced.scale }
        return (values, vectors, order)
    }

    /// A power of two by which the matrix has been divided, so that its largest magnitude is from 1 to 2.
    static func scale(
        _ numbers: UnsafeMutablePointer<Double>, _ rows: Int, _ columns: Int, isLower: Bool = false
    ) throws -> Double {
        var largest = 0.0
        for row in 0..<rows {
            for column in 0..<(isLower ? row + 1 : columns) {
                let magnitude = abs(numbers[row * columns + column])
                guard magnitude.isFinite else {
                    throw EmbedCompressError.invalidArgument(
                        "the matrix has a number that is not finite, in row \(row), column \(column)")
                }
                largest = max(largest, magnitude)
            }
        }
        // The inverse of the smallest numbers' exponents is not finite.
        let exponent = max(Int(largest == 0 ? 0 : largest.exponent), -1022)
        if exponent == 0 { return 1 }
        multiply(numbers, by: Double(sign: .plus, exponent: -exponent, significand: 1), rows * columns)
        return Double(sign: .plus, exponent: exponent, significand: 1)
    }
}
