import TestSupport
import XCTest

@testable import EmbedCompress

final class SymmetricEigenvectorsTests: XCTestCase {
    /// Checks the decomposition of a matrix by its own definition: errors of rounding in the sizes of its numbers only.
    @discardableResult
    private func check(
        _ matrix: ReferenceMatrix, scale: Double? = nil, file: StaticString = #filePath, line: UInt = #line
    ) throws -> [Double] {
        let (values, vectors) = try LinearAlgebra.symmetricEigenvectors(try DoubleMatrix(matrix))
        let size = Double(matrix.rows)
        let found = vectors.reference
        XCTAssertEqual(values, values.sorted(), file: file, line: line)
        XCTAssertLessThan(found.orthogonalityError, 4e-16 * (size + 8), file: file, line: line)
        let scaled = ReferenceMatrix(rows: matrix.rows, columns: matrix.rows) { values[$1] * found[$0, $1] }
        let limit = 1e-15 * (size + 8) * (scale ?? matrix.largest)
        XCTAssertLessThanOrEqual((matrix * found - scaled).largest, limit, file: file, line: line)
        return values
    }

    /// V diag(values) Vᵀ of a random orthogonal V.
    private func matrix(eigenvalues values: [Double], seed: UInt64) throws -> ReferenceMatrix {
        let vectors = try LinearAlgebra.randomOrthogonal(values.count, seed: seed).reference
        let scaled = ReferenceMatrix(rows: values.count, columns: values.count) { vectors[$0, $1] * values[$1] }
        let product = scaled * vectors.transposed
        return ReferenceMatrix(rows: values.count, columns: values.count) { product[max($0, $1), min($0, $1)] }
    }

    func testSizes() throws {
        var random = SeededGenerator(seed: 1)
        for size in algebraSizes {
            let matrix = random.symmetricMatrix(size)
            let values = try check(matrix)
            let expected = matrix.jacobiEigenvalues()
            let limit = 1e-14 * Double(size + 8)
            for (value, other) in zip(values, expected) { XCTAssertEqual(value, other, accuracy: limit, "\(size)") }
        }
        let (values, vectors) = try LinearAlgebra.symmetricEigenvectors(try DoubleMatrix(rows: 0, columns: 0))
        XCTAssertEqual(values, [])
        XCTAssertEqual(vectors.rows, 0)
    }

    func testUpperTriangleIsNotRead() throws {
        var random = SeededGenerator(seed: 2)
        let matrix = random.symmetricMatrix(70)
        let half = ReferenceMatrix(rows: 70, columns: 70) { $0 < $1 ? .nan : matrix[$0, $1] }
        let whole = try LinearAlgebra.symmetricEigenvectors(try DoubleMatrix(matrix))
        let found = try LinearAlgebra.symmetricEigenvectors(try DoubleMatrix(half))
        XCTAssertEqual(found.values, whole.values)
        XCTAssertEqual(found.vectors.reference.numbers, whole.vectors.reference.numbers)
    }

    func testClustersOfEqualValues() throws {
        for size in [9, 33, 127] {
            for kinds in [1, 2, 5] {
                let expected = (0..<size).map { Double($0 % kinds) - 1 }.sorted()
                let values = try check(try matrix(eigenvalues: expected, seed: 3), scale: 4)
                for (value, other) in zip(values, expected) { XCTAssertEqual(value, other, accuracy: 1e-12) }
            }
            let nearly = (0..<size).map { 1 + Double($0) * 1e-15 }
            try check(try matrix(eigenvalues: nearly, seed: 4), scale: 1)
            try check(ReferenceMatrix(rows: size, columns: size) { $0 == $1 ? 1 : 0 })
        }
    }

