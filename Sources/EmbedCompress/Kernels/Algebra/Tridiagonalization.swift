/// A symmetric matrix made tridiagonal by reflections from its last row up: A = Q T Qᵀ.
///
/// Reflections are found in panels (Dongarra, Sorensen and Hammarling, 1989). Each needs a product with what is left of the
/// matrix, which reads the lower triangle once, at the speed of memory; after a panel, one matrix product brings the
/// matrix up to date. 4/3 size^3 steps, half of them in the matrix products.
struct Tridiagonalization {
    let size: Int
    private(set) var diagonal: [Double]
    /// `size` numbers, the last of which is 0.
    private(set) var offDiagonal: [Double]
    /// The tau of row i's reflection, whose vector is the first i numbers of row i.
    private var factors: [Double]
    private var matrix: DoubleMatrix
    /// What Q T Qᵀ is to be multiplied by.
    let scale: Double

    /// - Parameter matrix: Square; the lower triangle is read.
    init(_ matrix: DoubleMatrix, progress: (() throws -> Void)?) throws {
        size = matrix.rows
        diagonal = [Double](repeating: 0, count: size)
        offDiagonal = diagonal
        factors = diagonal
        var work = try matrix.copied()
        scale = try work.withUnsafeMutableNumbers {
            try LinearAlgebra.scale($0, matrix.rows, matrix.rows, isLower: true)
        }
        self.matrix = try DoubleMatrix(rows: 0, columns: 0)
        let panelRows = size < 512 ? 16 : 32
        let size = size
        // Vectors V, products W, vectors again: V and W as one matrix, and W and V as one.
        var panel = try DoubleMatrix(rows: 3 * panelRows, columns: size)
        var sums = try DoubleMatrix(rows: Self.mostParts, columns: size)
        try work.withUnsafeMutableNumbers { numbers in
            try panel.withUnsafeMutableNumbers { panel in
                try sums.withUnsafeMutableNumbers { sums in
                    var left = size
                    while left > 0 {
                        let count = min(panelRows, left)
                        for index in 0..<count {
                            try progress?()
                            reduce(
                                row: left - 1 - index, numbers, vectors: panel, products: panel + panelRows * size,
                                known: index, sums)
                        }
                        (panel + 2 * panelRows * size).update(from: panel, count: panelRows * size)
                        left -= count
                        // A panel of fewer rows is the last one: nothing is left then.
                        DoubleProduct(rows: left, columns: left, depth: 2 * panelRows, isLower: true).add(
                            DoubleOperand(panel, stride: size, isTransposed: true),
                            DoubleOperand(panel + panelRows * size, stride: size), to: numbers, stride: size, sign: -1)
                    }
                }
            }
        }
        self.matrix = work
    }

    /// Makes the reflection of a row, and the vector that the matrix is to be brought up to date with.
    ///
    /// - Parameters:
    ///   - known: Rows of the panel before this one.
    private mutating func reduce(
        row: Int, _ numbers: UnsafeMutablePointer<Double>, vectors: UnsafeMutablePointer<Double>,
        products: UnsafeMutablePointer<Double>, known: Int, _ sums: UnsafeMutablePointer<Double>
    ) {
        let x = numbers + row * size
        for index in 0..<known {
            let (v, w) = (vectors + index * size, products + index * size)
            addMultiple(-v[row], w, to: x, row + 1)
            addMultiple(-w[row], v, to: x, row + 1)
        }
        diagonal[row] = x[row]
        let (v, w) = (vectors + known * size, products + known * size)
        v.update(repeating: 0, count: size)
        w.update(repeating: 0, count: size)
        guard row > 0 else { return }
        let (beta, tau) = HouseholderReflection.make(x, count: row, pivot: row - 1)
        offDiagonal[row - 1] = beta
        factors[row] = tau
        if tau == 0 { return }
        v.update(from: x, count: row)
        Self.multiply(numbers, size: row, stride: size, by: v, into: w, sums)
        for index in 0..<known {
            let (before, image) = (vectors + index * size, products + index * size)
            let (alongImage, alongBefore) = (dot(image, v, row), dot(before, v, row))
            addMultiple(-alongImage, before, to: w, row)
            addMultiple(-alongBefore, image, to: w, row)
        }
        for index in 0..<row { w[index] *= tau }
        addMultiple(-tau / 2 * dot(w, v, row), v, to: w, row)
    }

    // MARK: - A symmetric matrix times a vector

    /// The rows are shared out in at most so many parts, each of which adds to sums of its own.
    private static let mostParts = 32
    /// Numbers of the triangle that make another part worth while.
    private static let partNumbers = 1 << 16

