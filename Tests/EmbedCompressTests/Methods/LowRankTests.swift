import TestSupport
import XCTest

@testable import EmbedCompress

final class LowRankTests: XCTestCase {
    /// Rows of so many independent directions.
    private func product(rows: Int, rank: Int, dimension: Int) throws -> Table {
        var generator = SeededGenerator(seed: 7)
        let (left, right) = (generator.normals(rows * rank), generator.normals(rank * dimension))
        let values = (0..<rows * dimension).map { index -> Float in
            (0..<rank).reduce(0) {
                $0 + left[index / dimension * rank + $1] * right[$1 * dimension + index % dimension]
            }
        }
        return try denseTable(values, dimension: dimension)
    }

    func testTablesOfLowRankAreRecovered() throws {
        let source = try product(rows: 300, rank: 3, dimension: 24)
        XCTAssertLessThan(try relativeError(try source.compressed("svd", ["rank": 3]), source), 1e-6)
        XCTAssertLessThan(try relativeError(try source.compressed("svd", ["budget": 6000]), source), 1e-6)
        XCTAssertGreaterThan(try relativeError(try source.compressed("svd", ["rank": 2]), source), 0.1)
        XCTAssertLessThan(
            try relativeError(try source.compressed("magsvd", ["rank": 3, "groups": 3]), source), 1e-6)
    }

    func testBytesAreThoseOfTheFormula() throws {
        let source = try denseTable(unequalRows(200, 24), dimension: 24)
        for (center, element) in [(true, 4), (false, 4), (true, 2), (false, 2)] {
            let table = try source.compressed(
                "svd", ["rank": 5, "center": .bool(center), "element": .string(element == 4 ? "f32" : "f16")])
            XCTAssertEqual(table.storedBytes, 4 * 5 * 200 + element * 5 * 24 + (center ? 4 * 24 : 0))
        }
    }

    func testTheFactorIsCompressedByAnyMethod() throws {
        let source = try denseTable(unequalRows(500, 24), dimension: 24)
        let plain = try relativeError(try source.compressed("svd", ["rank": 10]), source)
        for inner in ["f16", "bf16", "asym", "least_squares", "kmeans_cls", "eden"] {
            var options: [String: OptionValue] = ["rank": 10, "inner": .string(inner)]
            if inner != "f16", inner != "bf16" { options["bits"] = 8 }
            let table = try source.compressed("svd", options)
            XCTAssertLessThan(try relativeError(table, source), plain + 0.02, inner)
            // A rotation of the factor is part of the matrix.
            XCTAssertFalse((table.expression as? Project)?.inner is Rotate, inner)
        }
    }

    func testMixingAndFittingLowerTheError() throws {
        let source = try denseTable(unequalRows(300, 24), dimension: 24)
        let basis = try PrincipalBasis(
            of: source.root, center: false, progress: ProgressCounter(total: 0, callback: nil))
        let known = try coordinates(
            of: source.root, mean: basis.mean, basis.directions, progress: ProgressCounter(total: 0, callback: nil))
        let codes = try Table(known).compressed("least_squares", ["bits": 2])
        // The coordinates are those of an orthonormal basis: errors are those of rows.
        let unmixed = try relativeError(codes, Table(known))
        let options: [String: OptionValue] = [
            "rank": 24, "inner": "least_squares", "bits": 2, "element": "f32", "center": false,
        ]
        XCTAssertLessThan(try relativeError(try source.compressed("svd", options), source), 0.97 * unmixed)
    }

    func testLargerNormsHaveHigherRanks() throws {
        let source = try denseTable(unequalRows(2000, 24), dimension: 24)
        let table = try source.compressed("magsvd", ["budget": 60_000, "groups": 3])
        let groups = table.expression.children.compactMap { $0.expression as? Project }
        XCTAssertEqual(groups.count, 3)
        XCTAssertEqual(groups.map(\.rows), groups.map(\.rows).sorted())
        XCTAssertEqual(groups.map(\.inner.dimension), groups.map(\.inner.dimension).sorted(by: >))
    }

    // MARK: Tensor trains

    func testTrainsOfFullRankAreExact() throws {
        for (rows, dimension) in [(64, 8), (60, 30), (100, 7), (1, 1), (2, 3), (500, 12)] {
            let source = try denseTable(unequalRows(rows, dimension), dimension: dimension)
            let table = try source.compressed("tt", ["rank": 10_000])
            XCTAssertLessThan(try relativeError(table, source), 1e-5, "\(rows) x \(dimension)")
        }
    }

    func testATrainOfATrainIsItself() throws {
        var generator = SeededGenerator(seed: 3)
        let train = try TensorTrain(
            generator.normals(4 * 2 * 3), generator.normals(4 * 3 * 2 * 3), generator.normals(4 * 3 * 2), rows: 64,
            slices: (4, 4, 4), columns: (2, 2, 2), ranks: (3, 3))
        let source = try denseTable(try Table(train).decode(), dimension: 8)
        XCTAssertLessThan(try relativeError(try source.compressed("tt", ["rank": 3]), source), 1e-5)
        XCTAssertLessThan(
            try relativeError(try source.compressed("tt", ["rank": 3, "element": "f16"]), source), 5e-3)
        XCTAssertGreaterThan(try relativeError(try source.compressed("tt", ["rank": 1]), source), 0.1)
    }

    func testFactorsOfRowsAndColumns() {
        let factors = TrainFactors(rows: 1000, dimension: 12)
        XCTAssertEqual([factors.rows.0, factors.rows.1, factors.rows.2], [10, 10, 10])
        XCTAssertEqual([factors.columns.0, factors.columns.1, factors.columns.2], [3, 2, 2])
        let uneven = TrainFactors(rows: 1001, dimension: 7)
        XCTAssertEqual([uneven.rows.0, uneven.rows.1, uneven.rows.2], [11, 10, 10])
        XCTAssertEqual([uneven.columns.0, uneven.columns.1, uneven.columns.2], [7, 1, 1])
    }
}
