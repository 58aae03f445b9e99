import TestSupport
import XCTest

@testable import EmbedCompress

final class TouchTests: XCTestCase {
    private func touch(_ table: Table, _ ids: [Int]) throws -> Int {
        try ids.withUnsafeBytes { try table.touch(IDs(base: $0.baseAddress, count: ids.count, width: 8)) }
    }

    /// What is read of each row: every 64th byte, and the last one.
    private func sums(_ table: Table) throws -> [Int] {
        let array = try XCTUnwrap(table.parts().arrays.first { $0.name == "rows" })
        let bytes = withExtendedLifetime(array.bytes.storage) { [UInt8](array.bytes.buffer) }
        let width = bytes.count / table.rows
        return (0..<table.rows).map { index in
            let row = bytes[index * width..<(index + 1) * width]
            return stride(from: row.startIndex, to: row.endIndex, by: 64).reduce(Int(row.last ?? 0)) {
                $0 + Int(row[$1])
            }
        }
    }

    func testEveryRowIsRead() throws {
        var generator = SeededGenerator(seed: 7)
        let threads = Parallel.threadCount
        defer { Parallel.threadCount = threads }
        for dimension in testDimensions {
            let weight = try randomDense(rows: 40, dimension: dimension, seed: 3)
            var tables = [weight]
            for method in ["asym", "kmeans"] { tables.append(try weight.compressed(method, ["bits": 4])) }
            for table in tables {
                let sums = try sums(table)
                for count in [0, 1, 15, 16, 17, 5000] {
                    let ids = generator.integers(count, in: 0..<40)
                    let expected = ids.reduce(0) { $0 + sums[$1] }
                    for threads in [1, 2] {
                        Parallel.threadCount = threads
                        XCTAssertEqual(try touch(table, ids), expected, "\(table), \(threads) threads")
                    }
                }
            }
        }
    }

    func testRowsOfAMemoryWithoutSlack() throws {
        let table = try guardedTable(.float32, bytes: (0..<240).map { UInt8($0) }, dimension: 20)
        XCTAssertEqual(try touch(table, [0, 1, 2]), [0, 64, 79, 80, 144, 159, 160, 224, 239].reduce(0, +))
    }

    func testATableThatIsPrefetched() throws {
        let table = try denseTable([Float](repeating: 1, count: 1 << 18), dimension: 64)
        let ids = (0..<6000).map { $0 * 31 % 4096 }
        // Every value is 0x3F800000: the first byte is 0, the last one 0x3F.
        XCTAssertEqual(try touch(table, ids), ids.count * 0x3F)
    }

    func testIDsAreChecked() throws {
        let table = try denseTable([0, 1, 2, 3], dimension: 1)
        for (ids, position) in [([4], 0), ([0, -1], 1)] {
            assertThrows(.invalidID(position: position, id: Int64(ids[position]), rows: 4)) {
                _ = try touch(table, ids)
            }
        }
    }

    func testOnlyStoresOfRows() throws {
        let table = try denseTable([0, 1, 2, 3], dimension: 1).remapped(rows: 8, modulo: 4)
        XCTAssertThrowsError(try touch(table, [0])) { error in
            XCTAssertTrue("\(error)".contains("one store of rows"), "\(error)")
        }
    }
}
