import TestSupport
import XCTest

@testable import EmbedCompress

/// A table of these rows of `Product`, all on guarded memory.
func guardedTable(_ format: ProductReference, rows: [[UInt8]], codebooks: [Float]) throws -> Table {
    let memory = try GuardedMemory(rows.flatMap { $0 })
    let books = try GuardedMemory(format.bytes(codebooks))
    let tree =
        #"{"kind":"product","rows":\#(rows.count),"dimension":\#(format.dimension),"parts":\#(format.parts),"#
        + #""bits":\#(format.bits),"mode":"\#(format.mode)","element":"\#(format.element.rawValue)","#
        + #""tensors":{"rows":"rows","codebooks":"books"}}"#
    let arrays = [
        LentArray(
            name: "rows", type: .u8, shape: [rows.count, format.rowBytes], data: UnsafeRawPointer(memory.base)),
        LentArray(
            name: "books", type: format.element == .float16 ? .f16 : .f32, shape: [format.elementCount],
            data: UnsafeRawPointer(books.base)),
    ]
    return try Table(tree: tree, arrays: arrays) { withExtendedLifetime((memory, books)) {} }
}

final class ProductTests: XCTestCase {
    /// Parts of every width that kernels tell apart, at several widths of codes.
    private func formats(_ dimension: Int) -> [ProductReference] {
        let widths = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 40]
        let counts = Set(widths.map { max(dimension / $0, 1) } + [min(dimension, 3), min(dimension, 6)])
        return counts.sorted().flatMap { parts in
            ScaleType.allCases.flatMap { element in
                (dimension > 70 ? [3, 8] : [1, 8, 11]).map { bits in
                    ProductReference(dimension: dimension, parts: parts, bits: bits, element: element)
                }
            }
        }
            + ScaleType.allCases.flatMap { element in
                [(1, 8), (3, 4), (5, dimension > 70 ? 3 : 9)].map { parts, bits in
                    ProductReference(dimension: dimension, parts: parts, bits: bits, isSum: true, element: element)
                }
            }
    }

    func testRowsAreThoseOfTheReference() throws {
        var generator = SeededGenerator(seed: 30)
        for dimension in testDimensions {
            for format in formats(dimension) {
                let count = 4
                let (rows, books) = format.random(rows: count, using: &generator)
                let table = try guardedTable(format, rows: rows, codebooks: books)
                let values = rows.flatMap { format.decode($0, codebooks: books) }
                let bookBytes = books.count * (format.element == .float16 ? 2 : 4)
                XCTAssertEqual(table.storedBytes, count * format.rowBytes + bookBytes)
                XCTAssertEqual(try table.decode(), values, "decode \(format)")

                let ids = [count - 1, 0, 0, 1]
                let expected = ids.flatMap { values[$0 * dimension..<($0 + 1) * dimension] }
                XCTAssertEqual(try table.lookup(ids), expected, "lookup \(format)")
                XCTAssertEqual(try table.slice(1..<count).decode(), Array(values[dimension...]), "slice \(format)")

                let reference = BagReference(values, dimension: dimension)
                let calls: [(Pooling, [Float]?)] = [
                    (.sum, [1, -0.5, 2, 0.25]), (.sum, nil), (.mean, nil), (.max, nil),
                ]
                for (pooling, weights) in calls {
                    assertAgree(
                        try table.bag(ids, offsets: [0, 1, 1], pooling: pooling, weights: weights),
                        reference.pool(ids, offsets: [0, 1, 1], pooling: pooling, weights: weights), terms: 8,
                        "bag \(format)")
                }
            }
        }
    }

    func testIDsWithoutARowAreZeros() throws {
        var generator = SeededGenerator(seed: 31)
        for dimension in [1, 7, 33, 80] {
            for format in formats(dimension) {
                let (rows, books) = format.random(rows: 4, using: &generator)
                let table = try guardedTable(format, rows: rows, codebooks: books)
                let first = format.decode(rows[0], codebooks: books)
                let zeros = [Float](repeating: 0, count: dimension)
                XCTAssertEqual(try table.lookup([-1, 0, 4], onInvalid: .zero), zeros + first + zeros)
                XCTAssertEqual(
                    try table.bag([9, 0, -1], offsets: [0, 2], onInvalid: .zero), first + zeros, "\(format)")
                XCTAssertEqual(try table.remapped(through: [-1, 0]).decode(), zeros + first, "\(format)")
            }
        }
    }

    func testLongBagsAreSummedInPieces() throws {
        var generator = SeededGenerator(seed: 32)
        for isSum in [false, true] {
            let format = ProductReference(dimension: 21, parts: 5, bits: 6, isSum: isSum)
            let (rows, books) = format.random(rows: 50, using: &generator)
            let table = try guardedTable(format, rows: rows, codebooks: books)
            let values = rows.flatMap { format.decode($0, codebooks: books) }
            let ids = generator.integers(1500, in: 0..<50)
            let offsets = [0, 3, 3, 700, 701, 1499]
            let weights = generator.normals(ids.count)
            for weights in [nil, weights] {
                assertAgree(
                    try table.bag(ids, offsets: offsets, weights: weights),
                    BagReference(values, dimension: 21).pool(ids, offsets: offsets, pooling: .sum, weights: weights),
                    terms: 4000)
            }
            try assertSameForThreadCounts { try table.bag(ids, offsets: offsets, weights: weights) }
        }
    }

    func testLayoutsThatCanNotBeAreRefused() throws {
        for (dimension, parts, bits) in [(0, 1, 8), (4, 0, 8), (4, 5, 8), (4, 2, 0), (4, 2, 17)] {
            assertInvalidArgument("not") {
                _ = try Product.Layout(
                    dimension: dimension, parts: parts, bits: bits, mode: .concatenate, element: .float16)
            }
        }
        XCTAssertNoThrow(try Product.Layout(dimension: 4, parts: 5, bits: 8, mode: .sum, element: .float16))
    }
}
