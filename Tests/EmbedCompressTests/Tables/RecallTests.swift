import TestSupport
import XCTest

@testable import EmbedCompress

final class RecallTests: XCTestCase {
    /// Every neighbour is as near as the one that the reference has in its place, but for rounding to f32.
    func testNeighboursAreThoseOfTheReference() throws {
        for (rows, dimension, queryCount, k) in [
            (1, 1, 1, 1), (2, 3, 2, 1), (17, 1, 17, 3), (95, 7, 5, 4), (97, 16, 40, 10), (500, 33, 513, 10),
            (2500, 50, 16, 12), (300, 300, 31, 299), (40, 5, 3, 100),
        ] {
            let source = try randomDense(rows: rows, dimension: dimension, seed: UInt64(rows))
            let copy = try source.compressed("asym", ["bits": 4])
            let queries = (0..<queryCount).map { $0 * 7 % rows }
            for table in [source, copy] {
                let found = try table.neighbours(of: queries, in: source, k: k)
                let wanted = NeighbourReference.ranked(
                    try table.decode(), source: try source.decode(), dimension: dimension, queries: queries)
                for (query, (found, wanted)) in zip(found, wanted).enumerated() {
                    let message = "\(rows) x \(dimension), query \(query)"
                    XCTAssertEqual(found.count, min(k, rows - 1), message)
                    XCTAssertEqual(Set(found).count, found.count, message)
                    XCTAssertFalse(found.contains(queries[query]), message)
                    let cosines = Dictionary(uniqueKeysWithValues: wanted.map { ($0.row, $0.cosine) })
                    for (place, row) in found.enumerated() {
                        XCTAssertEqual(cosines[row] ?? .nan, wanted[place].cosine, accuracy: 1e-5, message)
                    }
                }
            }
        }
    }

    /// Rows that are alike but for their lengths, in powers of two: cosines are equal to the last bit.
    func testOfEqualNeighboursTheFirstIsNearest() throws {
        let rows = 700
        let values = (0..<rows).flatMap { row -> [Float] in
            let length = Float(1 << (row % 9))
            return row % 2 == 0 ? [length, 2 * length, -length] : [length, length, 0]
        }
        let table = try denseTable(values, dimension: 3)
        let found = try table.neighbours(of: [0, 1, 4, 699], in: table, k: 4)
        XCTAssertEqual(found, [[2, 4, 6, 8], [3, 5, 7, 9], [0, 2, 6, 8], [1, 3, 5, 7]])
    }

    func testRowsOfZerosAndRowsThatAreNotFinite() throws {
        let table = try denseTable([1, 0, 0, 0, -1, 0, .nan, 1, .infinity, 0, 2, 1], dimension: 2)
        let found = try table.neighbours(of: [0, 1, 3], in: table, k: 9)
        // A row of zeros has cosine 0 with all others.
        XCTAssertEqual(found, [[5, 1, 2], [0, 2, 5], []])
        XCTAssertEqual(
            try denseTable([1e30, 1e30, 1e-30, 0, 1e-30, 1e-30], dimension: 2)
                .neighbours(of: [0], in: denseTable([1, 1], dimension: 2), k: 2), [[2, 1]])
    }

    func testRecallIsTheShareThatIsKept() throws {
        let source = try randomDense(rows: 400, dimension: 12, seed: 5)
        let values = try source.decode()
        for bits in [1, 2, 4] {
            let copy = try source.compressed("asym", ["bits": .integer(bits)])
            let found = try XCTUnwrap(try copy.quality(against: source, queries: 1000, k: 7).recall)
            let all = Array(0..<400)
            let exact = NeighbourReference.ranked(values, source: values, dimension: 12, queries: all)
            let kept = NeighbourReference.ranked(try copy.decode(), source: values, dimension: 12, queries: all)
            let shares = zip(exact, kept).map { exact, kept in
                Double(Set(exact.prefix(7).map(\.row)).intersection(kept.prefix(7).map(\.row)).count) / 7
            }
            XCTAssertEqual(found, shares.reduce(0, +) / 400, accuracy: 0.002)
        }
        XCTAssertEqual(try source.quality(against: source, queries: 20).recall, 1)
    }

    func testWhenThereIsNoRecall() throws {
        let source = try randomDense(rows: 10, dimension: 4, seed: 6)
        XCTAssertNil(try source.quality(against: source).recall)
        XCTAssertNil(try source.quality(against: source, queries: 5, k: 10).recall)
        XCTAssertEqual(try source.quality(against: source, queries: 5, k: 9).recall, 1)
        assertInvalidArgument("queries must not be negative, not -1") {
            _ = try source.quality(against: source, queries: -1)
        }
        assertInvalidArgument("k must be at least 1, not 0") {
            _ = try source.quality(against: source, queries: 1, k: 0)
        }
        assertThrows(.invalidID(position: 0, id: 10, rows: 10)) {
            _ = try source.neighbours(of: [10], in: source, k: 1)
        }
    }

    func testTheSeedChoosesQueries() throws {
        let source = try randomDense(rows: 3000, dimension: 9, seed: 7)
        let copy = try source.compressed("asym", ["bits": 2])
        let recalls = try (0..<6).map { try copy.quality(against: source, queries: 40, seed: $0).recall ?? 0 }
        XCTAssertGreaterThan(Set(recalls).count, 1)
        XCTAssertEqual(try copy.quality(against: source, queries: 40, seed: 3).recall, recalls[3])
    }

    func testDoesNotDependOnThreads() throws {
        let source = try randomDense(rows: 9000, dimension: 20, seed: 8)
        let copy = try source.compressed("asym", ["bits": 1])
        try assertSameForThreadCounts {
            try copy.neighbours(of: Array(0..<600), in: source, k: 10).flatMap { $0.map(Float.init) }
        }
    }

    func testItCountsRowsAndStops() throws {
        let source = try randomDense(rows: 5000, dimension: 8, seed: 9)
        let seen = Recorder()
        _ = try source.quality(against: source, queries: 600, progress: seen.add)
        // Once for errors, and for the neighbours in both tables twice: 512 queries fit a pass.
        XCTAssertEqual(seen.last?.done, 25_000)
        XCTAssertEqual(seen.last?.total, 25_000)
        XCTAssertTrue(seen.isSane)
        assertThrows(.cancelled) {
            _ = try source.quality(against: source, queries: 600) { done, _ in done < 12_000 }
        }
    }

    func testNumbersThatAreDrawnOnce() {
        var random = SeededRandom(seed: 1)
        var counts = [Int](repeating: 0, count: 10)
        for _ in 0..<3000 {
            let chosen = random.distinct(3, below: 10)
            XCTAssertEqual(chosen, Set(chosen).sorted())
            XCTAssertEqual(chosen.count, 3)
            for number in chosen { counts[number] += 1 }
        }
        for count in counts { XCTAssertEqual(Double(count), 900, accuracy: 120) }
        XCTAssertEqual(random.distinct(7, below: 4), [0, 1, 2, 3])
        XCTAssertEqual(random.distinct(0, below: 4), [])
    }
}
