import TestSupport
import XCTest

@testable import EmbedCompress

final class RemapTests: XCTestCase {
    private let values: [Float] = [10, 11, 20, 21, 30, 31]
    private func inner() throws -> Table { try denseTable(values, dimension: 2) }
    private func rows(_ ids: [Int]) -> [Float] {
        ids.flatMap { $0 < 0 ? [0, 0] : Array(values[2 * $0..<2 * $0 + 2]) }
    }

    /// Everything that a table answers must follow from the rows that its ids stand for.
    private func check(_ table: Table, _ innerIDs: [Int], file: StaticString = #filePath, line: UInt = #line) throws {
        XCTAssertEqual(table.rows, innerIDs.count, file: file, line: line)
        XCTAssertEqual(try table.decode(), rows(innerIDs), file: file, line: line)
        let ids = Array(innerIDs.indices.reversed())
        XCTAssertEqual(try table.lookup(ids), rows(ids.map { innerIDs[$0] }), file: file, line: line)
        let reference = BagReference(rows(innerIDs), dimension: 2)
        for pooling in [Pooling.sum, .mean, .max] {
            assertAgree(
                try table.bag(ids, offsets: [0, 1], pooling: pooling),
                reference.pool(ids, offsets: [0, 1], pooling: pooling), terms: 8, file: file, line: line)
        }
        for start in innerIDs.indices {
            let slice = try table.slice(start..<innerIDs.count)
            XCTAssertEqual(try slice.decode(), rows(Array(innerIDs[start...])), file: file, line: line)
        }
        XCTAssertEqual(table.invalidCount, 0, file: file, line: line)
    }

    func testModulo() throws {
        try check(inner().remapped(rows: 7, modulo: 3), [0, 1, 2, 0, 1, 2, 0])
        try check(inner().remapped(rows: 4, modulo: 1), [0, 0, 0, 0])
        for modulus in [0, -1, 4] {
            assertInvalidArgument("modulus must be from 1 to the inner table's 3 rows") {
                _ = try inner().remapped(rows: 7, modulo: modulus)
            }
        }
        assertInvalidArgument("rows must not be negative") { _ = try inner().remapped(rows: -1, modulo: 2) }
    }

    func testQuotient() throws {
        try check(inner().remapped(rows: 5, dividedBy: 2), [0, 0, 1, 1, 2])
        try check(inner().remapped(rows: 3, dividedBy: 100), [0, 0, 0])
        try check(inner().remapped(rows: 6, dividedBy: 2), [0, 0, 1, 1, 2, 2])
        assertInvalidArgument("the last id 6 goes to inner row 3") { _ = try inner().remapped(rows: 7, dividedBy: 2) }
        for divisor in [0, -2] {
            assertInvalidArgument("divisor must be at least 1") {
                _ = try inner().remapped(rows: 7, dividedBy: divisor)
            }
        }
    }

    func testMap() throws {
        try check(inner().remapped(through: [2, -1, 0, 0, -1]), [2, -1, 0, 0, -1])
        XCTAssertEqual(try inner().remapped(through: []).rows, 0)
        XCTAssertEqual(try inner().remapped(through: [1, 1, 1]).storedBytes, 24 + 12)
        assertInvalidArgument("map entry 3 at position 1") { _ = try inner().remapped(through: [0, 3]) }
        assertInvalidArgument("map entry -2 at position 0") { _ = try inner().remapped(through: [-2, 0]) }
    }

    func testMap64() throws {
        let entries: [Int64] = [2, -1, 1, 0]
        let bytes = try entries.withUnsafeBytes { try Bytes(copying: $0) }
        try check(Table(try Remap(.map64(bytes), rows: 4, inner: inner().root)), [2, -1, 1, 0])
    }

