/// A matrix of f64 numbers and its decompositions, as plain as can be.
public struct ReferenceMatrix {
    public let rows: Int
    public let columns: Int
    /// Row after row.
    public var numbers: [Double]

    public init(rows: Int, columns: Int, _ number: (Int, Int) -> Double) {
        (self.rows, self.columns) = (rows, columns)
        numbers = (0..<rows * columns).map { number($0 / columns, $0 % columns) }
    }

    public subscript(row: Int, column: Int) -> Double {
        get { numbers[row * columns + column] }
        set { numbers[row * columns + column] = newValue }
    }

    public var transposed: ReferenceMatrix { ReferenceMatrix(rows: columns, columns: rows) { self[$1, $0] } }

    /// The largest magnitude.
    public var largest: Double { numbers.reduce(0) { max($0, abs($1)) } }

    public static func - (left: ReferenceMatrix, right: ReferenceMatrix) -> ReferenceMatrix {
        ReferenceMatrix(rows: left.rows, columns: left.columns) { left[$0, $1] - right[$0, $1] }
    }

    public static func * (left: ReferenceMatrix, right: ReferenceMatrix) -> ReferenceMatrix {
        var result = ReferenceMatrix(rows: left.rows, columns: right.columns) { _, _ in 0 }
        for row in 0..<left.rows {
            for step in 0..<left.columns {
                let factor = left[row, step]
                for column in 0..<right.columns { result[row, column] += factor * right[step, column] }
            }
        }
        return result
    }

    /// How far the columns are from being orthonormal: the largest magnitude of VᵀV - 1.
    public var orthogonalityError: Double {
        (transposed * self - ReferenceMatrix(rows: columns, columns: columns) { $0 == $1 ? 1 : 0 }).largest
    }

    /// The eigenvalues of a symmetric matrix, rising, by cyclic Jacobi rotations.
    public func jacobiEigenvalues() -> [Double] {
        var a = self
        let negligible = 1e-17 * largest
        for _ in 0..<100 {
            var isDiagonal = true
            for p in 0..<rows {
                for q in p + 1..<max(rows, p + 1) where abs(a[p, q]) > negligible {
                    isDiagonal = false
                    let theta = (a[q, q] - a[p, p]) / (2 * a[p, q])
                    let t = (theta < 0 ? -1 : 1) / (abs(theta) + (theta * theta + 1).squareRoot())
                    let c = 1 / (t * t + 1).squareRoot()
                    a.rotate(p, q, cosine: c, sine: t * c)
                }
            }
            if isDiagonal { break }
        }
        return (0..<rows).map { a[$0, $0] }.sorted()
    }

    private mutating func rotate(_ p: Int, _ q: Int, cosine c: Double, sine s: Double) {
        for k in 0..<rows {
            let (x, y) = (self[k, p], self[k, q])
            self[k, p] = c * x - s * y
            self[k, q] = s * x + c * y
        }
        for k in 0..<rows {
            let (x, y) = (self[p, k], self[q, k])
            self[p, k] = c * x - s * y
            self[q, k] = s * x + c * y
        }
    }
}

extension SeededGenerator {
    /// Independent normal numbers.
    public mutating func matrix(_ rows: Int, _ columns: Int) -> ReferenceMatrix {
        ReferenceMatrix(rows: rows, columns: columns) { _, _ in Double(normal()) }
    }

    public mutating func symmetricMatrix(_ size: Int) -> ReferenceMatrix {
        let half = matrix(size, size)
        return ReferenceMatrix(rows: size, columns: size) { half[max($0, $1), min($0, $1)] }
    }
}
