import TestSupport
import XCTest

@testable import EmbedCompress

/// OPQ and MagPQ.
final class ProductMethodTests: XCTestCase {
    /// Rows whose variances differ much between directions that are no columns.
    private func correlated(rows: Int, dimension: Int) throws -> Table {
        var generator = SeededGenerator(seed: 11)
        let normals = generator.normals(rows * dimension)
        let turn = try LinearAlgebra.randomOrthogonal(dimension, seed: 5)
        var values = [Float](repeating: 0, count: rows * dimension)
        for row in 0..<rows {
            for column in 0..<dimension {
                var sum = 1.0
                for inner in 0..<dimension {
                    let scale = 4 * Double(inner + 1).squareRoot() / Double(inner + 1) / Double(inner + 1)
                    sum += Double(normals[row * dimension + inner]) * scale * turn[inner, column]
                }
                values[row * dimension + column] = Float(sum)
            }
        }
        return try denseTable(values, dimension: dimension)
    }

    func testALearnedRotationLowersTheError() throws {
        let source = try correlated(rows: 700, dimension: 12)
        let options: [String: OptionValue] = ["parts": 3, "bits": 4, "rounds": 6]
        let plain = try source.compressed("pq", options)
        let turned = try source.compressed("opq", options.merging(["turns": 4]) { $1 })
        XCTAssertLessThan(try relativeError(turned, source), 0.93 * (try relativeError(plain, source)))
        XCTAssertEqual(turned.storedBytes, plain.storedBytes + 2 * 12 * 12)
        let wide = try source.compressed(
            "opq", options.merging(["turns": 4, "matrix_dtype": "f32", "entry_dtype": "f32"]) { $1 })
        XCTAssertEqual(wide.storedBytes, plain.storedBytes + 4 * 12 * 12 + 2 * 12 * 16)
        XCTAssertEqual(try relativeError(wide, source), try relativeError(turned, source), accuracy: 0.01)
    }

    func testAProductThatNeedsNoRotationLosesNothing() throws {
        var generator = SeededGenerator(seed: 2)
        let books = generator.normals(4 * 8 * 3)
        let picks = generator.normals(600 * 4).map { Int(abs($0) * 1000) % 8 }
        let values = (0..<600 * 12).map { index -> Float in
            let (row, column) = (index / 12, index % 12)
            return books[(column / 3 * 8 + picks[row * 4 + column / 3]) * 3 + column % 3]
        }
        let source = try denseTable(values, dimension: 12)
        let table = try source.compressed("opq", ["parts": 4, "bits": 3, "turns": 2])
        XCTAssertLessThan(try relativeError(table, source), 2e-3)
    }

    func testNormsShareOutBits() throws {
        let source = try denseTable(unequalRows(900, 8), dimension: 8)
        let table = try source.compressed("magpq", ["groups": 3, "parts": 2, "bits": 5, "rounds": 4])
        let groups = table.expression.children.compactMap { $0.expression as? Product }
        XCTAssertEqual(groups.map(\.layout.bits), [5, 4, 3])
        // Each group is what its rows make alone.
        let norms = try squaredNorms(of: source.root, progress: ProgressCounter(total: 0, callback: nil))
        let order = try fallingOrder(norms)
        XCTAssertEqual(order, norms.indices.sorted { (-norms[$0], $0) < (-norms[$1], $1) })
        let largest = order.prefix(groups[0].rows).sorted()
        let alone = try source.remapped(through: largest).compressed("pq", ["parts": 2, "bits": 5, "rounds": 4])
        XCTAssertEqual(try table.lookup(largest), try alone.decode())
    }

    func testABudgetIsSpentWhereNormsAreLarge() throws {
        let source = try denseTable(unequalRows(1500, 8), dimension: 8)
        for budget in [4_000] {
            let table = try source.compressed("magpq", ["budget": .integer(budget), "rounds": 2])
            let plain = try source.compressed("pq", ["budget": .integer(budget), "rounds": 2])
            XCTAssertLessThan(try relativeError(table, source), try relativeError(plain, source))
            let bits = table.expression.children.compactMap { $0.expression as? Product }
                .map { $0.parts * $0.layout.bits }
            XCTAssertEqual(bits, bits.sorted(by: >))
        }
        let same = try denseTable([Float](repeating: 1, count: 500 * 6), dimension: 6)
        XCTAssertTrue(try same.compressed("magpq", ["budget": 6000]).expression is Product)
    }

    func testChoicesAreThoseOfPQ() throws {
        for (rows, dimension) in [(900, 16), (300, 20)] {
            let source = try denseTable([Float](repeating: 1, count: rows * dimension), dimension: dimension)
            for budget in [rows * dimension / 4, rows * dimension, 2 * rows * dimension] {
                let choices = ProductChoices(rows: rows, dimension: dimension, element: .float16)
                guard let choice = choices.best(within: budget) else {
                    XCTAssertThrowsError(try source.compressed("pq", ["budget": .integer(budget)]))
                    continue
                }
                let codes = try source.compressed("pq", ["budget": .integer(budget), "rounds": 1])
                let product = try XCTUnwrap(codes.expression as? Product)
                XCTAssertEqual([product.parts, product.layout.bits], [choice.parts, choice.bits])
                XCTAssertEqual(codes.storedBytes, choice.storedBytes)
            }
        }
    }
}
