import TestSupport
import XCTest

@testable import EmbedCompress

final class FusedRowsTests: XCTestCase {
    private let formats: [(FusedRowLayout, Int, ScaleType)] = [
        (.torch, 8, .float32), (.torch, 4, .float16), (.torch, 2, .float16), (.fbgemm, 8, .float32),
        (.fbgemm, 8, .float16), (.fbgemm, 4, .float16), (.fbgemm, 2, .float16), (.tbe, 8, .float16),
        (.tbe, 4, .float16), (.tbe, 2, .float16),
    ]

    /// Rows of a `Uniform` table: codes, scale, bias.
    private func plainRows(_ bits: Int, _ scaleType: ScaleType, dimension: Int, count: Int) -> [[UInt8]] {
        var generator = SeededGenerator(seed: UInt64(bits * dimension + count))
        let format = UniformReference(dimension: dimension, bits: bits, scaleType: scaleType)
        return (0..<count).map { _ in format.random(using: &generator) }
    }

    func testRowsComeAndGoByteForByte() throws {
        for (layout, bits, scaleType) in formats {
            for (dimension, alignment) in [(4, 1), (16, 1), (20, 3), (64, 16), (300, 64)] {
                let alignment = layout == .tbe ? alignment : 1
                let rows = plainRows(bits, scaleType, dimension: dimension, count: 9)
                let codeBytes = dimension * bits / 8
                let fused = rows.map { row -> [UInt8] in
                    guard layout == .tbe else { return row }
                    let found = Array(row[codeBytes...] + row[..<codeBytes])
                    return found + [UInt8](repeating: 0, count: (alignment - found.count % alignment) % alignment)
                }
                let table = try Table(
                    fusedRows: fused.flatMap { $0 }, dimension: dimension, bits: bits, layout: layout,
                    scaleType: scaleType, rowAlignment: alignment)
                XCTAssertEqual(try storedRows(table), rows)
                XCTAssertEqual(try table.fusedRows(layout: layout, rowAlignment: alignment), fused.flatMap { $0 })
                XCTAssertEqual(
                    try table.aligned(to: 64).fusedRows(layout: layout, rowAlignment: alignment),
                    fused.flatMap { $0 })
            }
        }
    }

    func testLentRowsAreUsedWhereTheyLieOrGivenBackAtOnce() throws {
        for layout in FusedRowLayout.allCases {
            let memory = try GuardedMemory([UInt8](repeating: 0, count: 5 * 12))
            var released = 0
            var table: Table? = try Table(
                fusedRows: UnsafeRawPointer(memory.base), rows: 5, rowBytes: 12, dimension: 16, bits: 4, layout: layout,
                scaleType: nil, rowAlignment: 1
            ) { released += 1 }
            XCTAssertEqual(released, layout == .tbe ? 1 : 0)
            let found = try table?.lentFusedRows(layout: layout, rowAlignment: 1)
            XCTAssertEqual(found?.rowBytes, 12)
            XCTAssertEqual(found?.data, layout == .tbe ? nil : UnsafeRawPointer(memory.base))
            table = nil
            XCTAssertEqual(released, 1)
        }
    }

    func testWhatIsRefused() throws {
        let zeros = [UInt8](repeating: 0, count: 36)
        for (text, call) in [
            ("36 bytes are not whole rows of 13 bytes", { try Table(fusedRows: zeros, dimension: 18, bits: 4) }),
            ("a multiple of 2, not 15", { try Table(fusedRows: zeros, dimension: 15, bits: 4) }),
            ("dimension must be at least 1, not 0", { try Table(fusedRows: zeros, dimension: 0, bits: 4) }),
            ("from 1 to 1048576 columns", { try Table(fusedRows: zeros, dimension: Int.max, bits: 4) }),
            ("codes of 8, 4 and 2 bits, not 3", { try Table(fusedRows: zeros, dimension: 16, bits: 3) }),
            (
                "'torch' has f16 scales at 4 bits, not f32",
                { try Table(fusedRows: zeros, dimension: 16, bits: 4, scaleType: .float32) }
            ),
            ("not aligned", { try Table(fusedRows: zeros, dimension: 16, bits: 4, rowAlignment: 16) }),
            (
                "row_alignment must be at least 1, not 0",
                { try Table(fusedRows: zeros, dimension: 16, bits: 4, layout: .tbe, rowAlignment: 0) }
            ),
        ] as [(String, () throws -> Table)] {
            assertInvalidArgument(text) { _ = try call() }
        }
        XCTAssertThrowsError(
            try Table(fusedRows: zeros, dimension: 16, bits: 4, layout: .tbe, rowAlignment: Int.max))
        var strange = zeros
        (strange[34], strange[35]) = (0, 0x7C)
        assertInvalidArgument("row 2 has the bias inf; scales and biases must be finite") {
            _ = try Table(fusedRows: strange, dimension: 16, bits: 4)
        }
        let dense = try randomDense(rows: 3, dimension: 16, seed: 1)
        for (table, text) in [
            (dense, "this one is 'dense'"), (try dense.compressed("table"), "a scale and a bias of its own"),
            (try dense.compressed("asym", ["group": 8]), "for every 8 of their 16 columns"),
            (try dense.compressed("asym", ["bits": 8]), "'torch' has f32 scales at 8 bits, not f16"),
        ] {
            assertInvalidArgument(text) { _ = try table.fusedRows() }
        }
    }
}
