import TestSupport
import XCTest

@testable import EmbedCompress

final class ExpressionSummaryTests: XCTestCase {
    func testStoresAndRoutesInALine() throws {
        let source = try randomDense(rows: 40, dimension: 16, seed: 2)
        let four = try source.compressed("asym", ["bits": 4])
        let grouped = try source.compressed("asym", ["bits": 2, "group": 8])
        for (table, wanted) in [
            (source, "dense(element=f32)"),
            (four, "uniform(bits=4)"),
            (grouped, "uniform(bits=2, group=8)"),
            (try four.remapped(rows: 90, modulo: 40), "remap(modulus=40, uniform(bits=4))"),
            (try four.remapped(through: [3, 1]), "remap(bits=6, function=map, uniform(bits=4))"),
            (
                Table(try Partition([four, source])),
                "partition(rows=40+40, uniform(bits=4), dense(element=f32))"
            ),
        ] {
            XCTAssertEqual(table.expressionSummary, wanted)
        }
    }
}
