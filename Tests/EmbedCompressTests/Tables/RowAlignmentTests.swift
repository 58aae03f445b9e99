import Foundation
import TestSupport
import XCTest

@testable import EmbedCompress

final class RowAlignmentTests: XCTestCase {
    /// A table of every kind of rows, with the bytes of a row without padding and those beside the rows.
    private func tables(dimension: Int) throws -> [(table: Table, rowBytes: Int, sharedBytes: Int)] {
        let source = try randomDense(rows: 37, dimension: dimension, seed: UInt64(dimension))
        func codes(_ bits: Int) -> Int { (dimension * bits + 7) / 8 }
        let groups = (dimension + 7) / 8
        return [
            (source, dimension * 4, 0),
            (try source.compressed("asym", ["bits": 4]), codes(4) + 4, 0),
            (
                try source.compressed("asym", ["bits": 3, "group": 8, "scale_dtype": "f32"]), codes(3) + groups * 8, 0
            ),
            (try source.compressed("table", ["bits": 8]), codes(8), 8),
            (try source.compressed("kmeans", ["bits": 2]), codes(2) + 8, 0),
            (try source.compressed("pq", ["parts": 1, "bits": 5]), 1, dimension * 32 * 2),
            (
                try source.compressed("rq", ["parts": 3, "bits": 2, "entry_dtype": "f32"]), 1, 3 * dimension * 4 * 4
            ),
            (try source.compressed("kmeans_cls", ["bits": 4, "clusters": 3]), codes(4) + 1, 3 * 32),
        ]
    }

    func testAlignedRowsAreTheSameBitForBit() throws {
        let ids = [36, 0, 5, 5, 36, 12, 1, 35]
        for dimension in [1, 3, 16, 33, 64, 300] {
            for (table, rowBytes, sharedBytes) in try tables(dimension: dimension) {
                for alignment in RowSpacing.alignments {
                    let aligned = try table.aligned(to: alignment)
                    let padded = (rowBytes + alignment - 1) / alignment * alignment
                    XCTAssertEqual(aligned.storedBytes, 37 * padded + sharedBytes, "\(table) \(alignment)")
                    XCTAssertEqual(try aligned.decode(), try table.decode(), "\(table) \(alignment)")
                    XCTAssertEqual(try aligned.lookup(ids), try table.lookup(ids))
                    for mode in [Pooling.sum, .mean, .max] {
                        XCTAssertEqual(
                            try aligned.bag(ids, offsets: [0, 3, 3], pooling: mode),
                            try table.bag(ids, offsets: [0, 3, 3], pooling: mode))
                    }
                    let slice = try aligned.slice(30..<37)
                    XCTAssertEqual(try slice.decode(), try table.slice(30..<37).decode())
                    XCTAssertEqual(try slice.aligned(to: 1).storedBytes, 7 * rowBytes + sharedBytes)
                    let copy = try Table(tree: aligned.treeText(), arrays: aligned.lentArrays()) {}
                    XCTAssertEqual(try copy.decode(), try table.decode())
                    XCTAssertEqual(try aligned.quality(against: table).normalizedL2, 0)
                }
            }
        }
    }

    func testPaddingIsZeros() throws {
        let table = try randomDense(rows: 9, dimension: 10, seed: 1).compressed("asym", ["bits": 4])
        for (row, stored) in zip(try storedRows(table), try storedRows(table.aligned(to: 16))) {
            XCTAssertEqual(stored, row + [UInt8](repeating: 0, count: 16 - 9))
        }
        let dense = try denseTable([1, 2, 3], dimension: 3).aligned(to: 16)
        XCTAssertEqual(dense.parts().arrays.map(\.shape), [[1, 4]])
    }

    func testMemoryStartsAtACacheLine() throws {
        let table = try randomDense(rows: 9, dimension: 10, seed: 2).aligned(to: 64)
        let slice = try table.slice(1..<9)
        XCTAssertEqual(try slice.rowLayouts().map(\.current.linesPerRow), [1])
        let unaligned = try randomDense(rows: 9, dimension: 10, seed: 2).slice(1..<9)
        for array in try unaligned.aligned(to: 1).parts().arrays {
            XCTAssertEqual(UInt(bitPattern: array.bytes.pointer) % 64, 0)
        }
        // And is not copied again.
        XCTAssertEqual(
            try table.aligned(to: 64).parts().arrays[0].bytes.pointer, table.parts().arrays[0].bytes.pointer)
    }

