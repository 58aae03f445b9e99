import TestSupport
import XCTest

@testable import EmbedCompress

/// What all methods have in common that make an expression of others.
final class ComposedMethodTests: XCTestCase {
    func testResultsDoNotDependOnThreads() throws {
        let source = try denseTable(unequalRows(400, 12), dimension: 12)
        let before = Parallel.threadCount
        defer { Parallel.threadCount = before }
        for method in composedMethods {
            for options in [quickOptions(method), quickBudgetOptions(method, 9000)] {
                Parallel.threadCount = 1
                let alone = try source.compressed(method, options).decode()
                for threads in [2, 5] {
                    Parallel.threadCount = threads
                    XCTAssertEqual(try source.compressed(method, options).decode(), alone, method)
                }
            }
        }
    }

    func testBudgetsAreMetOrRefusedWithTheFloor() throws {
        let source = try denseTable(unequalRows(300, 16), dimension: 16)
        for method in composedMethods {
            var floor = 0
            XCTAssertThrowsError(try source.compressed(method, quickBudgetOptions(method, 0))) { error in
                guard case EmbedCompressError.budget(method, 0, let least) = error else {
                    return XCTFail("\(method): \(error)")
                }
                floor = least
            }
            XCTAssertEqual(try source.compressed(method, quickBudgetOptions(method, floor)).storedBytes, floor, method)
            XCTAssertThrowsError(try source.compressed(method, quickBudgetOptions(method, floor - 1)), method)
            for budget in [floor + 100, 8_000, 12_000] {
                let table = try source.compressed(method, quickBudgetOptions(method, budget))
                XCTAssertLessThanOrEqual(table.storedBytes, budget, method)
            }
        }
    }

    func testTablesOfEveryShape() throws {
        for method in composedMethods {
            for (rows, dimension) in [(0, 8), (1, 1), (1, 8), (3, 1), (2, 2), (17, 5)] {
                var options = quickOptions(method)
                if options["parts"] != nil { options["parts"] = 1 }
                let source = try denseTable(unequalRows(rows, dimension), dimension: dimension)
                let table = try source.compressed(method, options)
                XCTAssertEqual([table.rows, table.dimension], [rows, dimension], method)
                XCTAssertTrue(try table.decode().allSatisfy(\.isFinite), method)
            }
        }
    }

    func testWhatTheyRefuse() throws {
        let source = try denseTable(unequalRows(40, 8), dimension: 8)
        let weights = try denseTable([Float](repeating: 1, count: 40), dimension: 1)
        for method in composedMethods {
            assertInvalidArgument("takes no weights") { _ = try source.compressed(method, weights: weights) }
        }
        let refusals: [(String, [String: OptionValue], String)] = [
            ("svd", ["rank": 9], "svd: rank must be an integer from 1 to 8, not 9"),
            ("svd", ["rank": 3, "budget": 900], "either a rank or a budget"),
            ("svd", ["inner": "nothing"], "svd has no inner method 'nothing'"),
            ("svd", ["bits": 4], "neither svd nor its inner method dense has the option 'bits'"),
            ("svd", ["inner": "asym", "rounds": 4], "neither svd nor its inner method asym has the option 'rounds'"),
            ("magsvd", ["rank": 2, "budget": 900], "either a rank or a budget"),
            ("tt", ["rank": 2, "budget": 900], "either a rank or a budget"),
            ("tt", ["bits": 2], "tt has no option 'bits'"),
            ("opq", ["parts": 9], "opq: parts must be an integer from 1 to 8, not 9"),
            ("opq", ["parts": 2, "budget": 900], "either parts or a budget"),
            ("magpq", ["bits": 4, "budget": 900], "either parts and bits or a budget"),
            ("hot_cold", ["share": 0.5, "budget": 900], "either a share or a budget"),
            ("hot_cold", ["group": 8], "begin with hot_ or cold_"),
            ("hot_cold", ["hot_nothing": 8], "has the option 'nothing'"),
            ("hot_cold", ["counts": .numbers([1, 2])], "counts must be 40 numbers"),
            ("hot_cold", ["counts": .numbers([Double](repeating: -1, count: 40))], "counts has -1.0 for row 0"),
            ("hot_cold", ["counts": 3], "counts must be"),
            ("tiers", ["bits": 3, "budget": 900], "either bits or a budget"),
            ("tiers", ["counts": .numbers([1, 2])], "counts must be 40 numbers"),
            ("tiers", ["inner": "pq"], "rows have bits of their own, such as trellis, eden or least_squares, not pq"),
            ("tiers", ["inner": "f16"], "not f16"),
            ("tiers", ["inner": "eden", "bits": 0.5], "takes 1.0 to 8.0 bits, not 0.5"),
            ("tiers", ["fallback": true], "fallback of trellis must be false"),
            ("tiers", ["group": 8], "has the option 'group'"),
        ]
        for (method, options, text) in refusals {
            assertInvalidArgument(text) { _ = try source.compressed(method, options) }
        }
    }

    func testASampleHasTheKnobsOfTheWhole() throws {
        let whole = try denseTable(unequalRows(1000, 16), dimension: 16)
        let sample = try whole.slice(0..<300)
        for method in ["svd", "opq"] {
            let options = quickBudgetOptions(method, 15_000)
            let large = try whole.compressed(method, options)
            let small = try Method.named(method).compress(sample, options, countedRows: 1000)
            guard let one = large.expression as? Project, let other = small.expression as? Project else {
                return XCTFail(method)
            }
            XCTAssertEqual(one.inner.dimension, other.inner.dimension, method)
            XCTAssertEqual((one.inner as? Product)?.parts, (other.inner as? Product)?.parts, method)
        }
        // Those of a method that counts the rows of what it is given have a share of the budget.
        let codes = try Method.named("asym").compress(sample, ["budget": .integer(1000 * 12)], countedRows: 1000)
        XCTAssertEqual(codes.storedBytes, 300 * 12)
    }

    func testProgressRisesToTheEndAndCanStop() throws {
        let source = try denseTable(unequalRows(800, 8), dimension: 8)
        for method in composedMethods {
            var (last, totals) = (0, Set<Int>())
            _ = try source.compressed(method, quickOptions(method)) { done, total in
                XCTAssertGreaterThanOrEqual(done, last, method)
                last = done
                totals.insert(total)
                return true
            }
            XCTAssertEqual(totals, [last], method)
            XCTAssertThrowsError(try source.compressed(method, quickOptions(method)) { _, _ in false }) {
                XCTAssertEqual($0 as? EmbedCompressError, .cancelled, method)
            }
        }
    }

    func testFilesHoldWhatCompressingInMemoryMakes() throws {
        let source = try denseTable(unequalRows(200, 8), dimension: 8)
        let path = NSTemporaryDirectory() + "/composed-\(UUID().uuidString).safetensors"
        defer { try? FileManager.default.removeItem(atPath: path) }
        for method in composedMethods {
            let options = quickOptions(method)
            let made = try source.compressed(method, options)
            let report = try TableFile.compress(
                [CompressionJob("a", source, options: options)], method: method, to: path)[0]
            XCTAssertEqual(report.storedBytes, made.storedBytes, method)
            XCTAssertEqual(try Table(contentsOf: path).decode(), try made.decode(), method)
            XCTAssertEqual(report.quality.normalizedL2, try relativeError(made, source), accuracy: 1e-9, method)
        }
    }
}
