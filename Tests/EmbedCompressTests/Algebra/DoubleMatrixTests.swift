import TestSupport
import XCTest

@testable import EmbedCompress

final class DoubleMatrixTests: XCTestCase {
    private let shapes = [
        (1, 1, 1), (2, 3, 5), (4, 12, 3), (5, 13, 1), (8, 24, 192), (17, 9, 193), (33, 31, 64), (97, 65, 127),
        (100, 2100, 3),
        (0, 3, 2), (3, 0, 2), (2, 3, 0),
    ]

    /// Whole numbers, so that sums are exact in any order.
    private func whole(_ rows: Int, _ columns: Int, seed: UInt64) -> ReferenceMatrix {
        var random = SeededGenerator(seed: seed)
        return ReferenceMatrix(rows: rows, columns: columns) { _, _ in Double(Int.random(in: -9...9, using: &random)) }
    }

    func testProducts() throws {
        for (rows, columns, depth) in shapes {
            let (left, right) = (whole(rows, depth, seed: 1), whole(depth, columns, seed: 2))
            let expected = left * right
            for isLeftTransposed in [false, true] {
                for isRightTransposed in [false, true] {
                    let product = try DoubleMatrix(isLeftTransposed ? left.transposed : left).multiplied(
                        by: try DoubleMatrix(isRightTransposed ? right.transposed : right),
                        transposingSelf: isLeftTransposed, transposingOther: isRightTransposed)
                    XCTAssertEqual(product.reference.numbers, expected.numbers, "\(rows) \(columns) \(depth)")
                }
            }
        }
    }

    func testLowerTriangleOfProduct() throws {
        for (size, depth) in [(1, 1), (13, 5), (97, 193), (200, 64)] {
            let left = whole(size, depth, seed: 3)
            var found = try DoubleMatrix(rows: size, columns: size)
            found.withUnsafeMutableNumbers { output in
                DoubleProduct(rows: size, columns: size, depth: depth, isLower: true).add(
                    DoubleOperand(left.numbers, stride: depth),
                    DoubleOperand(left.numbers, stride: depth, isTransposed: true), to: output, stride: size, sign: -1)
            }
            let expected = left * left.transposed
            for row in 0..<size {
                for column in 0...row { XCTAssertEqual(found[row, column], -expected[row, column]) }
            }
        }
    }

    func testSumsOverRows() throws {
        for (count, width, otherWidth) in [(1, 1, 1), (3, 5, 2), (200, 13, 31), (385, 65, 12), (0, 4, 3)] {
            let (rows, others) = (whole(count, width, seed: 4), whole(count, otherWidth, seed: 5))
            // Numbers between the rows are not read.
            func floats(_ matrix: ReferenceMatrix, stride: Int) -> [Float] {
                (0..<matrix.rows * stride).map {
                    $0 % stride < matrix.columns ? Float(matrix[$0 / stride, $0 % stride]) : .nan
                }
            }
            let (x, y) = (floats(rows, stride: width + 3), floats(others, stride: otherWidth + 1))
            let start = whole(width, otherWidth, seed: 6)
            var gram = try DoubleMatrix(rows: width, columns: width)
            var product = try DoubleMatrix(start)
            for _ in 0..<2 {
                try gram.addGram(of: x, stride: width + 3, count: count) {}
                try product.addProduct(of: x, stride: width + 3, with: y, otherStride: otherWidth + 1, count: count) {}
            }
            let (square, mixed) = (rows.transposed * rows, rows.transposed * others)
            XCTAssertEqual(gram.reference.numbers, square.numbers.map { 2 * $0 })
            XCTAssertEqual(product.reference.numbers, zip(start.numbers, mixed.numbers).map { $0 + 2 * $1 })
        }
    }

    func testProductsDoNotDependOnThreads() throws {
        var random = SeededGenerator(seed: 7)
        let (left, right) = (try DoubleMatrix(random.matrix(200, 400)), try DoubleMatrix(random.matrix(400, 90)))
        let one = try withThreads(1) { try left.multiplied(by: right) }
        let three = try withThreads(3) { try left.multiplied(by: right) }
        XCTAssertEqual(one.reference.numbers, three.reference.numbers)
    }

    func testTransposed() throws {
        for (rows, columns) in [(1, 1), (2, 70), (33, 32), (65, 3), (0, 3)] {
            let matrix = whole(rows, columns, seed: 8)
            XCTAssertEqual(try DoubleMatrix(matrix).transposed().reference.numbers, matrix.transposed.numbers)
        }
    }

    func testCopiesAreValues() throws {
        let first = try DoubleMatrix.identity(3)
        var second = first
        second[1, 2] = 5
        var third = second
        third.withUnsafeMutableNumbers { $0[0] = 7 }
        XCTAssertEqual(first.reference.numbers, [1, 0, 0, 0, 1, 0, 0, 0, 1])
        XCTAssertEqual(second.reference.numbers, [1, 0, 0, 0, 1, 5, 0, 0, 1])
        XCTAssertEqual(third.reference.numbers, [7, 0, 0, 0, 1, 5, 0, 0, 1])
    }

    func testSizesThatCannotBe() {
        for (rows, columns) in [(-1, 1), (1, -1), (Int.max, 2), (1 << 31, 1 << 31), (1 << 58, 1)] {
            XCTAssertThrowsError(try DoubleMatrix(rows: rows, columns: columns)) { error in
                guard case .outOfMemory? = error as? EmbedCompressError else { return XCTFail("\(error)") }
            }
        }
    }
}
