import TestSupport
import XCTest

@testable import EmbedCompress

final class LookupTests: XCTestCase {
    private let table = Result { try denseTable([0, 1, 2, 3], dimension: 1) }

    private func floats(_ count: Int, _ body: (UnsafeMutablePointer<Float>) throws -> Void) rethrows -> [Float] {
        var values = [Float](repeating: -99, count: count)
        try values.withUnsafeMutableBufferPointer { buffer in
            if let base = buffer.baseAddress { try body(base) }
        }
        return values
    }

    // MARK: ids

    func testTheFirstInvalidIDIsNamed() throws {
        let table = try table.get()
        for (ids, position): ([Int], Int) in [
            ([4], 0), ([-1], 0), ([0, 3, 4, -1], 2), ([0, 1, Int.min], 2), ([Int.max, 0], 0),
        ] {
            assertThrows(.invalidID(position: position, id: Int64(ids[position]), rows: 4)) {
                _ = try table.lookup(ids)
            }
            assertThrows(.invalidID(position: position, id: Int64(ids[position]), rows: 4)) {
                _ = try table.bag(ids, offsets: [0])
            }
        }
        XCTAssertEqual(table.invalidCount, 0)
    }

    func testNothingIsWrittenForInvalidIDs() throws {
        let table = try table.get()
        for width in [4, 8] {
            let output = floats(3) { output in
                let wide: [Int64] = [1, 2, 4]
                let narrow: [Int32] = [1, 2, 4]
                let run = { (bytes: UnsafeRawBufferPointer) in
                    assertThrows(.invalidID(position: 2, id: 4, rows: 4)) {
                        let ids = IDs(base: bytes.baseAddress, count: 3, width: width)
                        try table.lookup(ids, onInvalid: .raise, into: output)
                    }
                }
                if width == 8 { wide.withUnsafeBytes(run) } else { narrow.withUnsafeBytes(run) }
            }
            XCTAssertEqual(output, [-99, -99, -99])
        }
    }

    func testNarrowIDsAreSignedAndComplete() throws {
        let table = try table.get()
        let ids: [Int32] = [3, -1, .min, .max, 0]
        let output = try floats(5) { output in
            try ids.withUnsafeBytes { bytes in
                let ids = IDs(base: bytes.baseAddress, count: 5, width: 4)
                try table.lookup(ids, onInvalid: .zero, into: output)
            }
        }
        XCTAssertEqual(output, [3, 0, 0, 0, 0])
        XCTAssertEqual(table.invalidCount, 3)
    }

    func testUnalignedIDs() throws {
        let table = try table.get()
        let bytes: [UInt8] = [9] + [Int64(2), 1].flatMap { withUnsafeBytes(of: $0, Array.init) }
        let output = try floats(2) { output in
            try bytes.withUnsafeBytes { bytes in
                let ids = IDs(base: bytes.baseAddress.map { $0 + 1 }, count: 2, width: 8)
                try table.lookup(ids, onInvalid: .raise, into: output)
            }
        }
        XCTAssertEqual(output, [2, 1])
    }

    func testInvalidIDsAreZerosAndCountedWhenAsked() throws {
        let table = try table.get()
        XCTAssertEqual(try table.lookup([3, -1, 4, 2, 99], onInvalid: .zero), [3, 0, 0, 2, 0])
        XCTAssertEqual(table.invalidCount, 3)
        XCTAssertEqual(try table.bag([3, -1, 2], offsets: [0, 2], onInvalid: .zero), [3, 2])
        XCTAssertEqual(table.invalidCount, 4)
        XCTAssertEqual(try table.bag([3, -1], offsets: [0], pooling: .mean, onInvalid: .zero), [1.5])
        XCTAssertEqual(try table.lookup([1, 2], onInvalid: .zero), [1, 2])
        XCTAssertEqual(table.invalidCount, 5)
        XCTAssertEqual(
            try denseTable([-3], dimension: 1).bag([0, 1], offsets: [0], pooling: .max, onInvalid: .zero), [0])
    }

    func testNoIDs() throws {
        XCTAssertEqual(try table.get().lookup([]), [])
        XCTAssertEqual(try table.get().lookup([], onInvalid: .zero), [])
    }

    // MARK: ranges

    func testDecodeOfARange() throws {
        let table = try randomDense(rows: 1000, dimension: 3, seed: 40)
        let all = try table.decode()
        for range in [0..<0, 0..<1, 999..<1000, 17..<700, 1000..<1000] {
            let part = try floats(range.count * 3) { try table.decode(range, into: $0) }
            XCTAssertEqual(part, Array(all[range.lowerBound * 3..<range.upperBound * 3]))
        }
        assertInvalidArgument("rows 1 to 1001") { _ = try floats(1) { try table.decode(1..<1001, into: $0) } }
    }

    // MARK: threads

    func testLookupAndDecodeDoNotDependOnThreads() throws {
        var generator = SeededGenerator(seed: 41)
        let format = UniformReference(dimension: 24, bits: 4, group: 8)
        let table = try randomUniform(format, rows: 500, using: &generator).table
        let route = try table.remapped(through: generator.integers(9000, in: -1..<500))
        let ids = generator.integers(20_000, in: 0..<9000)
        try assertSameForThreadCounts { try route.lookup(ids) }
        try assertSameForThreadCounts { try route.decode() }
        let single = try route.lookup(ids)
        let rows = try route.decode()
        XCTAssertEqual(single, ids.flatMap { rows[$0 * 24..<($0 + 1) * 24] })
    }

    func testWhichErrorIsReportedDoesNotDependOnThreads() throws {
        let inner = try denseTable([1, 2], dimension: 1)
        let bad: Set = [49_999, 31_000, 12_345]
        let map = try PackedMap(count: 50_000, bits: 3) { bad.contains($0) ? 7 : 0 }
        let table = Table(try Remap(.map(map, blockRows: 1, offset: 0), rows: 50_000, inner: inner.root))
        let before = Parallel.threadCount
        defer { Parallel.threadCount = before }
        for threads in [1, 2, 4, 7] {
            Parallel.threadCount = threads
            for _ in 0..<5 {
                assertFormatError(.badMapEntry(position: 12_345, entry: 7, rows: 2)) { _ = try table.decode() }
            }
        }
    }
}
