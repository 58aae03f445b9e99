import TestSupport
import XCTest

@testable import EmbedCompress

final class LinearSystemsTests: XCTestCase {
    func testPositiveDefinite() throws {
        var random = SeededGenerator(seed: 1)
        for size in algebraSizes {
            let rows = random.matrix(2 * size + 3, size)
            let gram = rows.transposed * rows
            let half = ReferenceMatrix(rows: size, columns: size) { $0 < $1 ? .nan : gram[$0, $1] }
            for columns in [1, 3, 300] {
                let right = random.matrix(size, columns)
                let found = try LinearAlgebra.solvePositiveDefinite(try DoubleMatrix(half), try DoubleMatrix(right))
                XCTAssertLessThan((gram * found.reference - right).largest, 1e-11, "\(size)")
            }
        }
        let none = try DoubleMatrix(rows: 0, columns: 0)
        XCTAssertEqual(try LinearAlgebra.solvePositiveDefinite(none, none).rows, 0)
    }

    func testNotPositiveDefinite() throws {
        for place in [0, 2, 70] {
            var matrix = try DoubleMatrix.identity(100)
            matrix[place, place] = -1
            let right = try DoubleMatrix(rows: 100, columns: 1)
            assertInvalid("pivot \(place)") { _ = try LinearAlgebra.solvePositiveDefinite(matrix, right) }
            matrix[place, place] = .nan
            assertInvalid("pivot \(place)") { _ = try LinearAlgebra.solvePositiveDefinite(matrix, right) }
        }
    }

    func testLeastSquares() throws {
        var random = SeededGenerator(seed: 2)
        for (size, rank) in [(1, 1), (3, 3), (17, 5), (65, 65), (127, 40)] {
            let rows = random.matrix(rank, size)
            let gram = rows.transposed * rows
            // What the matrix can give, so that the least squares are zero.
            let right = gram * random.matrix(size, 4)
            let found = try LinearAlgebra.leastSquares(try DoubleMatrix(gram), try DoubleMatrix(right), cutoff: 1e-12)
            XCTAssertLessThan((gram * found.reference - right).largest, 1e-10 * right.largest)
            // Of all solutions the shortest: a combination of the rows, which those say back.
            let square = rows * rows.transposed
            let weights = try LinearAlgebra.solvePositiveDefinite(
                try DoubleMatrix(square), try DoubleMatrix(rows * found.reference))
            XCTAssertLessThan((rows.transposed * weights.reference - found.reference).largest, 1e-9)
        }
        let zero = try DoubleMatrix(rows: 5, columns: 5)
        let found = try LinearAlgebra.leastSquares(zero, try DoubleMatrix.identity(5), cutoff: 1e-12)
        XCTAssertEqual(found.reference.largest, 0)
    }

    func testThreads() throws {
        var random = SeededGenerator(seed: 3)
        let rows = random.matrix(300, 200)
        let gram = try DoubleMatrix(rows.transposed * rows)
        let right = try DoubleMatrix(random.matrix(200, 300))
        let one = try withThreads(1) { try LinearAlgebra.solvePositiveDefinite(gram, right) }
        let three = try withThreads(3) { try LinearAlgebra.solvePositiveDefinite(gram, right) }
        XCTAssertEqual(one.reference.numbers, three.reference.numbers)
    }

    func testRandomOrthogonal() throws {
        for size in algebraSizes {
            XCTAssertLessThan(try LinearAlgebra.randomOrthogonal(size, seed: 1).reference.orthogonalityError, 1e-13)
        }
        let first = try LinearAlgebra.randomOrthogonal(20, seed: 5).reference.numbers
        XCTAssertEqual(first, try LinearAlgebra.randomOrthogonal(20, seed: 5).reference.numbers)
        XCTAssertNotEqual(first, try LinearAlgebra.randomOrthogonal(20, seed: 6).reference.numbers)
    }

    /// The first number of a uniform matrix is as often positive as not, which it would not be if a triangle's signs were
    /// left as reflections give them; its square is 1 / size on average.
    func testRandomOrthogonalIsUniform() throws {
        var (positive, squares) = (0.0, 0.0)
        let count = 2000
        for seed in 0..<count {
            let matrix = try LinearAlgebra.randomOrthogonal(4, seed: UInt64(seed))
            positive += matrix[0, 0] > 0 ? 1 : 0
            squares += matrix[0, 0] * matrix[0, 0]
        }
        XCTAssertEqual(positive / Double(count), 0.5, accuracy: 0.05)
        XCTAssertEqual(squares / Double(count), 0.25, accuracy: 0.025)
    }
}
