/// Reflections (1 - tau v vᵀ) of vectors in f64, one by one and as products of many.
enum HouseholderReflection {
    /// Sums of squares below this have lost digits, or all of them. What is so small beside a matrix whose numbers are
    /// about 1 counts as zero.
    private static let leastSquare = 1e-280

    /// Turns x into v, 1 at the pivot, so that (1 - tau v vᵀ) x is beta at the pivot and zero elsewhere.
    static func make(_ x: UnsafeMutablePointer<Double>, count: Int, pivot: Int) -> (beta: Double, tau: Double) {
        let alpha = x[pivot]
        x[pivot] = 0
        let rest = dot(x, x, count)
        guard rest > leastSquare else {
            x.update(repeating: 0, count: count)
            x[pivot] = 1
            return (alpha, 0)
        }
        let length = (alpha * alpha + rest).squareRoot()
        let beta = alpha > 0 ? -length : length
        multiply(x, by: 1 / (alpha - beta), count)
        x[pivot] = 1
        return (beta, (beta - alpha) / beta)
    }
}

/// Many reflections as one product, 1 - V T Vᵀ with T lower triangular where the first is applied first (Schreiber and Van
/// Loan, 1989).
struct ReflectionBlock {
    let count: Int
    let width: Int
    /// Vᵀ, `count` rows of `width` numbers, and Tᵀ Vᵀ, or T Vᵀ for the other order.
    private var vectors: DoubleMatrix
    private var turned: DoubleMatrix

    /// - Parameters:
    ///   - fill: Writes vector i, `width` numbers, to zeros.
    ///   - factors: The reflections' tau.
    ///   - isReversed: Whether the last reflection is to be applied first.
    init(width: Int, factors: [Double], isReversed: Bool = false, fill: (Int, UnsafeMutablePointer<Double>) -> Void)
        throws
    {
        (count, self.width) = (factors.count, width)
        vectors = try DoubleMatrix(rows: factors.count, columns: width)
        let count = count
        vectors.withUnsafeMutableNumbers { numbers in
            for index in 0..<count { fill(index, numbers + index * width) }
        }
        let gram = try vectors.multiplied(by: vectors, transposingOther: true)
        var triangle = try DoubleMatrix(rows: count, columns: count)
        for (row, tau) in factors.enumerated() {
            // Row of T: -tau (vᵀ V) T of those before, then tau.
            for column in 0..<row {
                var sum = 0.0
                for index in column..<row { sum += gram[row, index] * triangle[index, column] }
                triangle[row, column] = -tau * sum
            }
            triangle[row, row] = tau
        }
        turned = try triangle.multiplied(by: vectors, transposingSelf: !isReversed)
    }

    /// Applies the reflections to each of `rows` rows.
    func apply(
        to target: UnsafeMutablePointer<Double>, rows: Int, stride: Int, progress: (() throws -> Void)? = nil
    ) throws {
        var along = try DoubleMatrix(rows: rows, columns: count)
        let operand = DoubleOperand(UnsafePointer(target), stride: stride)
        try vectors.withUnsafeNumbers { vectors in
            try along.withUnsafeMutableNumbers { along in
                try DoubleProduct(rows: rows, columns: count, depth: width).add(
                    operand, DoubleOperand(vectors, stride: width, isTransposed: true), to: along, stride: count
                ) { try progress?() }
            }
        }
        try along.withUnsafeNumbers { along in
            try turned.withUnsafeNumbers { turned in
                try DoubleProduct(rows: rows, columns: width, depth: count).add(
                    DoubleOperand(along, stride: count), DoubleOperand(turned, stride: width), to: target,
                    stride: stride, sign: -1
                ) { try progress?() }
            }
        }
    }
}
