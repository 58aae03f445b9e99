import TestSupport
import XCTest

@testable import EmbedCompress

final class BudgetTests: XCTestCase {
    func testBytes() throws {
        XCTAssertEqual(try Budget.bytes(7).bytes(of: 1000), 7)
        XCTAssertEqual(try Budget.ratio(0.1).bytes(of: 1005), 100)
        XCTAssertEqual(try Budget.ratio(1).bytes(of: Int.max), Int.max)
        let (bytes, ratio): (Budget, Budget) = (5, 0.5)
        XCTAssertEqual([bytes, ratio], [.bytes(5), .ratio(0.5)])
        XCTAssertEqual([OptionValue.budget(bytes), .budget(ratio)], [.integer(5), .number(0.5)])
        assertInvalidArgument("budget must not be negative, not -1") { _ = try Budget.bytes(-1).bytes(of: 10) }
        for ratio in [0, -0.5, 1.5, .infinity, .nan] {
            assertInvalidArgument("a ratio of the f32 size, from 0 to 1, not \(ratio)") {
                _ = try Budget.ratio(ratio).bytes(of: 10)
            }
        }
    }

    func testMethodsTakeARatio() throws {
        let table = try randomDense(rows: 300, dimension: 16, seed: 4)
        for name in ["asym", "table", "int8", "prune"] {
            XCTAssertEqual(
                try table.compressed(name, ["budget": 0.75]).decode(),
                try table.compressed(name, ["budget": .budget(.bytes(300 * 16 * 4 * 3 / 4))]).decode(),
                name)
        }
    }
}
