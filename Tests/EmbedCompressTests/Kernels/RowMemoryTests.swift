import TestSupport
import XCTest

@testable import EmbedCompress

/// Everything a caller lends ends at a page without access here: one byte too many, read or written, ends the test.
final class RowMemoryTests: XCTestCase {
    private func exercise(_ table: Table, _ message: String) throws {
        let rows = table.rows
        let dimension = table.dimension
        let wide = try GuardedMemory((0..<rows).map { Int64($0) })
        let narrow = try GuardedMemory((0..<rows).map { Int32($0) })
        let weights = try GuardedMemory([Float](repeating: 1, count: rows))
        let output = try GuardedMemory(count: rows * dimension * 4)
        let floats = output.base.bindMemory(to: Float.self, capacity: rows * dimension)
        let expected = try table.decode()
        let lists = [
            IDs(base: wide.base, count: rows, width: 8), IDs(base: narrow.base, count: rows, width: 4),
        ]
        for ids in lists {
            try table.lookup(ids, onInvalid: .raise, into: floats)
            XCTAssertEqual(output.floats(), expected, message)
            for pooling in [Pooling.sum, .mean, .max] {
                let bags = Bags(
                    ids: ids, offsets: ids,
                    weights: pooling == .sum ? weights.base.assumingMemoryBound(to: Float.self) : nil,
                    includesLastOffset: false, paddingID: -1, pooling: pooling, onInvalid: .raise)
                try table.bag(bags, into: floats)
                for (value, other) in zip(output.floats(), expected) {
                    XCTAssertEqual(value, other, accuracy: abs(other) * 1e-5 + 1e-5, message)
                }
            }
        }
        try table.decode(0..<rows, into: floats)
        XCTAssertEqual(output.floats(), expected, message)
        let last = try table.slice(rows - 1..<rows)
        XCTAssertEqual(try last.lookup([0]), Array(expected.suffix(dimension)), message)
    }

    func testUniformRowsAtTheEndOfMemory() throws {
        var generator = SeededGenerator(seed: 3)
        for dimension in testDimensions {
            for bits in Uniform.bitWidths {
                for rows in [1, 2, 70] where rows < 70 || dimension < 10 {
                    let format = UniformReference(dimension: dimension, bits: bits)
                    let table = try randomUniform(format, rows: rows, using: &generator).table
                    try exercise(table, "\(rows) rows of \(dimension), \(bits) bits")
                }
            }
        }
    }

    func testCodebooksAtTheEndOfMemory() throws {
        var generator = SeededGenerator(seed: 7)
        for dimension in testDimensions {
            for bits in Codebook.bitWidths {
                for (clusters, isTable) in [(nil, false), (1, false), (2, false), (300, false), (nil, true)] {
                    let format = CodebookReference(
                        dimension: dimension, bits: bits, entryType: bits % 2 == 0 ? .float16 : .float32,
                        clusters: clusters, isTable: isTable)
                    let (rows, books) = format.random(rows: dimension < 10 ? 20 : 2, using: &generator)
                    try exercise(guardedTable(format, rows: rows, codebooks: books), "\(format)")
                }
            }
        }
    }

    func testDenseRowsAtTheEndOfMemory() throws {
        var generator = SeededGenerator(seed: 4)
        for element in Dense.Element.allCases {
            for dimension in testDimensions {
                for rows in [1, 2, 70] where rows < 70 || dimension < 10 {
                    let values = generator.normals(rows * dimension)
                    let bytes = values.flatMap { value -> [UInt8] in
                        switch element {
                        case .float32: return withUnsafeBytes(of: value, Array.init)
                        case .float16: return withUnsafeBytes(of: HalfReference.nearest(value), Array.init)
                        case .bfloat16: return withUnsafeBytes(of: UInt16(value.bitPattern >> 16), Array.init)
                        }
                    }
                    let table = try guardedTable(element, bytes: bytes, dimension: dimension)
                    try exercise(table, "\(rows) rows of \(dimension), \(element.rawValue)")
                }
            }
        }
    }

    func testMapsAtTheEndOfMemory() throws {
        let inner = try randomDense(rows: 5, dimension: 3, seed: 5)
        let entries: [UInt64] = [4, 0, 1, 2, 3, 4, 0]
        for bits in [3, 5, 8, 17, 57] {
            let packed = try PackedMap(count: 7, bits: bits) { entries[$0] }
            let memory = try GuardedMemory([UInt8](packed.bytes.buffer))
            let bytes = Bytes(ByteStorage.lent(memory.base, count: memory.count) { withExtendedLifetime(memory) {} })
            let map = try PackedMap(bytes, bits: bits, shift: 0, count: 7)
            try exercise(
                Table(try Remap(.map(map, blockRows: 1, offset: 0), rows: 7, inner: inner.root)), "\(bits) bits")
        }
    }

    func testUnalignedMemory() throws {
        var generator = SeededGenerator(seed: 6)
        let format = UniformReference(dimension: 9, bits: 5)
        let rows = (0..<20).map { _ in format.random(using: &generator) }
        let memory = try GuardedMemory([0] + rows.flatMap { $0 })
        let layout = try Uniform.Layout(dimension: 9, bits: 5, group: nil, scaleType: .float16)
        let all = Bytes(ByteStorage.lent(memory.base, count: memory.count) { withExtendedLifetime(memory) {} })
        let table = Table(try Uniform(try XCTUnwrap(all.range(1, memory.count - 1)), rows: 20, layout: layout))
        assertAgree(try table.decode(), rows.flatMap { format.decode($0[...]) })
    }

    func testLentMemoryIsGivenBackOnceAfterTheLastTableIsGone() throws {
        var releases = 0
        do {
            let values: [Float] = [1, 2, 3, 4]
            try values.withUnsafeBytes { memory in
                var slice: Table?
                do {
                    let table = try Table(dense: memory.baseAddress, element: .float32, rows: 2, dimension: 2) {
                        releases += 1
                    }
                    slice = try table.slice(1..<2).remapped(rows: 3, modulo: 1)
                }
                XCTAssertEqual(releases, 0)
                XCTAssertEqual(try slice?.lookup([2]), [3, 4])
                slice = nil
                XCTAssertEqual(releases, 1)
                XCTAssertThrowsError(
                    try Table(dense: memory.baseAddress, element: .float32, rows: 2, dimension: 0) { releases += 1 })
                XCTAssertThrowsError(try Table(dense: nil, element: .float32, rows: 2, dimension: 2) { releases += 1 })
            }
        }
        XCTAssertEqual(releases, 1)
    }
}
