import TestSupport
import XCTest

@testable import EmbedCompress

final class PruneTests: XCTestCase {
    private func pruned(_ values: [Float], _ kept: Int, weights: [Float]? = nil) -> [Float] {
        let scores = values.indices.map { values[$0].magnitude * (weights?[$0] ?? 1).squareRoot() }
        let order = values.indices.sorted { scores[$0] != scores[$1] ? scores[$0] > scores[$1] : $0 < $1 }
        var result = [Float](repeating: 0, count: values.count)
        for place in order.prefix(kept) { result[place] = values[place] }
        return result
    }

    func testTheLargestStayWhateverTheThreads() throws {
        var generator = SeededGenerator(seed: 1)
        // Two digits: many ties.
        let values = generator.normals(2000 * 7).map { ($0 * 10).rounded() / 10 }
        let table = try denseTable(values, dimension: 7)
        try assertSameForThreadCounts {
            let found = try table.compressed("prune", ["density": 0.25, "value_dtype": "f32"]).decode()
            XCTAssertEqual(found, pruned(values, 3500))
            return found
        }
        let weights = generator.normals(values.count).map(\.magnitude)
        XCTAssertEqual(
            try table.compressed(
                "prune", ["density": 0.1, "value_dtype": "f32"], weights: denseTable(weights, dimension: 7)
            ).decode(), pruned(values, 1400, weights: weights))
    }

    func testBudgets() throws {
        let table = try randomDense(rows: 500, dimension: 20, seed: 3)
        for budget in [5, 6, 100, 1000, 3000, 5000, 20_000] {
            guard budget >= 7 else {
                assertThrows(.budget(method: "prune", budgetBytes: budget, floorBytes: 7)) {
                    _ = try table.compressed("prune", ["budget": .integer(budget)])
                }
                continue
            }
            let bytes = try table.compressed("prune", ["budget": .integer(budget)]).storedBytes
            XCTAssertLessThanOrEqual(bytes, budget)
            XCTAssertGreaterThan(bytes, budget - 7)
        }
        let all = try table.compressed("prune", ["budget": 1_000_000])
        XCTAssertEqual(all.storedBytes, 500 * 20 * 3 + 501 * 4)
    }

    func testZerosAndNoRows() throws {
        let table = try denseTable([0, 0, 1, 0, 0, -0.0], dimension: 2)
        XCTAssertEqual(try table.compressed("prune", ["density": 1]).storedBytes, 7)
        XCTAssertEqual(try table.compressed("prune", ["density": 0]).decode(), [0, 0, 0, 0, 0, 0])
        XCTAssertEqual(try denseTable([], dimension: 2).compressed("prune", ["budget": 100]).rows, 0)
    }
}
