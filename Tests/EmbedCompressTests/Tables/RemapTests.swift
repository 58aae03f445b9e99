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
        assertInvalidArgument("from 0 to 2^48 rows, not -1") { _ = try inner().remapped(rows: -1, modulo: 2) }
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
        XCTAssertEqual(try inner().remapped(through: [1, 1, 1]).storedBytes, 24 + 1, "3 entries of 2 bits")
        XCTAssertEqual(try randomDense(rows: 256, dimension: 1, seed: 1).remapped(through: [9, 9]).storedBytes, 1026)
        XCTAssertEqual(try randomDense(rows: 256, dimension: 1, seed: 1).remapped(through: [9, -1]).storedBytes, 1027)
        assertInvalidArgument("map entry 3 at position 1") { _ = try inner().remapped(through: [0, 3]) }
        assertInvalidArgument("map entry -2 at position 0") { _ = try inner().remapped(through: [-2, 0]) }
    }

    func testMapsOfAllWidths() throws {
        var generator = SeededGenerator(seed: 21)
        for bits in PackedMap.bitWidths {
            let largest = UInt64(1) << UInt64(bits) - 1
            let entries = (0..<37).map { _ in UInt64.random(in: 0...largest, using: &generator) }
            let map = try PackedMap(count: entries.count, bits: bits) { entries[$0] }
            XCTAssertEqual(map.bytes.count, (37 * bits + 7) / 8)
            // Where memory ends with the map.
            let memory = try GuardedMemory([UInt8](map.bytes.buffer))
            let lent = Bytes(ByteStorage.lent(memory.base, count: memory.count) { withExtendedLifetime(memory) {} })
            for start in 0...37 {
                let part = try PackedMap(lent, bits: bits, shift: 0, count: 37).sliced(start..<37)
                XCTAssertEqual((0..<37 - start).map { part.reader[$0] }, Array(entries[start...]), "\(bits), \(start)")
            }
        }
    }

    func testBlocks() throws {
        try check(inner().remapped(rows: 5, through: [0, -1, 1], blockRows: 2), [0, 1, -1, -1, 2])
        try check(inner().remapped(rows: 4, through: [0, -1], blockRows: 3), [0, 1, 2, -1])
        try check(inner().remapped(rows: 3, through: [0, 1], blockRows: 2), [0, 1, 2])
        XCTAssertEqual(try inner().remapped(rows: 0, through: [], blockRows: 2).rows, 0)
        assertInvalidArgument("map entry 2 at position 1 must be -1 or a block of the inner table's 2") {
            _ = try inner().remapped(rows: 4, through: [0, 2], blockRows: 2)
        }
        assertInvalidArgument("map entry 1 at position 1 is the inner table's last block, which has 1 rows") {
            _ = try inner().remapped(rows: 4, through: [0, 1], blockRows: 2)
        }
        assertInvalidArgument("5 ids in blocks of 2 do not go with a map of 2 entries") {
            _ = try inner().remapped(rows: 5, through: [0, 0], blockRows: 2)
        }
        for blockRows in [0, -3] {
            assertInvalidArgument("blocks need at least one row") {
                _ = try inner().remapped(rows: 4, through: [0, 1], blockRows: blockRows)
            }
        }
    }

    func testHash() throws {
        // Reference values of the formula in docs/format.md, from NumPy.
        let rows = [UInt64](0..<8).map { Remap.hash($0, seed: 0, rows: 1000) }
        XCTAssertEqual(rows, [883, 431, 26, 970, 106, 327, 173, 771])
        let seeded = [UInt64]([0, 1, 1 << 40]).map { Remap.hash($0, seed: 7, rows: 1 << 31) }
        XCTAssertEqual(seeded, [837_153_010, 36_052_587, 1_322_844_208])
        let ids = Array(0..<500)
        for seed in [0, 1, .max] {
            try check(
                inner().remapped(rows: 500, hashedWith: seed),
                ids.map { Int(Remap.hash(UInt64($0), seed: UInt64(seed), rows: 3)) })
        }
        XCTAssertEqual(try inner().remapped(rows: 9, hashedWith: 3).storedBytes, 24 + 8)
        assertInvalidArgument("seed must not be negative") { _ = try inner().remapped(rows: 9, hashedWith: -1) }
        assertInvalidArgument("ids are hashed to 1 to") {
            _ = try inner().slice(0..<0).remapped(rows: 9, hashedWith: 1)
        }
    }

    func testDivision() {
        var generator = SeededGenerator(seed: 22)
        let edges = [1, 2, 3, 5, 7, 255, 256, 65_535, 65_537, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, Int.max]
        for divisor in edges {
            for limit in [1, 1000, 1 << 32, (1 << 32) + 1, Int.max] {
                let divider = Divider(divisor, limit: limit)
                let numbers =
                    edges.flatMap { [$0 - 1, $0, $0 &+ 1] }
                    + (0..<50).map { _ in Int.random(in: 0..<limit, using: &generator) }
                for number in numbers where number >= 0 && number < limit {
                    let (quotient, remainder) = divider.divide(UInt64(number))
                    XCTAssertEqual(Int(quotient), number / divisor)
                    XCTAssertEqual(Int(remainder), number % divisor)
                }
            }
        }
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
        let most = maximumRows
        let table = try inner().remapped(rows: most, modulo: 3)
        XCTAssertEqual(try table.lookup([most - 1]), rows([(most - 1) % 3]))
        let slice = try table.slice(most - 5..<most)
        XCTAssertEqual(try slice.lookup([4]), rows([(most - 1) % 3]))
        assertThrows(.invalidID(position: 0, id: .max, rows: most)) { _ = try table.lookup([Int.max]) }
        XCTAssertFalse(table.description.isEmpty)
        XCTAssertEqual(try inner().remapped(rows: most, dividedBy: most / 2).lookup([most - 2]), rows([1]))
        for rows in [most + 1, Int.max] {
            assertInvalidArgument("2^48 rows, not \(rows)") { _ = try inner().remapped(rows: rows, modulo: 3) }
        }
        XCTAssertEqual(
            try inner().remapped(rows: 2, through: [0], blockRows: Int.max).lookup([0, 1]), rows([0, 1]))
    }

    /// A map from a file that nobody has read through.
    private func badMap(_ entries: [UInt64], blockRows: Int = 1, rows: Int) throws -> Table {
        let map = try PackedMap(count: entries.count, bits: 8) { entries[$0] }
        return Table(try Remap(.map(map, blockRows: blockRows, offset: 0), rows: rows, inner: inner().root))
    }

    func testBadBlocksAreErrors() throws {
        let table = try badMap([1, 0, 3, 2, 1], blockRows: 2, rows: 9)
        XCTAssertEqual(try table.lookup([0, 2, 3, 6, 7, 8]), rows([2, 0, 1, -1, -1, 2]))
        assertFormatError(.badMapEntry(position: 0, entry: 1, rows: 2)) { _ = try table.lookup([1]) }
        assertFormatError(.badMapEntry(position: 2, entry: 3, rows: 2)) { _ = try table.lookup([5]) }
        XCTAssertEqual(try table.slice(3..<9).lookup([0, 1, 5], onInvalid: .zero), rows([1, -1, 2]))
    }

    func testBadEntriesAreErrorsOrZerosAsAsked() throws {
        let table = try badMap([0, 4, 200, 255, 77, 1], rows: 6)
        let error = FormatError.badMapEntry(position: 1, entry: 4, rows: 3)
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
