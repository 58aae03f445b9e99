import TestSupport
import XCTest

@testable import EmbedCompress

/// Uniform codes with one scale and bias for the whole table.
final class UniformTableScopeTests: XCTestCase {
    /// Rows of codes, and what they decode to.
    private func random(
        bits: Int, dimension: Int, rows: Int, scale: Float, bias: Float, using generator: inout SeededGenerator
    ) throws -> (table: Table, values: [ReferenceValue]) {
        let format = UniformReference(dimension: dimension, bits: bits, scaleType: .float32)
        let stored = (0..<rows).map { _ in
            format.encode(codes: generator.integers(dimension, in: 0..<1 << bits), parameters: [(scale, bias)])
        }
        let codes = stored.map { Array($0.prefix(format.codeBytes)) }
        let table = try guardedTable(bits: bits, dimension: dimension, rows: codes, scale: scale, bias: bias)
        return (table, stored.flatMap { format.decode($0[...]) })
    }

    func testRowsAreThoseOfTheReference() throws {
        var generator = SeededGenerator(seed: 12)
        for dimension in testDimensions {
            for bits in Uniform.bitWidths {
                let (table, values) = try random(
                    bits: bits, dimension: dimension, rows: 4, scale: 0.037, bias: -1.25, using: &generator)
                XCTAssertEqual(table.storedBytes, 4 * ((dimension * bits + 7) / 8) + 8)
                assertAgree(try table.decode(), values, "decode \(bits) \(dimension)")
                let ids = [3, 0, 0, 1]
                let expected = ids.flatMap { values[$0 * dimension..<($0 + 1) * dimension] }
                assertAgree(try table.lookup(ids), expected, "lookup \(bits) \(dimension)")
                let slice = try table.slice(1..<4)
                assertAgree(try slice.decode(), Array(values[dimension...]), "slice \(bits) \(dimension)")
                let weights: [Float] = [1, -0.5, 2, 0.25]
                assertAgree(
                    try table.bag(ids, offsets: [0, 1, 1], weights: weights),
                    BagReference(values, dimension: dimension).pool(ids, offsets: [0, 1, 1], weights: weights),
                    terms: 16, "bag \(bits) \(dimension)")
            }
        }
    }

    func testIDsWithoutARowAreZerosAndNotTheBias() throws {
        var generator = SeededGenerator(seed: 13)
        let (table, values) = try random(
            bits: 4, dimension: 3, rows: 2, scale: 0.5, bias: 7, using: &generator)
        let first = values[0..<3].map { Float($0.value) }
        XCTAssertEqual(try table.lookup([5, 0], onInvalid: .zero), [0, 0, 0] + first)
        XCTAssertEqual(try table.bag([0, 5, -1], offsets: [0, 1], onInvalid: .zero), first + [0, 0, 0])
        XCTAssertEqual(try table.remapped(through: [-1]).decode(), [0, 0, 0])
    }

    func testDescriptionAndFields() throws {
        let table = try guardedTable(bits: 8, dimension: 2, rows: [[0, 1], [2, 3]], scale: 1, bias: 0)
        XCTAssertEqual(
            table.description,
            """
            Uniform 8-bit, f32 scale and bias per table  [2 x 2]  12 bytes
            = 12 bytes, 75.00 % of f32
            """)
        XCTAssertEqual((table.expression as? Uniform)?.scope, .table)
        let copy = try Table(tree: table.treeText(), arrays: table.lentArrays()) {}
        XCTAssertEqual(try copy.decode(), [0, 1, 2, 3])
        XCTAssertEqual(try copy.slice(1..<2).parts().arrays.map(\.name), ["rows", "parameters"])
    }

    func testLayoutsThatCannotBe() throws {
        for (group, type): (Int?, ScaleType) in [(nil, .float16), (8, .float32)] {
            assertInvalidArgument("one scale and bias for the table are f32 and go with a group of the whole row") {
                _ = try Uniform.Layout(dimension: 16, bits: 4, group: group, scaleType: type, scope: .table)
            }
        }
        let table = try Uniform.Layout(dimension: 2, bits: 8, group: nil, scaleType: .float32, scope: .table)
        let row = try Uniform.Layout(dimension: 2, bits: 8, group: nil, scaleType: .float32)
        func bytes(_ count: Int) throws -> Bytes { Bytes(try ByteStorage.allocate(count)) }
        assertInvalidArgument("go with the scope 'table'") { _ = try Uniform(bytes(2), rows: 1, layout: table) }
        assertInvalidArgument("go with the scope 'table'") {
            _ = try Uniform(bytes(10), rows: 1, layout: row, parameters: bytes(8))
        }
    }
}
