import TestSupport
import XCTest

@testable import EmbedCompress

final class SparseTests: XCTestCase {
    private func matrix(rows: Int, dimension: Int, density: Double, seed: UInt64) -> [Float] {
        var generator = SeededGenerator(seed: seed)
        return (0..<rows * dimension).map { _ in
            Double.random(in: 0..<1, using: &generator) < density ? generator.normal() : 0
        }
    }

    func testRowsOfBothLayoutsOnGuardedMemory() throws {
        for (rows, dimension) in [(1, 1), (40, 5), (30, 16), (25, 33), (20, 257), (2, 65_537)] {
            for density in [0.02, 0.4] {
                var values = matrix(rows: rows, dimension: dimension, density: density, seed: UInt64(rows))
                for element in ScaleType.allCases {
                    if element == .float16 { values = values.map { floatFromHalf(halfFromFloat($0)) } }
                    let places = values.indices.filter { values[$0] != 0 }
                    let columns = places.map { $0 % dimension }
                    var kept = places.map { values[$0] }
                    var arrays = [try GuardedArray("values", element, [places.count], &kept)]
                    switch Sparse.columnBytes(dimension: dimension) {
                    case 1: arrays.append(try GuardedArray("columns", .u8, [places.count], columns.map(UInt8.init)))
                    case 2: arrays.append(try GuardedArray("columns", .u16, [places.count], columns.map(UInt16.init)))
                    default: arrays.append(try GuardedArray("columns", .u32, [places.count], columns.map(UInt32.init)))
                    }
                    var pointers = [0]
                    for row in 0..<rows {
                        let values = values[row * dimension..<(row + 1) * dimension]
                        pointers.append(pointers[row] + values.filter { $0 != 0 }.count)
                    }
                    let fields = #""element":"\#(element.rawValue)","nonzeros":\#(places.count),"first":0"#
                    let compressed = try guardedStore(
                        "sparse", rows: rows, dimension: dimension, fields: fields + #","layout":"csr","index":"u32""#,
                        arrays + [try GuardedArray("pointers", .u32, [rows + 1], pointers.map(UInt32.init))])
                    let coordinates = try guardedStore(
                        "sparse", rows: rows, dimension: dimension, fields: fields + #","layout":"coo","index":"u64""#,
                        arrays + [
                            try GuardedArray("rows", .u64, [places.count], places.map { UInt64($0 / dimension) })
                        ])
                    let expected = values.map { ReferenceValue(Double($0), magnitude: Double($0.magnitude)) }
                    try checkStore(compressed, expected, terms: 0)
                    try checkStore(coordinates, expected, terms: 0)
                }
            }
        }
    }

    func testPublicInitialiserTakesTheSmallerLayout() throws {
        let full = matrix(rows: 30, dimension: 7, density: 0.5, seed: 1)
        let dense = try Sparse(full, rows: 30, dimension: 7)
        XCTAssertEqual(dense.layout, .compressedRows)
        XCTAssertEqual(try Table(dense).decode(), full)
        XCTAssertEqual(dense.ownBytes, dense.nonzeros * 5 + 31 * 4)
        let empty = matrix(rows: 300, dimension: 7, density: 0.01, seed: 1)
        let thin = try Sparse(empty, rows: 300, dimension: 7)
        XCTAssertEqual(thin.layout, .coordinates)
        XCTAssertEqual(try Table(thin).decode(), empty)
        XCTAssertEqual(thin.ownBytes, thin.nonzeros * 9)
        XCTAssertEqual(try Table(Sparse([], rows: 0, dimension: 3)).decode(), [])
        assertInvalidArgument("3 values are not 2 x 2") { _ = try Sparse([1, 2, 3], rows: 2, dimension: 2) }
    }

    func testBadPointersAndColumns() throws {
        func table(_ pointers: [UInt32], _ columns: [UInt8]) throws -> Table {
            try guardedStore(
                "sparse", rows: 3, dimension: 4,
                fields: #""element":"f32","nonzeros":3,"first":0,"layout":"csr","index":"u32""#,
                [
                    try GuardedArray("pointers", .u32, [4], pointers), try GuardedArray("columns", .u8, [3], columns),
                    try GuardedArray("values", .f32, [3], [1, 2, 3] as [Float]),
                ])
        }
        let long = try table([0, 1, .max, 3], [0, 1, 2])
        for row in [1, 2] { assertFormatError(.badRowPointers(row: row)) { _ = try long.lookup([0, row]) } }
        assertFormatError(.badRowPointers(row: 1)) { _ = try long.bag([0, 2, 1], offsets: [0]) }
        XCTAssertEqual(try long.lookup([1, 0, 2], onInvalid: .zero), [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0])
        XCTAssertEqual(long.invalidCount, 2)
        assertFormatError(.badRowPointers(row: 1)) { _ = try long.slice(1..<2) }
        XCTAssertEqual(try long.slice(0..<1).decode(), [1, 0, 0, 0])
        let wide = try table([0, 1, 2, 3], [0, 4, 255])
        assertFormatError(.badColumn(row: 1, column: 4, dimension: 4)) { _ = try wide.lookup([2, 1]) }
        XCTAssertEqual(try wide.bag([0, 1, 2], offsets: [0], onInvalid: .zero), [1, 0, 0, 0])
        XCTAssertEqual(try wide.lookup([0]), [1, 0, 0, 0])
    }

    func testASliceOfCoordinatesIsInOrder() throws {
        func table(_ rows: [UInt32]) throws -> Table {
            try guardedStore(
                "sparse", rows: 4, dimension: 4,
                fields: #""element":"f32","nonzeros":3,"first":0,"layout":"coo","index":"u32""#,
                [
                    try GuardedArray("rows", .u32, [3], rows),
                    try GuardedArray("columns", .u8, [3], [0, 1, 2] as [UInt8]),
                    try GuardedArray("values", .f32, [3], [1, 2, 3] as [Float]),
                ])
        }
        XCTAssertEqual(try table([0, 1, 1]).slice(1..<2).decode(), [0, 2, 3, 0])
        assertFormatError(.unsortedRows(position: 2)) { _ = try table([0, 2, 1]).slice(0..<4) }
        assertFormatError(.unsortedRows(position: 0)) { _ = try table([3, 0, 1]).slice(0..<2) }
    }
}
