import TestSupport
import XCTest

@testable import EmbedCompress

final class UniformTests: XCTestCase {
    /// Every layout there is: width, groups and type of scales.
    private func forEachFormat(_ body: (UniformReference, inout SeededGenerator) throws -> Void) throws {
        var generator = SeededGenerator(seed: 10)
        for dimension in testDimensions {
            for bits in Uniform.bitWidths {
                for group in [nil, 8, 32] {
                    for scaleType in ScaleType.allCases {
                        let format = UniformReference(
                            dimension: dimension, bits: bits, group: group, scaleType: scaleType)
                        try body(format, &generator)
                    }
                }
            }
        }
    }

    func testRowsAreThoseOfTheReference() throws {
        try forEachFormat { format, generator in
            let rows = format.dimension > 200 ? 2 : 4
            let (table, values) = try randomUniform(format, rows: rows, using: &generator)
            XCTAssertEqual(table.rows, rows)
            XCTAssertEqual(table.storedBytes, rows * format.rowBytes)
            assertAgree(try table.decode(), values, "decode \(format)")

            let dimension = format.dimension
            let ids = [rows - 1, 0, 0, 1]
            let expected = ids.flatMap { values[$0 * dimension..<($0 + 1) * dimension] }
            assertAgree(try table.lookup(ids), expected, "lookup \(format)")

            let slice = try table.slice(1..<rows)
            assertAgree(try slice.decode(), Array(values[dimension...]), "slice \(format)")

            let decoded = BagReference(values, dimension: dimension)
            let weights: [Float] = [1, -0.5, 2, 0.25]
            assertAgree(
                try table.bag(ids, offsets: [0, 1, 1], weights: weights),
                decoded.pool(ids, offsets: [0, 1, 1], weights: weights), terms: 16, "bag \(format)")
        }
    }

    func testRowsOfScaleZeroAndExtremeParameters() throws {
        for (scale, bias): (Float, Float) in [(0, 3), (0, 0), (65504, -65504), (0x1p-24, 0x1p-24), (-1, 2)] {
            for bits in Uniform.bitWidths {
                let format = UniformReference(dimension: 3, bits: bits)
                let row = format.encode(codes: [0, 1, (1 << bits) - 1], parameters: [(scale, bias)])
                let table = try guardedTable(format, rows: [row, row])
                assertAgree(try table.lookup([1]), format.decode(row[...]), "\(scale) \(bias)")
            }
        }
    }

    func testLayoutsThatCannotBe() {
        assertInvalidArgument("bits must be 1 to 8, or 16, not 9") {
            _ = try Uniform.Layout(dimension: 4, bits: 9, group: nil, scaleType: .float16)
        }
        assertInvalidArgument("columns, not 0") {
            _ = try Uniform.Layout(dimension: 0, bits: 4, group: nil, scaleType: .float16)
        }
        for group in [0, 1, 7, 12, -8] {
            assertInvalidArgument("group must be a multiple of 8 columns", "not \(group)") {
                _ = try Uniform.Layout(dimension: 100, bits: 4, group: group, scaleType: .float16)
            }
        }
        XCTAssertEqual(try Uniform.Layout(dimension: 5, bits: 4, group: 8, scaleType: .float16).group, 5)
        XCTAssertEqual(try Uniform.Layout(dimension: 5, bits: 4, group: 5, scaleType: .float16).groups.count, 1)
    }

    func testRowBytesAreThoseOfTheFormula() throws {
        for (dimension, bits, group, type, bytes): (Int, Int, Int?, ScaleType, Int) in [
            (50, 4, nil, .float16, 29), (64, 4, nil, .float32, 40), (64, 4, 32, .float16, 40), (3, 1, nil, .float16, 5),
            (33, 2, 8, .float16, 29), (10, 16, nil, .float32, 28), (7, 7, nil, .float16, 11),
        ] {
            let layout = try Uniform.Layout(dimension: dimension, bits: bits, group: group, scaleType: type)
            XCTAssertEqual(layout.rowBytes, bytes)
        }
    }

    func testDescription() throws {
        var generator = SeededGenerator(seed: 11)
        let format = UniformReference(dimension: 16, bits: 4)
        let table = try randomUniform(format, rows: 1000, using: &generator).table
        XCTAssertEqual(
            table.description,
            """
            Uniform 4-bit, f16 scale and bias per row  [1000 x 16]  12,000 bytes
            = 12,000 bytes, 18.75 % of f32
            """)
        XCTAssertEqual(table.ratio, 0.1875)
        let route = try table.remapped(rows: 2000, modulo: 1000).remapped(through: [0, 1, -1])
        XCTAssertEqual(
            route.description,
            """
            Remap map[id], 11-bit entries  [3 x 16]  5 bytes
              inner: Remap id % 1000  [2000 x 16]  0 bytes
                inner: Uniform 4-bit, f16 scale and bias per row  [1000 x 16]  12,000 bytes
            = 12,005 bytes, 6252.60 % of f32
            """)
        XCTAssertEqual(route.expression.children.first?.name, "inner")
    }
}