    /// Eigenvalues 2 - 2 cos(k pi / (n + 1)); and Wilkinson's matrix, whose largest ones come in pairs that agree in all
    /// digits.
    func testTridiagonalMatrices() throws {
        for size in [33, 127, 300] {
            let values = try check(
                ReferenceMatrix(rows: size, columns: size) { $0 == $1 ? 2 : abs($0 - $1) == 1 ? -1 : 0 })
            for (index, value) in values.enumerated() {
                let expected = 2 - 2 * cos(Double(index + 1) * Double.pi / Double(size + 1))
                XCTAssertEqual(value, expected, accuracy: 1e-13)
            }
            let half = size / 2
            try check(
                ReferenceMatrix(rows: size, columns: size) {
                    $0 == $1 ? Double(abs($0 - half)) : abs($0 - $1) == 1 ? 1 : 0
                })
        }
    }

    func testFewDirections() throws {
        var random = SeededGenerator(seed: 5)
        for (size, rank) in [(17, 1), (65, 3), (127, 60)] {
            let rows = random.matrix(rank, size)
            let values = try check(rows.transposed * rows)
            XCTAssertLessThan(values[size - rank - 1], 1e-12)
            XCTAssertGreaterThan(values[size - rank], 1e-3)
        }
        XCTAssertEqual(
            try check(ReferenceMatrix(rows: 40, columns: 40) { _, _ in 0 }), [Double](repeating: 0, count: 40))
    }

    func testScales() throws {
        var random = SeededGenerator(seed: 6)
        let plain = random.symmetricMatrix(65)
        let expected = plain.jacobiEigenvalues()
        for exponent in [-1000, -500, 500, 1000] {
            let scale = Double(sign: .plus, exponent: exponent, significand: 1)
            let scaled = ReferenceMatrix(rows: 65, columns: 65) { plain[$0, $1] * scale }
            for (value, other) in zip(try check(scaled), expected) {
                XCTAssertEqual(value / scale, other, accuracy: 1e-12)
            }
        }
        // The smallest number that there is.
        try check(ReferenceMatrix(rows: 3, columns: 3) { _, _ in Double.leastNonzeroMagnitude }, scale: 1e-300)
        // From 1 to 1e-280, from either end.
        let graded = ReferenceMatrix(rows: 65, columns: 65) { plain[$0, $1] * pow(10, -Double($0 + $1) * 2.2) }
        try check(graded)
        try check(ReferenceMatrix(rows: 65, columns: 65) { graded[64 - $0, 64 - $1] })
    }

    func testThreadsChangeNothing() throws {
        // So large that a product with a vector is shared out.
        var random = SeededGenerator(seed: 7)
        let matrix = try DoubleMatrix(random.symmetricMatrix(520))
        let one = try withThreads(1) { try LinearAlgebra.symmetricEigenvectors(matrix) }
        let three = try withThreads(3) { try LinearAlgebra.symmetricEigenvectors(matrix) }
        XCTAssertEqual(one.values, three.values)
        XCTAssertEqual(one.vectors.reference.numbers, three.vectors.reference.numbers)
    }

    func testStops() throws {
        var random = SeededGenerator(seed: 8)
        let matrix = try DoubleMatrix(random.symmetricMatrix(100))
        let whole = StoppingProgress(after: .max)
        _ = try LinearAlgebra.symmetricEigenvectors(matrix, progress: whole.ask)
        // Every row of the reduction, and more after it.
        XCTAssertGreaterThan(whole.calls, 100)
        for most in [0, 50, whole.calls - 1] {
            let stopping = StoppingProgress(after: most)
            XCTAssertThrowsError(try LinearAlgebra.symmetricEigenvectors(matrix, progress: stopping.ask)) {
                XCTAssertEqual($0 as? EmbedCompressError, .cancelled)
            }
            XCTAssertEqual(stopping.calls, most + 1)
        }
    }

    func testWhatIsRefused() throws {
        assertInvalid("2 x 3") {
            _ = try LinearAlgebra.symmetricEigenvectors(try DoubleMatrix(rows: 2, columns: 3))
        }
        for value in [Double.nan, .infinity, -.infinity] {
            var matrix = try DoubleMatrix.identity(5)
            matrix[3, 2] = value
            assertInvalid("row 3, column 2") { _ = try LinearAlgebra.symmetricEigenvectors(matrix) }
        }
    }
}
