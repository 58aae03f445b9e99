import TestSupport
import XCTest

@testable import EmbedCompress

final class GroupQuantizeTests: XCTestCase {
    private let kinds: [MatrixGroups] = [
        .tensor, .rows(groups: 3), .rows(groups: 100), .columns(groups: 4), .columns(groups: 200), .blocks(columns: 8),
        .blocks(columns: 24), .blocks(columns: nil),
    ]
    private let shapes = [(1, 1), (1, 33), (5, 8), (17, 9), (7, 65), (40, 300), (300, 17)]

    func testRowsAndBytesAreThoseOfTheReference() throws {
        for (rows, columns) in shapes {
            var generator = SeededGenerator(seed: UInt64(rows * columns))
            let values = generator.normals(rows * columns)
            for (groups, bits) in zip(kinds, [1, 2, 3, 4, 5, 6, 7, 8]) {
                for scaleType in ScaleType.allCases {
                    let reference = GroupReference(
                        groups, rows: rows, columns: columns, bits: bits, scaleType: scaleType)
                    let (scales, biases) = reference.minMax(values)
                    let table = try denseTable(values, dimension: columns)
                    let found = try table.groupRanges(bits: bits, groups: groups, scaleType: scaleType)
                    XCTAssertEqual(found.scales, scales, "\(groups) of \(rows) x \(columns)")
                    XCTAssertEqual(found.biases, biases, "\(groups) of \(rows) x \(columns)")
                    let quantized = try table.groupQuantized(bits: bits, groups: groups, scaleType: scaleType)
                    XCTAssertEqual(
                        quantized.storedBytes,
                        try groups.storedBytes(rows: rows, columns: columns, bits: bits, scaleType: scaleType))
                    let expected = reference.decoded(values, scales: scales, biases: biases)
                    // Where a level may fuse, the product is not rounded before the sum.
                    for (one, other) in zip(try quantized.decode(), expected) {
                        XCTAssertEqual(one, other, accuracy: 1e-6)
                    }
                    let given = try table.groupQuantized(
                        bits: bits, groups: groups, scales: scales, biases: biases, scaleType: scaleType)
                    XCTAssertEqual(try given.decode(), try quantized.decode())
                }
            }
        }
    }

    func testLeastSquaresIsNotWorseInAnyGroup() throws {
        var generator = SeededGenerator(seed: 1)
        let (rows, columns, bits) = (24, 40, 2)
        let values = generator.normals(rows * columns).map { $0 * $0 * $0 }
        let table = try denseTable(values, dimension: columns)
        for groups in kinds {
            let reference = GroupReference(groups, rows: rows, columns: columns, bits: bits, scaleType: .float16)
            func errors(_ ranges: GroupRanges) throws -> [Float] {
                var sums = [Float](repeating: 0, count: reference.count)
                let decoded = try table.groupQuantized(bits: bits, groups: groups, ranges: ranges).decode()
                for (place, value) in values.enumerated() {
                    let error = decoded[place] - value
                    sums[reference.group(row: place / columns, column: place % columns)] += error * error
                }
                return sums
            }
            for (least, plain) in zip(try errors(.leastSquares), try errors(.minMax)) {
                XCTAssertLessThanOrEqual(least, plain * 1.00001 + 1e-12, "\(groups)")
            }
        }
    }

    func testResultsAreTheSameForAnyNumberOfThreads() throws {
        let table = try randomDense(rows: 2000, dimension: 40, seed: 2)
        for groups in kinds {
            try assertSameForThreadCounts { try table.groupQuantized(bits: 3, groups: groups).decode() }
        }
    }

    func testRowsAreReadWithinTheirMemory() throws {
        // Blocks of 8 columns end in the middle of the sixteen that are read at a time.
        let values = (0..<16 * 32).map { Float($0) }
        let bytes = values.withUnsafeBytes { Array($0) }
        let table = try guardedTable(.float32, bytes: bytes, dimension: 16)
        XCTAssertEqual(
            try table.groupQuantized(groups: .blocks(columns: 8)).decode(),
            try denseTable(values, dimension: 16).groupQuantized(groups: .blocks(columns: 8)).decode())
        XCTAssertEqual(
            try table.compressed("asym", ["group": 8]).decode(),
            try denseTable(values, dimension: 16).compressed("asym", ["group": 8]).decode())
    }

    func testBadOptionsAndValues() throws {
        let table = try denseTable([1, 2, 3, 4, 5, 1e6], dimension: 2)
        for (text, call) in [
            ("bits must be an integer from 1 to 8, not 9", { try table.groupQuantized(bits: 9) }),
            ("groups must be an integer of at least 1, not 0", { try table.groupQuantized(groups: .rows(groups: 0)) }),
            ("block must be a multiple of 8, not 12", { try table.groupQuantized(groups: .blocks(columns: 12)) }),
            ("scale_dtype='f32' holds larger ones", { try table.groupQuantized(groups: .rows(groups: 1)) }),
            ("for each of 3 groups", { try table.groupQuantized(groups: .rows(groups: 3), scales: [1], biases: [0]) }),
            (
                "a scale or a bias is not finite",
                { try table.groupQuantized(groups: .tensor, scales: [.nan], biases: [0]) }
            ),
        ] as [(String, () throws -> Table)] {
            assertInvalidArgument(text) { _ = try call() }
        }
        for ranges in GroupRanges.allCases {
            for groups in kinds {
                let strange = try denseTable([1, 2, 3, .nan, .infinity, 6], dimension: 2)
                assertInvalidArgument("row 1 has a value that is not finite") {
                    _ = try strange.groupQuantized(groups: groups, ranges: ranges)
                }
            }
        }
        assertInvalidArgument("group must be one of tensor, rows, columns, blocks, not 'heads'") {
            _ = try MatrixGroups(named: "heads", groups: 1, block: nil)
        }
        XCTAssertThrowsError(try MatrixGroups.blocks(columns: 8).grid(rows: Int.max, columns: 9))
    }

    func testAMatrixWithoutRows() throws {
        for groups in kinds {
            for ranges in GroupRanges.allCases {
                let table = try denseTable([], dimension: 9).groupQuantized(groups: groups, ranges: ranges)
                XCTAssertEqual(table.rows, 0)
                XCTAssertEqual(table.dimension, 9)
            }
        }
    }

    func testACallThatIsStopped() throws {
        let table = try randomDense(rows: 5000, dimension: 40, seed: 3)
        for ranges in GroupRanges.allCases {
            assertThrows(.cancelled) { _ = try table.groupQuantized(ranges: ranges) { _, _ in false } }
        }
    }
}
