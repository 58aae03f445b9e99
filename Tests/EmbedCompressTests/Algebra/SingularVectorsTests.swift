import TestSupport
import XCTest

@testable import EmbedCompress

final class SingularVectorsTests: XCTestCase {
    private let shapes = [(1, 1), (1, 5), (5, 1), (3, 5), (5, 3), (17, 17), (33, 65), (65, 33), (127, 127), (300, 40)]

    /// Checks a decomposition by its definition; returns the values over the largest number of the matrix.
    @discardableResult
    private func check(
        _ matrix: ReferenceMatrix, file: StaticString = #filePath, line: UInt = #line
    ) throws -> [Double] {
        let (left, values, right) = try LinearAlgebra.singularVectors(try DoubleMatrix(matrix))
        let (u, v) = (left.reference, right.reference)
        XCTAssertEqual(values.count, min(matrix.rows, matrix.columns), file: file, line: line)
        XCTAssertEqual(values, values.sorted(by: >), file: file, line: line)
        XCTAssertGreaterThanOrEqual(values.last ?? 0, 0, file: file, line: line)
        XCTAssertLessThan(u.orthogonalityError, 1e-13, file: file, line: line)
        XCTAssertLessThan(v.orthogonalityError, 1e-13, file: file, line: line)
        let scale = matrix.largest == 0 ? 1 : matrix.largest
        let scaled = ReferenceMatrix(rows: u.rows, columns: u.columns) { u[$0, $1] * (values[$1] / scale) }
        let unit = ReferenceMatrix(rows: matrix.rows, columns: matrix.columns) { matrix[$0, $1] / scale }
        let limit = 1e-12 * max((values.first ?? 0) / scale, 1)
        XCTAssertLessThan((scaled * v.transposed - unit).largest, limit, file: file, line: line)
        return values.map { $0 / scale }
    }

    func testShapes() throws {
        var random = SeededGenerator(seed: 1)
        for (rows, columns) in shapes {
            let matrix = random.matrix(rows, columns)
            let values = try check(matrix)
            let gram = rows < columns ? matrix * matrix.transposed : matrix.transposed * matrix
            for (value, square) in zip(values, gram.jacobiEigenvalues().reversed()) {
                XCTAssertEqual(value * value * matrix.largest * matrix.largest, square, accuracy: 1e-11 * gram.largest)
            }
        }
        for (rows, columns) in [(0, 3), (3, 0), (0, 0)] {
            let found = try LinearAlgebra.singularVectors(try DoubleMatrix(rows: rows, columns: columns))
            XCTAssertEqual(found.values, [])
            XCTAssertEqual([found.left.rows, found.left.columns, found.right.rows], [rows, 0, columns])
        }
    }

    func testFewDirections() throws {
        var random = SeededGenerator(seed: 2)
        for (rows, columns, rank) in [(17, 17, 1), (65, 33, 3), (127, 127, 60), (5, 40, 2)] {
            let values = try check(random.matrix(rows, rank) * random.matrix(rank, columns))
            XCTAssertGreaterThan(values[rank - 1], 1e-3)
            for value in values[rank...] { XCTAssertLessThan(value, 1e-12 * values[0]) }
        }
        let zeros = try check(ReferenceMatrix(rows: 9, columns: 5) { _, _ in 0 })
        XCTAssertEqual(zeros, [0, 0, 0, 0, 0])
    }

    /// Values are accurate beside the largest one, whatever the spread.
    func testSpreadValues() throws {
        for (size, decades) in [(33, 4.0), (64, 10), (64, 20), (127, 300)] {
            let expected = (0..<size).map { pow(10, -decades * Double($0) / Double(size - 1)) }
            let left = try LinearAlgebra.randomOrthogonal(size, seed: 3).reference
            let right = try LinearAlgebra.randomOrthogonal(size, seed: 4).reference
            let scaled = ReferenceMatrix(rows: size, columns: size) { left[$0, $1] * expected[$1] }
            let matrix = scaled * right.transposed
            for (value, other) in zip(try check(matrix), expected) {
                XCTAssertEqual(value * matrix.largest, other, accuracy: 1e-12)
            }
        }
    }

    func testBadScales() throws {
        var random = SeededGenerator(seed: 5)
        let plain = random.matrix(40, 33)
        for decades in [0.2, 2, 9] {
            let rows = ReferenceMatrix(rows: 40, columns: 33) { plain[$0, $1] * pow(10, -decades * Double($0)) }
            let columns = ReferenceMatrix(rows: 40, columns: 33) {
                plain[$0, $1] * pow(10, decades * (Double($1) - 32))
            }
            try check(rows)
            try check(columns)
        }
        for scale in [1e-300, 1e-160, 1e160, 1e300] {
            try check(ReferenceMatrix(rows: 40, columns: 33) { plain[$0, $1] * scale })
        }
    }

    func testOrthonormalRows() throws {
        var random = SeededGenerator(seed: 6)
        for (rows, columns) in [(1, 1), (3, 7), (31, 32), (65, 65), (100, 130)] {
            let matrix = random.matrix(rows, columns)
            var found = try DoubleMatrix(matrix)
            let lower = try LinearAlgebra.orthonormalizeRows(&found).reference
            XCTAssertLessThan(found.reference.transposed.orthogonalityError, 1e-14)
            XCTAssertLessThan((lower * found.reference - matrix).largest, 1e-13)
            for row in 0..<rows { for column in row + 1..<max(rows, row + 1) { XCTAssertEqual(lower[row, column], 0) } }
        }
    }

    func testThreadsAndStopping() throws {
        var random = SeededGenerator(seed: 7)
        let matrix = try DoubleMatrix(random.matrix(150, 120))
        let one = try withThreads(1) { try LinearAlgebra.singularVectors(matrix) }
        let three = try withThreads(3) { try LinearAlgebra.singularVectors(matrix) }
        XCTAssertEqual(one.values, three.values)
        XCTAssertEqual(one.left.reference.numbers, three.left.reference.numbers)
        XCTAssertEqual(one.right.reference.numbers, three.right.reference.numbers)
        XCTAssertThrowsError(try LinearAlgebra.singularVectors(matrix, progress: StoppingProgress(after: 100).ask)) {
            XCTAssertEqual($0 as? EmbedCompressError, .cancelled)
        }
    }

    func testNotFinite() throws {
        var matrix = try DoubleMatrix(rows: 4, columns: 6)
        matrix[2, 5] = .nan
        assertInvalid("not finite") { _ = try LinearAlgebra.singularVectors(matrix) }
    }
}
