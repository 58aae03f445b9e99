import EmbedCompress
import XCTest

/// Ids of any integer type in any collection, and output in a caller's memory.
final class IDTypesTests: XCTestCase {
    private let (rows, dimension) = (6, 3)

    private func table() throws -> Table {
        Table(try Dense((0..<rows * dimension).map { Float($0) }, rows: rows, dimension: dimension))
    }

    private func assertLookup<IDs: Collection>(_ ids: IDs, _ table: Table) throws where IDs.Element: BinaryInteger {
        let expected = ids.flatMap { id in (0..<dimension).map { Float(Int(id) * dimension + $0) } }
        XCTAssertEqual(try table.lookup(ids), expected)
        let sums = try table.bag(ids, offsets: [0, 1].map { UInt32($0) })
        XCTAssertEqual(sums, try table.bag(ids.map { Int($0) }, offsets: [0, 1]))
        var output = [Float](repeating: .nan, count: ids.count * dimension)
        try output.withUnsafeMutableBufferPointer { try table.lookup(ids, into: $0) }
        XCTAssertEqual(output, expected)
    }

    func testIntegerTypesAndCollections() throws {
        let table = try table()
        let ids = [5, 0, 3]
        try assertLookup(ids, table)
        try assertLookup(ids.map { Int8($0) }, table)
        try assertLookup(ids.map { UInt8($0) }, table)
        try assertLookup(ids.map { Int16($0) }, table)
        try assertLookup(ids.map { Int32($0) }, table)
        try assertLookup(ids.map { UInt32($0) }, table)
        try assertLookup(ids.map { Int64($0) }, table)
        try assertLookup(ids.map { UInt64($0) }, table)
        try assertLookup(1..<4, table)
        try assertLookup(ids[1...], table)
        try assertLookup(ContiguousArray(ids.map { Int32($0) })[1...], table)
        try assertLookup(ids.lazy.map { UInt($0) }, table)
    }

    func testRowsBySubscript() throws {
        let table = try table()
        XCTAssertEqual(try table[5], [15, 16, 17])
        XCTAssertEqual(try table[UInt8(1)], [3, 4, 5])
        for id in [-1, 6] {
            XCTAssertThrowsError(try table[id]) {
                XCTAssertEqual(
                    $0 as? EmbedCompressError, .invalidID(position: 0, id: Int64(id), rows: 6))
            }
        }
    }

    func testIDsBeyond64BitsAreOutOfRange() throws {
        XCTAssertThrowsError(try table().lookup([1, UInt64.max])) {
            XCTAssertEqual($0 as? EmbedCompressError, .invalidID(position: 1, id: .max, rows: 6))
        }
        XCTAssertEqual(try table().lookup([UInt64.max], onInvalid: .zero), [0, 0, 0])
    }

    func testOutputOfAnotherSizeIsAnErrorAndUntouched() throws {
        let table = try table()
        for count in [0, 5, 7] {
            var output = [Float](repeating: 7, count: count)
            try output.withUnsafeMutableBufferPointer { buffer in
                XCTAssertThrowsError(try table.lookup([1, 2], into: buffer)) {
                    guard case EmbedCompressError.invalidArgument(let text) = $0 else { return XCTFail("\($0)") }
                    XCTAssertEqual(text, "the output has room for \(count) floats, not for 2 rows of 3")
                }
                XCTAssertThrowsError(try table.bag([1, 2], offsets: [0, 1], into: buffer))
            }
            XCTAssertEqual(output, [Float](repeating: 7, count: count))
        }
        var sums = [Float](repeating: 7, count: 3)
        try sums.withUnsafeMutableBufferPointer { try table.bag([1, 2], offsets: [0], into: $0, pooling: .mean) }
        XCTAssertEqual(sums, [4.5, 5.5, 6.5])
    }

    #if compiler(>=6.2)
        func testSpans() throws {
            let table = try table()
            var output = [Float](repeating: 0, count: 6)
            var span = output.mutableSpan
            try table.lookup([2, 1], into: &span)
            XCTAssertEqual(output, [6, 7, 8, 3, 4, 5])
            var sums = [Float](repeating: 0, count: 3)
            var sumSpan = sums.mutableSpan
            try table.bag([2, 1], offsets: [0], into: &sumSpan)
            XCTAssertEqual(sums, [9, 11, 13])
        }
    #endif

    func testSetsOfTablesTakeThemToo() throws {
        let table = try table()
        let set = try TableSet([table, table])
        XCTAssertEqual(
            try set.bag([5, 0, 3].map { UInt16($0) }, offsets: [0, 1, 3].map { Int32($0) }),
            try set.bag([5, 0, 3], offsets: [0, 1, 3]))
    }
}
