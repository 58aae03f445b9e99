extension LinearAlgebra {
    /// Rows whose reflections are applied to those after them at once.
    private static let panelRows = 32

    /// Makes rows orthonormal by reflections: B = L Q, where Q takes the place of B and has as many rows, whatever B is.
    ///
    /// - Parameter matrix: B, its largest number near 1, with no more rows than columns.
    /// - Returns: L, lower triangular.
    static func orthonormalizeRows(
        _ matrix: inout DoubleMatrix, _ progress: (() throws -> Void)? = nil
    ) throws -> DoubleMatrix {
        let (count, width) = (matrix.rows, matrix.columns)
        precondition(count <= width, "more rows than can be orthonormal")
        var lower = try DoubleMatrix(rows: count, columns: count)
        var orthonormal = try DoubleMatrix(rows: count, columns: width)
        var factors = [Double](repeating: 0, count: count)
        let panels = stride(from: 0, to: count, by: panelRows).map { $0..<min($0 + panelRows, count) }

        /// The reflections of a panel, of numbers from column `panel.lowerBound` on.
        func block(_ panel: Range<Int>, _ numbers: UnsafePointer<Double>, isReversed: Bool) throws -> ReflectionBlock {
            let first = panel.lowerBound
            return try ReflectionBlock(width: width - first, factors: Array(factors[panel]), isReversed: isReversed) {
                ($1 + $0).update(from: numbers + (first + $0) * width + first + $0, count: width - first - $0)
            }
        }

        try matrix.withUnsafeMutableNumbers { numbers in
            for panel in panels {
                for row in panel {
                    try progress?()
                    let v = numbers + row * width + row
                    for column in 0..<row { lower[row, column] = numbers[row * width + column] }
                    let (beta, tau) = HouseholderReflection.make(v, count: width - row, pivot: 0)
                    lower[row, row] = beta
                    factors[row] = tau
                    for other in row + 1..<max(panel.upperBound, row + 1) {
                        let x = numbers + other * width + row
                        addMultiple(-tau * dot(x, v, width - row), v, to: x, width - row)
                    }
                }
                let below = panel.upperBound
                try block(panel, numbers, isReversed: false).apply(
                    to: numbers + below * width + panel.lowerBound, rows: count - below, stride: width,
                    progress: progress)
            }
            try orthonormal.withUnsafeMutableNumbers { target in
                for row in 0..<count { target[row * width + row] = 1 }
                for panel in panels.reversed() {
                    let first = panel.lowerBound
                    try block(panel, numbers, isReversed: true).apply(
                        to: target + first * width + first, rows: count - first, stride: width, progress: progress)
                }
            }
        }
        matrix = orthonormal
        return lower
    }
}
