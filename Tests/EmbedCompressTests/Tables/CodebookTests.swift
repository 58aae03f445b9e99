import TestSupport
import XCTest

@testable import EmbedCompress

final class CodebookTests: XCTestCase {
    /// Every width, type of entries and scope, of a dimension.
    private func formats(_ dimension: Int) -> [CodebookReference] {
        Codebook.bitWidths.flatMap { bits in
            ScaleType.allCases.flatMap { type in
                [
                    CodebookReference(dimension: dimension, bits: bits, entryType: type),
                    CodebookReference(dimension: dimension, bits: bits, entryType: type, clusters: 3),
                    CodebookReference(dimension: dimension, bits: bits, entryType: type, clusters: 300),
                    CodebookReference(dimension: dimension, bits: bits, entryType: type, isTable: true),
                ]
            }
        }
    }

    func testRowsAreThoseOfTheReference() throws {
        var generator = SeededGenerator(seed: 20)
        for dimension in testDimensions {
            for format in formats(dimension) {
                let count = dimension > 200 ? 2 : 5
                let (rows, books) = format.random(rows: count, using: &generator)
                let table = try guardedTable(format, rows: rows, codebooks: books)
                let values = rows.flatMap { format.decode($0[...], codebooks: books) }
                XCTAssertEqual(table.storedBytes, count * format.rowBytes + books.count)
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
        var generator = SeededGenerator(seed: 21)
        for dimension in [1, 7, 33, 80] {
            for format in formats(dimension) {
                let (rows, books) = format.random(rows: 4, using: &generator)
                let table = try guardedTable(format, rows: rows, codebooks: books)
                let first = format.decode(rows[0][...], codebooks: books)
                let zeros = [Float](repeating: 0, count: dimension)
                XCTAssertEqual(try table.lookup([-1, 0, 4], onInvalid: .zero), zeros + first + zeros)
                XCTAssertEqual(
                    try table.bag([9, 0, -1], offsets: [0, 2], onInvalid: .zero), first + zeros, "\(format)")
                XCTAssertEqual(try table.remapped(through: [-1, 0]).decode(), zeros + first, "\(format)")
            }
        }
    }

    /// A row whose cluster there is not, in a file that nobody has read through.
    func testBadClustersAreErrorsOrZerosAsAsked() throws {
        for (clusters, bad) in [(3, 3), (3, 255), (257, 257), (257, 65_535), (65_537, 65_537), (65_537, 0xFF_FFFF)] {
            let format = CodebookReference(dimension: 5, bits: 2, entryType: .float32, clusters: clusters)
            let entries = [1, 2, 3, 4] + [Float](repeating: 9, count: 4 * (clusters - 1))
            let codes = [0, 1, 2, 3, 0]
            let rows = [0, bad, 0, bad].map { format.encode(codes: codes, cluster: $0) }
            let table = try guardedTable(format, rows: rows, codebooks: format.bytes(entries))
            let good: [Float] = [1, 2, 3, 4, 1]
            let zeros = [Float](repeating: 0, count: 5)
            XCTAssertEqual(try table.lookup([0, 2]), good + good)
            let error = FormatError.badCluster(row: 1, cluster: bad, clusters: clusters)
            assertFormatError(error) { _ = try table.lookup([0, 3, 1]) }
            assertFormatError(error) { _ = try table.decode() }
            for pooling in [Pooling.sum, .mean, .max] {
                assertFormatError(error) { _ = try table.bag([0, 1], offsets: [0], pooling: pooling) }
            }
            XCTAssertEqual(table.invalidCount, 0)
            XCTAssertEqual(try table.lookup([1, 0, 3], onInvalid: .zero), zeros + good + zeros)
            XCTAssertEqual(try table.bag([0, 1, -1], offsets: [0], onInvalid: .zero), good)
            XCTAssertEqual(table.invalidCount, 4)
            XCTAssertEqual(
                EmbedCompressError.format(error).description,
                "row 1 is of cluster \(bad): it must be from 0 to \(clusters - 1)")
        }
    }

    func testLargeTablesArePrefetchedAndStillRight() throws {
        // More than half a mebibyte of rows and of codebooks.
        let format = CodebookReference(dimension: 16, bits: 6, entryType: .float32, clusters: 4000)
        var generator = SeededGenerator(seed: 22)
        let (rows, books) = format.random(rows: 45_000, using: &generator)
        let table = try guardedTable(format, rows: rows, codebooks: books)
        let ids = generator.integers(3000, in: 0..<45_000)
        let expected = ids.flatMap { format.decode(rows[$0][...], codebooks: books) }
        XCTAssertEqual(try table.lookup(ids), expected)
        let offsets = Array(stride(from: 0, to: 3000, by: 70))
        assertAgree(
            try table.bag(ids, offsets: offsets),
            BagReference(expected, dimension: 16).pool(Array(ids.indices), offsets: offsets), terms: 70)
        try assertSameForThreadCounts { try table.bag(ids, offsets: offsets) }
    }

    func testExtremeEntries() throws {
        for type in ScaleType.allCases {
            for bits in Codebook.bitWidths {
                let format = CodebookReference(dimension: 2, bits: bits, entryType: type)
                for entry: Float in [65504, -65504, 0x1p-24, -0x1p-14, 0] {
                    let entries = [Float](repeating: 1, count: format.entryCount - 1) + [entry]
                    let row = format.encode(codes: [format.entryCount - 1, 0], entries: entries)
                    let table = try guardedTable(format, rows: [row, row])
                    XCTAssertEqual(try table.decode(), [entry, 1, entry, 1], "\(format)")
                    XCTAssertEqual(try table.bag([0, 1], offsets: [0]), [2 * entry, 2], "\(format)")
                }
            }
        }
    }

    // MARK: Layouts

    func testRowBytesAreThoseOfTheFormula() throws {
        for (dimension, bits, type, scope, clusters, bytes): (Int, Int, ScaleType, Codebook.Scope, Int?, Int) in [
            (64, 4, .float16, .row, nil, 64), (64, 4, .float32, .row, nil, 96), (3, 1, .float16, .row, nil, 5),
            (300, 8, .float16, .row, nil, 812), (64, 4, .float16, .cluster, 1, 33),
            (64, 4, .float16, .cluster, 256, 33), (64, 4, .float16, .cluster, 257, 34),
            (64, 4, .float16, .cluster, 65_536, 34), (64, 4, .float16, .cluster, 65_537, 35),
            (64, 4, .float16, .cluster, 1 << 24, 35), (64, 4, .float16, .cluster, 1 << 24 + 1, 36),
            (64, 4, .float16, .cluster, 1 << 32, 36), (7, 3, .float32, .table, nil, 3),
        ] {
            let layout = try Codebook.Layout(
                dimension: dimension, bits: bits, entryType: type, scope: scope, clusters: clusters)
            XCTAssertEqual(layout.rowBytes, bytes)
        }
    }

    func testLayoutsThatCannotBe() {
        for bits in [0, 9, 16, -1] {
            assertInvalidArgument("bits must be 1 to 8, not \(bits)") {
                _ = try Codebook.Layout(dimension: 4, bits: bits, entryType: .float16, scope: .row)
            }
        }
        assertInvalidArgument("columns, not 0") {
            _ = try Codebook.Layout(dimension: 0, bits: 4, entryType: .float16, scope: .row)
        }
        for (scope, clusters): (Codebook.Scope, Int?) in [
            (.row, 1), (.table, 1), (.cluster, nil), (.cluster, 0), (.cluster, -1), (.cluster, 1 << 32 + 1),
        ] {
            assertInvalidArgument("clusters must be from 1 to 4294967296") {
                _ = try Codebook.Layout(
                    dimension: 4, bits: 4, entryType: .float16, scope: scope, clusters: clusters)
            }
        }
    }

    func testCodebooksOfAnotherSizeAreRefused() throws {
        let shared = try Codebook.Layout(dimension: 2, bits: 1, entryType: .float16, scope: .cluster, clusters: 2)
        let own = try Codebook.Layout(dimension: 2, bits: 1, entryType: .float16, scope: .row)
        func bytes(_ count: Int) throws -> Bytes { Bytes(try ByteStorage.allocate(count)) }
        assertInvalidArgument("codebooks need") { _ = try Codebook(bytes(2), rows: 1, layout: shared) }
        assertInvalidArgument("codebooks need") {
            _ = try Codebook(bytes(2), rows: 1, layout: shared, codebooks: bytes(7))
        }
        assertInvalidArgument("codebooks need") {
            _ = try Codebook(bytes(5), rows: 1, layout: own, codebooks: bytes(0))
        }
    }

    func testDescription() throws {
        func description(_ format: CodebookReference) throws -> String {
            var generator = SeededGenerator(seed: 23)
            let (rows, books) = format.random(rows: 1000, using: &generator)
            let table = try guardedTable(format, rows: rows, codebooks: books)
            let codebook = try XCTUnwrap(table.expression as? Codebook)
            XCTAssertEqual(codebook.clusters, format.clusters ?? 0)
            XCTAssertEqual(codebook.scope.rawValue, format.scope)
            XCTAssertEqual(Table(codebook).storedBytes, table.storedBytes)
            return table.description
        }
        XCTAssertEqual(
            try description(CodebookReference(dimension: 64, bits: 4)),
            """
            Codebook 4-bit, 16 f16 entries per row  [1000 x 64]  64,000 bytes
            = 64,000 bytes, 25.00 % of f32
            """)
        XCTAssertEqual(
            try description(CodebookReference(dimension: 64, bits: 4, entryType: .float32, clusters: 1200)),
            """
            Codebook 4-bit, 16 f32 entries for each of 1,200 clusters  [1000 x 64]  110,800 bytes
            = 110,800 bytes, 43.28 % of f32
            """)
        XCTAssertEqual(
            try description(CodebookReference(dimension: 64, bits: 2, isTable: true)),
            """
            Codebook 2-bit, 4 f16 entries per table  [1000 x 64]  16,008 bytes
            = 16,008 bytes, 6.25 % of f32
            """)
    }
}