    func testRoutesOverRoutes() throws {
        let map = try inner().remapped(through: [2, 1, -1, 0])
        try check(map.remapped(rows: 6, modulo: 4), [2, 1, -1, 0, 2, 1])
        try check(map.remapped(rows: 8, dividedBy: 2), [2, 2, 1, 1, -1, -1, 0, 0])
        try check(map.remapped(through: [3, 2, -1, 0]), [0, -1, -1, 2])
        try check(
            inner().remapped(rows: 100, modulo: 3).slice(50..<60).remapped(through: [0, 9, -1]), [2, 2, -1])
    }

    func testAllRowsOfAWholeUniformTableThroughRoutes() throws {
        var generator = SeededGenerator(seed: 30)
        let (table, values) = try randomUniform(
            UniformReference(dimension: 33, bits: 3), rows: 50, using: &generator)
        let ids = generator.integers(700, in: -1..<50)
        let expected = ids.flatMap { id in
            id < 0
                ? [ReferenceValue](repeating: ReferenceValue(0, magnitude: 0), count: 33)
                : Array(values[33 * id..<33 * (id + 1)])
        }
        assertAgree(try table.remapped(through: ids).decode(), expected)
    }

    func testDepthIsLimited() throws {
        var table = try inner()
        for _ in 1..<maximumTreeDepth { table = try table.remapped(rows: 3, modulo: 3) }
        XCTAssertEqual(try table.decode(), values)
        assertFormatError(.treeTooDeep(limit: 32)) { _ = try table.remapped(rows: 3, modulo: 3) }
        XCTAssertEqual(try Table(tree: table.treeText(), arrays: table.lentArrays()) {}.decode(), values)
    }

    func testHugeNumbersOfRows() throws {
        let table = try inner().remapped(rows: Int.max, modulo: 3)
        XCTAssertEqual(try table.lookup([Int.max - 1]), rows([(Int.max - 1) % 3]))
        let slice = try table.slice(Int.max - 5..<Int.max)
        XCTAssertEqual(try slice.lookup([4]), rows([(Int.max - 1) % 3]))
        assertThrows(.invalidID(position: 0, id: .max, rows: Int.max)) { _ = try table.lookup([Int.max]) }
        XCTAssertFalse(table.description.isEmpty)
        XCTAssertEqual(
            try inner().remapped(rows: Int.max, dividedBy: Int.max / 2).lookup([Int.max - 2]), rows([1]))
    }

    /// A map from a file that nobody has read through.
    private func badMap(_ entries: [Int32]) throws -> Table {
        let bytes = try entries.withUnsafeBytes { try Bytes(copying: $0) }
        return Table(try Remap(.map32(bytes), rows: entries.count, inner: inner().root))
    }

    func testBadEntriesAreErrorsOrZerosAsAsked() throws {
        let table = try badMap([0, 3, -2, .max, .min, 1])
        let error = FormatError.badMapEntry(position: 1, entry: 3, rows: 3)
        assertFormatError(error) { _ = try table.lookup([0, 4, 1, 3, 2]) }
        assertFormatError(error) { _ = try table.decode() }
        assertFormatError(error) { _ = try table.compressed("asym") }
        assertFormatError(error) { _ = try table.quality(against: table) }
        for pooling in [Pooling.sum, .mean, .max] {
            assertFormatError(error) { _ = try table.bag([0, 2, 1], offsets: [0], pooling: pooling) }
        }
        XCTAssertEqual(try table.lookup([0, 5]), rows([0, 1]), "ids that don't meet one are answered")
        XCTAssertEqual(table.invalidCount, 0)
        XCTAssertEqual(try table.lookup([0, 1, 2, 5, 3, 4], onInvalid: .zero), rows([0, -1, -1, 1, -1, -1]))
        XCTAssertEqual(table.invalidCount, 4)
        XCTAssertEqual(try table.bag([1, 5, -7], offsets: [0], onInvalid: .zero), [20, 21])
        XCTAssertEqual(table.invalidCount, 6)
    }
}
