import TestSupport
import XCTest

@testable import EmbedCompress

final class TiersTests: XCTestCase {
    private let rows = 600
    private let dimension = 24

    private func source() throws -> Table {
        var generator = SeededGenerator(seed: 3)
        return try denseTable(generator.normals(rows * dimension), dimension: dimension)
    }

    private func weightedError(_ table: Table, _ source: Table, _ counts: [Double]) throws -> Double {
        zip(try table.decode(), try source.decode()).enumerated().reduce(0) {
            let difference = Double($1.element.0 - $1.element.1)
            return $0 + counts[$1.offset / dimension] * difference * difference
        }
    }

    func testTiersOfCountsThatFallAreRangesAndHaveFallingBits() throws {
        let source = try source()
        let counts = (0..<rows).map { 1 / Double($0 + 1) }
        let plain = try source.compressed("least_squares", ["bits": 3])
        let table = try source.compressed(.tiers(counts: counts, inner: .leastSquares(), bits: 3))
        let partition = try XCTUnwrap(table.expression as? Partition)
        XCTAssertNil(partition.ranks)
        XCTAssertLessThanOrEqual(table.storedBytes, plain.storedBytes)
        let bits = partition.parts.compactMap { ($0 as? Uniform)?.bits }
        XCTAssertEqual(bits.count, partition.parts.count)
        XCTAssertEqual(bits, bits.sorted(by: >))
        XCTAssertLessThan(
            try weightedError(table, source, counts), 0.5 * (try weightedError(plain, source, counts)))
    }

    func testAMapIsCountedWhereCountsAreInNoOrder() throws {
        let source = try source()
        let counts = (0..<rows).map { 1 / Double($0 * 37 % rows + 1) }
        let plain = try source.compressed("least_squares", ["bits": 3])
        let table = try source.compressed("tiers", ["counts": .numbers(counts), "inner": "least_squares", "bits": 3])
        let partition = try XCTUnwrap(table.expression as? Partition)
        XCTAssertEqual(partition.ownBytes, PartRanks.byteCount(ids: rows, parts: partition.parts.count))
        XCTAssertLessThanOrEqual(table.storedBytes, plain.storedBytes)
        XCTAssertLessThan(
            try weightedError(table, source, counts), 0.6 * (try weightedError(plain, source, counts)))
        let ids = [599, 0, 37, 37, 12]
        let values = try table.decode()
        XCTAssertEqual(try table.lookup(ids), ids.flatMap { values[$0 * dimension..<($0 + 1) * dimension] })
    }

    func testFractionsOfBitsAreInProportion() throws {
        let source = try source()
        for bits in [1.0, 1.5, 2.25, 7.9] {
            let table = try source.compressed("tiers", ["inner": "least_squares", "bits": .number(bits), "tiers": 2])
            let most = (Double(dimension) * bits / 8 + 4) * Double(rows)
            XCTAssertLessThanOrEqual(Double(table.storedBytes), most)
            XCTAssertGreaterThan(Double(table.storedBytes), 0.95 * most)
        }
    }

    func testASampleHasTheTiersOfTheWhole() throws {
        let source = try source()
        let sample = try source.slice(0..<200)
        let options: [String: OptionValue] = ["budget": .integer(rows * 13), "inner": "least_squares"]
        let small = try Method.named("tiers").compress(sample, options, countedRows: rows)
        XCTAssertLessThanOrEqual(small.storedBytes, 200 * 13 + 200)
    }
}
