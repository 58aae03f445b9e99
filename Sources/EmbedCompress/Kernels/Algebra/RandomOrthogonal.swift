#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

extension LinearAlgebra {
    /// A matrix that is uniform among all orthogonal ones: normal numbers made orthonormal row by row, where the triangular
    /// factor has a positive diagonal (Mezzadri, 2007).
    static func randomOrthogonal(
        _ size: Int, seed: UInt64, progress: (() throws -> Void)? = nil
    ) throws -> DoubleMatrix {
        var random = SeededRandom(seed: Int(truncatingIfNeeded: seed))
        var matrix = try DoubleMatrix.unwritten(rows: size, columns: size)
        matrix.withUnsafeMutableNumbers { numbers in
            for index in stride(from: 0, to: size * size, by: 2) {
                let (first, second) = normalPair(&random)
                numbers[index] = first
                if index + 1 < size * size { numbers[index + 1] = second }
            }
        }
        let lower = try orthonormalizeRows(&matrix, progress)
        matrix.withUnsafeMutableNumbers { numbers in
            for row in 0..<size where lower[row, row] < 0 {
                for column in 0..<size { numbers[row * size + column] = -numbers[row * size + column] }
            }
        }
        return matrix
    }

    /// Two independent normal numbers (Marsaglia's polar method).
    private static func normalPair(_ random: inout SeededRandom) -> (Double, Double) {
        while true {
            let x = uniform(random.next())
            let y = uniform(random.next())
            let square = x * x + y * y
            if square > 0, square < 1 {
                let factor = (-2 * log(square) / square).squareRoot()
                return (x * factor, y * factor)
            }
        }
    }

    /// From -1 to 1.
    private static func uniform(_ bits: UInt64) -> Double { Double(bits >> 11) * 0x1p-52 - 1 }
}
