import TestSupport
import XCTest

@testable import EmbedCompress

final class DenseTests: XCTestCase {
    /// Random rows of an element type: their bytes, and the numbers that those stand for.
    private func random(
        _ element: Dense.Element, _ count: Int, using generator: inout SeededGenerator
    ) -> (bytes: [UInt8], values: [Float]) {
        var bytes: [UInt8] = []
        var values: [Float] = []
        for value in generator.normals(count) {
            switch element {
            case .float32:
                bytes += withUnsafeBytes(of: value.bitPattern, Array.init)
                values.append(value)
            case .float16:
                bytes += withUnsafeBytes(of: HalfReference.nearest(value), Array.init)
                values.append(HalfReference.rounded(value))
            case .bfloat16:
                let pattern = UInt16(value.bitPattern >> 16)
                bytes += withUnsafeBytes(of: pattern, Array.init)
                values.append(Float(bitPattern: UInt32(pattern) << 16))
            }
        }
        return (bytes, values)
    }

    func testRowsComeBackExactly() throws {
        var generator = SeededGenerator(seed: 20)
        for element in Dense.Element.allCases {
            for dimension in testDimensions {
                let (bytes, values) = random(element, 5 * dimension, using: &generator)
                let table = try guardedTable(element, bytes: bytes, dimension: dimension)
                let message = "\(element.rawValue), dimension \(dimension)"
                XCTAssertEqual(table.storedBytes, bytes.count)
                XCTAssertEqual(try table.decode(), values, message)
                XCTAssertEqual(try table.slice(2..<5).decode(), Array(values[(2 * dimension)...]), message)
                XCTAssertEqual(
                    try table.lookup([4, 0, 4]),
                    Array(values[(4 * dimension)...]) + values[..<dimension] + values[(4 * dimension)...], message)
                let ids = [4, 3, 0, 0, 1]
                let reference = BagReference(values, dimension: dimension)
                for pooling in [Pooling.sum, .mean, .max] {
                    assertAgree(
                        try table.bag(ids, offsets: [0, 0, 3], pooling: pooling),
                        reference.pool(ids, offsets: [0, 0, 3], pooling: pooling), terms: 5, message)
                }
            }
        }
    }

    func testCopiesOfSwiftArrays() throws {
        var values: [Float] = [1, 2, 3, 4, 5, 6]
        let table = Table(try Dense(values, rows: 3, dimension: 2))
        values[0] = 100
        XCTAssertEqual(try table.decode(), [1, 2, 3, 4, 5, 6])
        XCTAssertEqual(table.description, "Dense f32  [3 x 2]  24 bytes\n= 24 bytes, 100.00 % of f32")
    }

    func testShapesThatDoNotFit() {
        assertInvalidArgument("24 bytes are not 2 x 2 values of f32") {
            _ = try Dense([1, 2, 3, 4, 5, 6], rows: 2, dimension: 2)
        }
        assertInvalidArgument("columns") { _ = try Dense([], rows: 2, dimension: 0) }
        assertInvalidArgument("no negative number of rows") { _ = try Dense([], rows: -1, dimension: 2) }
        assertInvalidArgument("columns") { _ = try Dense([], rows: 0, dimension: maximumDimension + 1) }
        assertInvalidArgument("are not") { _ = try Dense([], rows: Int.max, dimension: 4) }
    }

    func testTablesWithoutRows() throws {
        let table = Table(try Dense([], rows: 0, dimension: 3))
        XCTAssertEqual(try table.decode(), [])
        XCTAssertEqual(try table.lookup([]), [])
        XCTAssertEqual(try table.slice(0..<0).rows, 0)
        XCTAssertEqual(try table.bag([], offsets: [0, 0]), [Float](repeating: 0, count: 6))
        XCTAssertEqual(table.ratio, 0)
        assertThrows(.invalidID(position: 0, id: 0, rows: 0)) { _ = try table.lookup([0]) }
        XCTAssertEqual(try table.compressed("greedy").rows, 0)
        XCTAssertEqual(try table.compressed("greedy").storedBytes, 0)
    }

    func testSlices() throws {
        let table = try denseTable([0, 1, 2, 3, 4], dimension: 1)
        XCTAssertEqual(try table.slice(1..<4).slice(1..<3).decode(), [2, 3])
        for range in [-1..<2, 0..<6, 6..<6] {
            assertInvalidArgument("rows \(range.lowerBound) to \(range.upperBound)") { _ = try table.slice(range) }
        }
        assertThrows(.invalidID(position: 1, id: 3, rows: 3)) { _ = try table.slice(1..<4).lookup([0, 3]) }
    }

    func testValuesThatAreNotFiniteAreLookedUpAsTheyAre() throws {
        let table = try denseTable([.infinity, -.infinity, .nan, 1], dimension: 4)
        let row = try table.lookup([0])
        XCTAssertEqual(row[0], .infinity)
        XCTAssertEqual(row[1], -.infinity)
        XCTAssertTrue(row[2].isNaN)
        XCTAssertEqual(row[3], 1)
    }
}
