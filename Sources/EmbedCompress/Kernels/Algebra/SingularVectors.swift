extension LinearAlgebra {
    /// The thin singular value decomposition of m x n numbers: A = U diag(s) Vᵀ, with r = min(m, n) values, falling.
    ///
    /// U (m x r) and V (n x r) are orthonormal to rounding whatever A is. They come from the eigenvectors of the smaller
    /// Gram matrix, an orthogonal factorisation, and the same again for what is below a thousandth of the largest value:
    /// values are accurate to about 1e-12 of the largest one, and so is the product.
    ///
    /// - Throws: `invalidArgument` if the matrix has a number that is not finite.
    static func singularVectors(
        _ matrix: DoubleMatrix, progress: (() throws -> Void)? = nil
    ) throws -> (left: DoubleMatrix, values: [Double], right: DoubleMatrix) {
        // Rows of `tall` are A's columns or rows, whichever are fewer.
        let isWide = matrix.rows < matrix.columns
        var few = isWide ? try matrix.copied() : try matrix.transposed()
        let (rows, columns) = (few.rows, few.columns)
        let scale = try few.withUnsafeMutableNumbers { try Self.scale($0, rows, columns) }
        let (long, values, short) = try singularRows(few, progress)
        let scaledValues = values.map { $0 * scale }
        let (longColumns, shortColumns) = (try long.transposed(), try short.transposed())
        return isWide ? (shortColumns, scaledValues, longColumns) : (longColumns, scaledValues, shortColumns)
    }

    /// Of r x m numbers, r <= m: B = Vᵀ diag(s) U, with U (r x m) and V (r x r) orthonormal rows.
    private static func singularRows(
        _ matrix: DoubleMatrix, _ progress: (() throws -> Void)?
    ) throws -> (long: DoubleMatrix, values: [Double], short: DoubleMatrix) {
        let count = matrix.rows
        let gram = try matrix.multiplied(by: matrix, transposingOther: true, progress: progress)
        // Rows, the largest value first.
        let (_, eigenvectors, order) = try symmetricEigenvectorRows(gram, progress)
        var short = try eigenvectors.rows(order.reversed())
        // Rows that are nearly orthogonal, their lengths falling.
        var long = try short.multiplied(by: matrix, progress: progress)
        let lower = try orthonormalizeRows(&long, progress)
        var values = (0..<count).map { abs(lower[$0, $0]) }
        var known = 1
        while known < count, values[known] > values[0] * 1e-3 { known += 1 }
        // Rounding of the Gram matrix has spoilt the order and the angles of what is small beside its largest number.
        if count > 0, known < count, values[0] > 0 {
            var rest = try DoubleMatrix(rows: count - known, columns: count - known)
            var largest = 0.0
            for row in known..<count {
                for column in known...row {
                    rest[row - known, column - known] = lower[row, column]
                    largest = max(largest, abs(lower[row, column]))
                }
            }
            if largest > values[0] * Double.ulpOfOne * Double(count) {
                let restSize = count - known
                let unit = try rest.withUnsafeMutableNumbers { try Self.scale($0, restSize, restSize) }
                let inner = try singularRows(rest, progress)
                values.replaceSubrange(known..., with: inner.values.map { $0 * unit })
                try turn(&long, from: known, by: inner.long)
                try turn(&short, from: known, by: inner.short)
            }
        }
        for row in 0..<count where lower[row, row] < 0 && row < known {
            for column in 0..<count { short[row, column] = -short[row, column] }
        }
        let falling = (0..<count).sorted { (values[$0], $1) > (values[$1], $0) }
        return (try long.rows(falling), falling.map { values[$0] }, try short.rows(falling))
    }

    /// Rows from `first` on become `matrix` times them.
    private static func turn(_ rows: inout DoubleMatrix, from first: Int, by matrix: DoubleMatrix) throws {
        let turned = try matrix.multiplied(by: try rows.rows(Array(first..<rows.rows)))
        let (width, count) = (rows.columns, turned.rows)
        rows.withUnsafeMutableNumbers { target in
            turned.withUnsafeNumbers { (target + first * width).update(from: $0, count: count * width) }
        }
    }
}

extension DoubleMatrix {
    /// These rows, in this order.
    func rows(_ chosen: [Int]) throws -> DoubleMatrix {
        var result = try DoubleMatrix.unwritten(rows: chosen.count, columns: columns)
        result.withUnsafeMutableNumbers { target in
            withUnsafeNumbers { source in
                for (place, row) in chosen.enumerated() {
                    (target + place * columns).update(from: source + row * columns, count: columns)
                }
            }
        }
        return result
    }
}
