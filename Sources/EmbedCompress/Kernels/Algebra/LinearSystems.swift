extension LinearAlgebra {
    /// The solution of the least norm of gram * x = right, in the least squares.
    ///
    /// - Parameters:
    ///   - gram: Symmetric, positive semi-definite but for rounding; the lower triangle is read.
    ///   - right: As many rows.
    ///   - cutoff: Eigenvalues whose magnitude is at most so much of the largest one's count as zero.
    static func leastSquares(
        _ gram: DoubleMatrix, _ right: DoubleMatrix, cutoff: Double, progress: (() throws -> Void)? = nil
    ) throws -> DoubleMatrix {
        precondition(gram.rows == right.rows, "sizes do not match")
        let (values, vectors) = try symmetricEigenvectors(gram, progress: progress)
        var coordinates = try vectors.multiplied(by: right, transposingSelf: true, progress: progress)
        let largest = values.reduce(0) { max($0, abs($1)) }
        let columns = right.columns
        coordinates.withUnsafeMutableNumbers { numbers in
            for (row, value) in values.enumerated() {
                let factor = abs(value) > cutoff * largest ? 1 / value : 0
                multiply(numbers + row * columns, by: factor, columns)
            }
        }
        return try vectors.multiplied(by: coordinates, progress: progress)
    }

    /// The solution of gram * x = right, by Cholesky's factorisation.
    ///
    /// - Parameters:
    ///   - gram: Symmetric and positive definite; the lower triangle is read.
    ///   - right: As many rows.
    /// - Throws: `invalidArgument` if the matrix is not positive definite.
    static func solvePositiveDefinite(
        _ gram: DoubleMatrix, _ right: DoubleMatrix, progress: (() throws -> Void)? = nil
    ) throws -> DoubleMatrix {
        precondition(gram.rows == gram.columns && gram.rows == right.rows, "sizes do not match")
        var (lower, result) = (try gram.copied(), try right.copied())
        let (size, columns) = (gram.rows, right.columns)
        try lower.withUnsafeMutableNumbers { lower in
            let cholesky = Cholesky(lower, size: size)
            try cholesky.factorize(progress)
            try result.withUnsafeMutableNumbers { try cholesky.solve($0, columns: columns, progress) }
        }
        return result
    }
}

/// A matrix that becomes the lower triangular L of A = L Lᵀ, block of rows by block.
private struct Cholesky {
    private let numbers: UnsafeMutablePointer<Double>
    private let size: Int
    private let blocks: [Range<Int>]

    private static let blockRows = 64
    /// Columns of a right side that one thread takes.
    private static let stripColumns = 256

    init(_ numbers: UnsafeMutablePointer<Double>, size: Int) {
        (self.numbers, self.size) = (numbers, size)
        blocks = stride(from: 0, to: size, by: Self.blockRows).map { $0..<min($0 + Self.blockRows, size) }
    }

    private func operand(row: Int, column: Int, isTransposed: Bool = false) -> DoubleOperand {
        DoubleOperand(UnsafePointer(numbers + row * size + column), stride: size, isTransposed: isTransposed)
    }

    func factorize(_ progress: (() throws -> Void)?) throws {
        for block in blocks {
            try progress?()
            let (first, end) = (block.lowerBound, block.upperBound)
            for row in block {
                solveRow(row, first: first, before: row)
                let line = numbers + row * size
                let pivot = line[row] - dot(line + first, line + first, row - first)
                guard pivot > 0 else {
                    throw EmbedCompressError.invalidArgument(
                        "the matrix is not positive definite: pivot \(row) is \(pivot)")
                }
                line[row] = pivot.squareRoot()
            }
            let below = size - end
            nonisolated(unsafe) let this = self
            Parallel.forEach(count: below, grain: 16) { range in
                for row in range { this.solveRow(end + row, first: first, before: end) }
            }
            DoubleProduct(rows: below, columns: below, depth: block.count, isLower: true).add(
                operand(row: end, column: first), operand(row: end, column: first, isTransposed: true),
                to: numbers + end * size + end, stride: size, sign: -1)
        }
    }

    /// Numbers `first ..< before` of a row of L, from those of what is left of A.
    private func solveRow(_ row: Int, first: Int, before: Int) {
        let line = numbers + row * size
        for column in first..<before {
            let other = numbers + column * size
            line[column] = (line[column] - dot(line + first, other + first, column - first)) / other[column]
        }
    }

    /// Replaces `size` rows of so many columns by the solution for them.
    func solve(_ right: UnsafeMutablePointer<Double>, columns: Int, _ progress: (() throws -> Void)?) throws {
        for block in blocks {
            try progress?()
            solveBlock(block, right, columns, isTransposed: false)
            let end = block.upperBound
            DoubleProduct(rows: size - end, columns: columns, depth: block.count).add(
                operand(row: end, column: block.lowerBound),
                DoubleOperand(right + block.lowerBound * columns, stride: columns), to: right + end * columns,
                stride: columns, sign: -1)
        }
        for block in blocks.reversed() {
            try progress?()
            let end = block.upperBound
            DoubleProduct(rows: block.count, columns: columns, depth: size - end).add(
                operand(row: end, column: block.lowerBound, isTransposed: true),
                DoubleOperand(right + end * columns, stride: columns), to: right + block.lowerBound * columns,
                stride: columns, sign: -1)
            solveBlock(block, right, columns, isTransposed: true)
        }
    }

    /// Solves with the triangle on the diagonal, or its transpose.
    private func solveBlock(
        _ block: Range<Int>, _ right: UnsafeMutablePointer<Double>, _ columns: Int, isTransposed: Bool
    ) {
        nonisolated(unsafe) let (numbers, right) = (numbers, right)
        Parallel.forEach(count: columns, grain: Self.stripColumns) { strip in
            func row(_ index: Int) -> UnsafeMutablePointer<Double> { right + index * columns + strip.lowerBound }
            for index in 0..<block.count {
                let (place, others) =
                    isTransposed
                    ? (block.upperBound - 1 - index, block.upperBound - index..<block.upperBound)
                    : (block.lowerBound + index, block.lowerBound..<block.lowerBound + index)
                for other in others {
                    let factor = isTransposed ? numbers[other * size + place] : numbers[place * size + other]
                    addMultiple(-factor, row(other), to: row(place), strip.count)
                }
                multiply(row(place), by: 1 / numbers[place * size + place], strip.count)
            }
        }
    }
}