    /// - Parameter sums: Room for `mostParts` vectors of `stride` numbers.
    private static func multiply(
        _ numbers: UnsafePointer<Double>, size: Int, stride: Int, by vector: UnsafePointer<Double>,
        into output: UnsafeMutablePointer<Double>, _ sums: UnsafeMutablePointer<Double>
    ) {
        let parts = min(max(size * size / 2 / partNumbers, 1), mostParts)
        // Part p ends where the triangle above has (p + 1) / parts of all numbers.
        func end(_ part: Int) -> Int {
            part == parts ? size : Int((Double(part) / Double(parts)).squareRoot() * Double(size)) / 4 * 4
        }
        nonisolated(unsafe) let (numbers, vector, output, sums) = (numbers, vector, output, sums)
        Parallel.forEach(count: parts, grain: 1) { range in
            for part in range {
                let target = parts == 1 ? output : sums + part * stride
                target.update(repeating: 0, count: end(part + 1))
                addRows(end(part)..<end(part + 1), numbers, stride: stride, vector, to: target)
            }
        }
        guard parts > 1 else { return }
        output.update(from: sums + (parts - 1) * stride, count: size)
        for part in 0..<parts - 1 { addMultiple(1, sums + part * stride, to: output, end(part + 1)) }
    }

    /// What rows of the lower triangle, and the columns that mirror them, add to the product.
    private static func addRows(
        _ rows: Range<Int>, _ numbers: UnsafePointer<Double>, stride: Int, _ x: UnsafePointer<Double>,
        to y: UnsafeMutablePointer<Double>
    ) {
        var row = rows.lowerBound
        while row &+ 4 <= rows.upperBound {
            let a = numbers + row &* stride
            let (b, c, d) = (a + stride, a + 2 &* stride, a + 3 &* stride)
            let (x0, x1, x2, x3) = (x[row], x[row &+ 1], x[row &+ 2], x[row &+ 3])
            let (f0, f1) = (Doubles8(repeating: x0), Doubles8(repeating: x1))
            let (f2, f3) = (Doubles8(repeating: x2), Doubles8(repeating: x3))
            var (s0, s1, s2, s3) = (Doubles8(), Doubles8(), Doubles8(), Doubles8())
            var column = 0
            while column &+ 8 <= row {
                let factor = load8(x + column)
                var sum = load8(y + column)
                let (a0, a1) = (load8(a + column), load8(b + column))
                s0 = fused(a0, factor, s0)
                sum = fused(a0, f0, sum)
                s1 = fused(a1, factor, s1)
                sum = fused(a1, f1, sum)
                let (a2, a3) = (load8(c + column), load8(d + column))
                s2 = fused(a2, factor, s2)
                sum = fused(a2, f2, sum)
                s3 = fused(a3, factor, s3)
                sum = fused(a3, f3, sum)
                store8(sum, to: y + column)
                column &+= 8
            }
            var (t0, t1, t2, t3) = (total(s0), total(s1), total(s2), total(s3))
            while column < row {
                let factor = x[column]
                t0 += a[column] * factor
                t1 += b[column] * factor
                t2 += c[column] * factor
                t3 += d[column] * factor
                y[column] += a[column] * x0 + b[column] * x1 + c[column] * x2 + d[column] * x3
                column &+= 1
            }
            // The four rows' own columns.
            let (p, q, r) = (row &+ 1, row &+ 2, row &+ 3)
            y[row] += t0 + a[row] * x0 + b[row] * x1 + c[row] * x2 + d[row] * x3
            y[p] += t1 + b[row] * x0 + b[p] * x1 + c[p] * x2 + d[p] * x3
            y[q] += t2 + c[row] * x0 + c[p] * x1 + c[q] * x2 + d[q] * x3
            y[r] += t3 + d[row] * x0 + d[p] * x1 + d[q] * x2 + d[r] * x3
            row &+= 4
        }
        while row < rows.upperBound {
            let line = numbers + row &* stride
            y[row] += dot(line, x, row) + line[row] * x[row]
            addMultiple(x[row], line, to: y, row)
            row &+= 1
        }
    }

    // MARK: - Back

    /// Reflections that are applied at once.
    private static let blockRows = 64

    /// Turns eigenvectors of the tridiagonal matrix, `size` rows, into those of the whole one.
    func turnBack(_ vectors: UnsafeMutablePointer<Double>, progress: (() throws -> Void)?) throws {
        try matrix.withUnsafeNumbers { numbers in
            for first in stride(from: 1, to: size, by: Self.blockRows) {
                let rows = first..<min(first + Self.blockRows, size)
                let block = try ReflectionBlock(width: rows.upperBound - 1, factors: Array(factors[rows])) {
                    $1.update(from: numbers + (first + $0) * size, count: first + $0)
                }
                try block.apply(to: vectors, rows: size, stride: size, progress: progress)
            }
        }
    }
}