    func testRoutesAlignWhatTheyLeadTo() throws {
        let table = try randomDense(rows: 9, dimension: 10, seed: 3).compressed("asym", ["bits": 4])
        let route = try table.remapped(through: [8, -1, 0]).remapped(rows: 6, modulo: 3)
        let aligned = try route.aligned(to: 32)
        XCTAssertEqual(aligned.storedBytes, 2 + 9 * 32, "3 entries of 4 bits")
        XCTAssertEqual(try aligned.decode(), try route.decode())
        XCTAssertEqual(try aligned.rowLayouts().map(\.path), ["inner.inner"])
    }

    func testTheDescriptionSaysSo() throws {
        let table = try denseTable([1, 2, 3], dimension: 3).compressed("asym", ["bits": 8]).aligned(to: 16)
        XCTAssertEqual(
            table.description,
            """
            Uniform 8-bit, f16 scale and bias per row, rows aligned to 16 bytes  [1 x 3]  16 bytes
            = 16 bytes, 133.33 % of f32
            """)
    }

    func testLinesPerRow() throws {
        var generator = SeededGenerator(seed: 4)
        for _ in 0..<300 {
            let bytes = generator.integers(1, in: 1..<300)[0]
            let rows = generator.integers(1, in: 1..<200)[0]
            let address = UInt(generator.integers(1, in: 0..<4096)[0])
            let spacing = try RowSpacing(
                unpaddedBytes: bytes, alignment: RowSpacing.alignments[generator.integers(1, in: 0..<7)[0]])
            let lines = (0..<rows).reduce(0) { total, row in
                let start = Int(address) + row * spacing.rowBytes
                return total + Set((start..<start + bytes).map { $0 / 64 }).count
            }
            XCTAssertEqual(
                spacing.linesPerRow(address: address, rows: rows), Double(lines) / Double(rows), accuracy: 1e-12)
        }
        XCTAssertEqual(try RowSpacing(unpaddedBytes: 36, alignment: 1).linesPerRow(address: 0, rows: 0), 0)
        // The 4-bit row of 64 columns: it crosses a line from 8 of the 16 places, multiples of 4, where it can start.
        XCTAssertEqual(try RowSpacing(unpaddedBytes: 36, alignment: 1).linesPerRow(address: 0, rows: 1600), 1.5)
    }

    func testRowLayouts() throws {
        let table = try randomDense(rows: 160, dimension: 64, seed: 5).compressed("asym", ["bits": 4])
        let layout = try XCTUnwrap(table.rowLayouts().first)
        XCTAssertEqual([layout.rows, layout.unpaddedRowBytes, layout.current.storedBytes], [160, 36, 160 * 36])
        XCTAssertEqual(layout.choices.map(\.rowAlignment), [1, 16, 32, 64])
        XCTAssertEqual(layout.choices.map(\.rowBytes), [36, 48, 64, 64])
        XCTAssertEqual(layout.choices.map(\.linesPerRow), [1.5, 1.5, 1, 1])
        XCTAssertEqual(layout.choices.map(\.storedBytes), [36, 48, 64, 64].map { 160 * $0 })
        for choice in layout.choices {
            let aligned = try table.aligned(to: choice.rowAlignment)
            XCTAssertEqual(try aligned.rowLayouts().first?.current, choice)
        }
    }

    func testAlignmentsThatCannotBe() throws {
        let table = try denseTable([1, 2, 3], dimension: 3)
        for alignment in [0, 3, 128, -1] {
            assertInvalidArgument("row_alignment must be 1, 2, 4, 8, 16, 32 or 64, not \(alignment)") {
                _ = try table.aligned(to: alignment)
            }
        }
    }

    func testProgressAndStopping() throws {
        let table = try randomDense(rows: 40_000, dimension: 64, seed: 6)
        let seen = Recorder()
        _ = try table.aligned(to: 64, progress: seen.add)
        XCTAssertEqual(seen.last?.done, 40_000)
        XCTAssertEqual(seen.last?.total, 40_000)
        XCTAssertTrue(seen.isSane)
        assertThrows(.cancelled) { _ = try table.slice(1..<40_000).aligned(to: 32, progress: { _, _ in false }) }
    }
}
