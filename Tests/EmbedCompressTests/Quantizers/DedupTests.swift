import TestSupport
import XCTest

@testable import EmbedCompress

final class DedupTests: XCTestCase {
    /// Rows in blocks that repeat a few, with noise.
    private func repeating(
        rows: Int, dimension: Int, blockRows: Int, blockColumns: Int, kinds: Int, noise: Float, seed: UInt64
    ) throws -> (table: Table, values: [Float]) {
        var generator = SeededGenerator(seed: seed)
        let kindValues = generator.normals(kinds * blockRows * blockColumns)
        var values = [Float](repeating: 0, count: rows * dimension)
        for row in 0..<rows {
            for column in 0..<dimension {
                let kind = (row / blockRows * 7 + column / blockColumns * 3) % kinds
                let place = (kind * blockRows + row % blockRows) * blockColumns + column % blockColumns
                values[row * dimension + column] = kindValues[place] + noise * generator.normal()
            }
        }
        return (try denseTable(values, dimension: dimension), values)
    }

    func testEqualBlocksAreKeptOnce() throws {
        for (rows, dimension, blockRows, blockColumns) in [
            (60, 12, 1, 4), (60, 10, 1, 4), (61, 12, 5, 4), (64, 7, 8, 7), (64, 7, 8, 100), (33, 5, 2, 1),
        ] {
            let (table, values) = try repeating(
                rows: rows, dimension: dimension, blockRows: blockRows, blockColumns: min(blockColumns, dimension),
                kinds: 4, noise: 0, seed: 1)
            let small = try table.compressed(
                "dedup",
                [
                    "block_rows": .integer(blockRows), "block_columns": .integer(blockColumns), "tolerance": 0,
                    "similarity": 1,
                ])
            XCTAssertEqual(try small.decode(), values)
            // Four kinds of blocks, and a map of 2 bits, or of 3 with the rows after the last whole block.
            let (whole, rest) = (rows / blockRows, rows % blockRows)
            var expected = 0
            for first in stride(from: 0, to: dimension, by: blockColumns) {
                let columns = min(blockColumns, dimension - first)
                let kinds = min(4, whole)
                expected += (kinds * blockRows + rest) * columns * 4
                expected += ((whole + (rest > 0 ? 1 : 0)) * (rest > 0 ? 3 : 2) + 7) / 8
            }
            XCTAssertEqual(small.storedBytes, expected, "\(small)")
        }
    }

    func testSimilarityAndTolerance() throws {
        let (table, values) = try repeating(
            rows: 200, dimension: 8, blockRows: 2, blockColumns: 4, kinds: 5, noise: 0.01, seed: 2)
        func compressed(_ tolerance: Double, _ similarity: Double) throws -> Table {
            try table.compressed(
                "dedup",
                ["block_rows": 2, "tolerance": .number(tolerance), "similarity": .number(similarity)])
        }
        XCTAssertEqual(try compressed(0, 1).decode(), values, "no two blocks are the same")
        XCTAssertEqual(try compressed(0, 1).storedBytes, table.storedBytes)
        let small = try compressed(0.1, 1)
        XCTAssertLessThan(small.storedBytes, table.storedBytes / 10)
        for (found, value) in zip(try small.decode(), values) { XCTAssertEqual(found, value, accuracy: 0.1) }
        // What counts is the deviation: the same at a thousandth of the scale.
        let tiny = try denseTable(values.map { $0 / 1024 }, dimension: 8)
        XCTAssertEqual(
            try tiny.compressed("dedup", ["block_rows": 2, "tolerance": 0.1, "similarity": 1]).decode(),
            try small.decode().map { $0 / 1024 })
    }

    func testBudgets() throws {
        var generator = SeededGenerator(seed: 3)
        let table = try denseTable(generator.normals(500 * 10), dimension: 10)
        var last = 0.0
        for share in [0.9, 0.5, 0.25, 0.1, 0.08] {
            let budget = Int(share * 20_000)
            let small = try table.compressed("dedup", ["budget": .integer(budget)])
            XCTAssertLessThanOrEqual(small.storedBytes, budget)
            if share >= 0.25 { XCTAssertGreaterThan(small.storedBytes, budget * 98 / 100) }
            let error = try small.quality(against: table).normalizedL2
            XCTAssertGreaterThan(error, last)
            XCTAssertLessThan(error, 1.3)
            last = error
            try assertSameForThreadCounts {
                try table.compressed("dedup", ["budget": .integer(budget)]).decode()
            }
        }
        // One block of each of three columns, of 4, 4 and 2, and a bit for each row.
        let floor = 40 + 3 * 63
        XCTAssertEqual(try table.compressed("dedup", ["budget": .integer(floor)]).storedBytes, floor)
        assertThrows(.budget(method: "dedup", budgetBytes: floor - 1, floorBytes: floor)) {
            _ = try table.compressed("dedup", ["budget": .integer(floor - 1)])
        }
        assertInvalidArgument("either similarity or a budget") {
            _ = try table.compressed("dedup", ["budget": 5000, "similarity": 0.5])
        }
    }

    func testDroppedBlocksGoToTheNearest() throws {
        var generator = SeededGenerator(seed: 4)
        let values = generator.normals(300 * 4)
        let table = try denseTable(values, dimension: 4)
        let found = try table.compressed("dedup", ["budget": 1500, "projections": 300]).decode()
        let rows = (0..<300).map { Array(values[4 * $0..<4 * $0 + 4]) }
        let copies = (0..<300).map { Array(found[4 * $0..<4 * $0 + 4]) }
        let kept = Set(copies)
        XCTAssertTrue(kept.isSubset(of: Set(rows)))
        func distance(_ left: [Float], _ right: [Float]) -> Float {
            zip(left, right).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        }
        for (row, copy) in zip(rows, copies) {
            XCTAssertEqual(distance(row, copy), try XCTUnwrap(kept.map { distance(row, $0) }.min()))
        }
    }
}
