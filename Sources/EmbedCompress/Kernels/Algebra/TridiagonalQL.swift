/// Eigenvectors of a small symmetric tridiagonal matrix by implicit QL steps (Bowdler, Martin, Reinsch and Wilkinson,
/// 1968): two steps or so for each eigenvalue.
enum TridiagonalQL {
    private static let mostSteps = 60

    /// Turns `diagonal` into the eigenvalues, in no order, and applies every rotation to pairs of rows of `vectors`.
    ///
    /// - Parameters:
    ///   - diagonal: `size` numbers.
    ///   - offDiagonal: `size` numbers, of which the last is free; destroyed.
    ///   - vectors: `size` rows of `width` numbers; from the identity on, row i becomes the eigenvector of value i.
    static func solve(
        _ diagonal: UnsafeMutablePointer<Double>, _ offDiagonal: UnsafeMutablePointer<Double>, size: Int,
        vectors: UnsafeMutablePointer<Double>, width: Int, stride: Int
    ) throws {
        if size > 0 { offDiagonal[size - 1] = 0 }
        for index in 0..<size {
            var steps = 0
            while true {
                var end = index
                while end < size - 1, !isNegligible(offDiagonal[end], diagonal[end], diagonal[end + 1]) { end += 1 }
                if end == index { break }
                steps += 1
                guard steps <= mostSteps else {
                    throw EmbedCompressError.invalidArgument("the eigenvalues of the matrix do not converge")
                }
                step(diagonal, offDiagonal, index, end, vectors, width, stride)
            }
        }
    }

    private static func isNegligible(_ value: Double, _ before: Double, _ after: Double) -> Bool {
        let scale = abs(before) + abs(after)
        return abs(value) <= Double.ulpOfOne / 2 * scale || abs(value) < Double.leastNormalMagnitude
    }

    /// The length of (x, y), where neither square overflows or vanishes. The C library's function is of glibc 2.35, which
    /// many systems do not have yet.
    private static func length(_ x: Double, _ y: Double) -> Double {
        let (large, small) = (max(abs(x), abs(y)), min(abs(x), abs(y)))
        guard large > 0 else { return large }
        let ratio = small / large
        return large * (1 + ratio * ratio).squareRoot()
    }

    private static func step(
        _ d: UnsafeMutablePointer<Double>, _ e: UnsafeMutablePointer<Double>, _ start: Int, _ end: Int,
        _ vectors: UnsafeMutablePointer<Double>, _ width: Int, _ stride: Int
    ) {
        var g = (d[start + 1] - d[start]) / (2 * e[start])
        let r = length(g, 1)
        g = d[end] - d[start] + e[start] / (g + (g < 0 ? -r : r))
        var (sine, cosine, shift) = (1.0, 1.0, 0.0)
        var index = end - 1
        while index >= start {
            let f = sine * e[index]
            let b = cosine * e[index]
            let hypotenuse = length(f, g)
            e[index + 1] = hypotenuse
            if hypotenuse == 0 {
                d[index + 1] -= shift
                e[end] = 0
                return
            }
            sine = f / hypotenuse
            cosine = g / hypotenuse
            g = d[index + 1] - shift
            let t = (d[index] - g) * sine + 2 * cosine * b
            shift = sine * t
            d[index + 1] = g + shift
            g = cosine * t - b
            let (low, high) = (vectors + index * stride, vectors + (index + 1) * stride)
            for column in 0..<width {
                let (x, y) = (low[column], high[column])
                high[column] = sine * x + cosine * y
                low[column] = cosine * x - sine * y
            }
            index -= 1
        }
        d[start] -= shift
        e[start] = g
        e[end] = 0
    }
}
