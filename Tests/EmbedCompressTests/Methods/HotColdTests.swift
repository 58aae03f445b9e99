import TestSupport
import XCTest

@testable import EmbedCompress

final class HotColdTests: XCTestCase {
    private let rows = 500
    private let dimension = 12

    private func source() throws -> Table { try denseTable(unequalRows(rows, dimension), dimension: dimension) }

    func testCountsThatFallCostNoBytes() throws {
        let source = try source()
        let counts = (0..<rows).map { Double(rows - $0) }
        let table = try source.compressed("hot_cold", ["counts": .numbers(counts), "share": 0.14])
        let hot = try source.slice(0..<70).compressed("least_squares", ["bits": 8])
        let cold = try source.slice(70..<rows).compressed("least_squares", ["bits": 2])
        XCTAssertEqual(table.storedBytes, hot.storedBytes + cold.storedBytes)
        XCTAssertEqual(try table.decode(), try hot.decode() + cold.decode())
    }

    func testCountsInAnyOrder() throws {
        let source = try source()
        let counts = (0..<rows).map { Double($0 * 37 % rows) }
        let table = try source.compressed(
            "hot_cold", ["counts": .numbers(counts), "share": 0.14, "hot": "f16", "cold_bits": 3])
        let hot = (0..<rows).filter { counts[$0] >= Double(rows - 70) }
        let cold = (0..<rows).filter { counts[$0] < Double(rows - 70) }
        let codes = try source.remapped(through: cold).compressed("least_squares", ["bits": 3])
        XCTAssertEqual(hot.count, 70)
        XCTAssertEqual(try table.lookup(cold), try codes.decode())
        for (copy, value) in zip(try table.lookup(hot), try source.lookup(hot)) {
            XCTAssertEqual(copy, floatFromHalf(halfFromFloat(value)))
        }
    }

    func testWithoutCountsNormsDecide() throws {
        let source = try source()
        let table = try source.compressed("hot_cold", ["share": 0.07, "hot": "dense"])
        let (copies, values) = (try table.decode(), try source.decode())
        var (least, most) = (Float.infinity, Float(0))
        var same = 0
        for row in 0..<rows {
            let range = row * dimension..<(row + 1) * dimension
            let norm = values[range].reduce(0) { $0 + $1 * $1 }
            if copies[range] == values[range] {
                (least, same) = (min(least, norm), same + 1)
            } else {
                most = max(most, norm)
            }
        }
        XCTAssertEqual(same, 35)
        XCTAssertGreaterThanOrEqual(least, most)
    }

    func testABudgetIsSpentWhereCountsAre() throws {
        let source = try source()
        let counts = (0..<rows).map { 1 / (Double($0) + 3) }
        func weighted(_ table: Table) throws -> Double {
            zip(try table.decode(), try source.decode()).enumerated().reduce(0) {
                $0 + counts[$1.offset / dimension]
                    * Double(($1.element.0 - $1.element.1) * ($1.element.0 - $1.element.1))
            }
        }
        let plain = try source.compressed("asym", ["budget": 5000])
        let split = try source.compressed(
            "hot_cold", ["counts": .numbers(counts), "budget": 5000, "hot": "asym", "cold": "asym"])
        XCTAssertLessThanOrEqual(split.storedBytes, 5000)
        XCTAssertLessThan(try weighted(split), 0.8 * (try weighted(plain)))
    }

    func testTheColdRowsTakeWhatIsLeft() throws {
        let source = try denseTable(unequalRows(600, 16), dimension: 16)
        let counts = (0..<600).map { 1 / (Double($0) + 3) }
        for cold in ["kmeans_cls", "pq"] {
            var options: [String: OptionValue] = [
                "cold": .string(cold), "hot": "f16", "cold_rounds": 1, "cold_bits": 3, "budget": 9_600,
            ]
            XCTAssertThrowsError(try source.compressed("hot_cold", options.merging(["budget": 0]) { $1 })) { error in
                guard case EmbedCompressError.budget("hot_cold", 0, let floor) = error else {
                    return XCTFail("\(error)")
                }
                XCTAssertGreaterThan(floor, 0)
            }
            options["counts"] = .numbers(counts)
            let table = try source.compressed("hot_cold", options)
            XCTAssertLessThanOrEqual(table.storedBytes, 9_600)
            XCTAssertTrue(table.expression is Partition)
        }
    }
}
