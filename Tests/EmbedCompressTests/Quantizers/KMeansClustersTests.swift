import TestSupport
import XCTest

@testable import EmbedCompress

final class KMeansClustersTests: XCTestCase {
    /// Rows of a few sizes, so that clusters have something to tell apart.
    private func values(_ rows: Int, _ dimension: Int, seed: UInt64) -> [Float] {
        var generator = SeededGenerator(seed: seed)
        return (0..<rows).flatMap { row in generator.normals(dimension).map { $0 * Float(1 + row % 5 * 4) } }
    }

    private func codebook(_ table: Table) throws -> Codebook { try XCTUnwrap(table.root as? Codebook) }

    private func squaredError(_ table: Table, _ values: [Float], weights: [Float]? = nil) throws -> Double {
        zip(try table.decode(), values).enumerated().reduce(0) { sum, pair in
            let difference = Double(pair.element.0) - Double(pair.element.1)
            return sum + Double(weights?[pair.offset] ?? 1) * difference * difference
        }
    }

    func testBytesAreThoseOfTheUniformMethods() throws {
        for (rows, dimension, bits) in [(500, 64, 4), (2000, 16, 4), (300, 33, 2), (4000, 8, 1), (700, 20, 8)] {
            let source = try denseTable(values(rows, dimension, seed: 320), dimension: dimension)
            for type in ["f16", "f32"] {
                let table = try source.compressed(
                    "kmeans_cls", ["bits": .integer(bits), "entry_dtype": .string(type), "rounds": 1])
                let uniform = try source.compressed(
                    "asym", ["bits": .integer(bits), "scale_dtype": .string(type)])
                let clusters = try codebook(table).clusters
                XCTAssertLessThanOrEqual(table.storedBytes, uniform.storedBytes)
                let more = try Codebook.Layout(
                    dimension: dimension, bits: bits, entryType: codebook(table).entryType, scope: .cluster,
                    clusters: clusters + 1)
                XCTAssertGreaterThan(rows * more.rowBytes + (clusters + 1) * more.bookBytes, uniform.storedBytes)
            }
        }
        XCTAssertEqual(try codebook(denseTable([1, 2], dimension: 2).compressed("kmeans_cls")).clusters, 1)
    }

    func testOneClusterHasTheBestCodebookOfTheTable() throws {
        let numbers = values(9, 10, seed: 321)
        let table = try denseTable(numbers, dimension: 10).compressed(
            "kmeans_cls", ["clusters": 1, "bits": 3, "entry_dtype": "f32"])
        let best = KMeansReference.leastError(numbers, clusters: 8)
        XCTAssertEqual(try squaredError(table, numbers), best, accuracy: 1e-5 * best)
    }

    /// Clusters of more values than are sorted: means of bins stand for them.
    func testLargeClustersAreNearlyExact() throws {
        let numbers = values(800, 16, seed: 322)
        let table = try denseTable(numbers, dimension: 16).compressed(
            "kmeans_cls", ["clusters": 1, "entry_dtype": "f32"])
        let solver = try ScalarKMeans(capacity: numbers.count, clusters: 16)
        solver.load(numbers, weights: nil, count: numbers.count)
        solver.solve(clusters: 16)
        let best = KMeansReference.error(numbers, entries: Array(solver.result))
        XCTAssertEqual(try squaredError(table, numbers), best, accuracy: 1e-3 * best)
        let far = numbers.map { $0 * 1e-3 + 100 }
        let moved = try denseTable(far, dimension: 16).compressed(
            "kmeans_cls", ["clusters": 1, "entry_dtype": "f32"])
        XCTAssertEqual(try squaredError(moved, far), best * 1e-6, accuracy: 0.02 * best * 1e-6)
        let same = [Float](repeating: 2.5, count: 8000)
        XCTAssertEqual(try denseTable(same, dimension: 8).compressed("kmeans_cls", ["clusters": 2]).decode(), same)
    }

    func testMoreClustersFitBetter() throws {
        let numbers = values(600, 24, seed: 323)
        let source = try denseTable(numbers, dimension: 24)
        let losses = try [1, 8, 64, 300].map {
            try squaredError(source.compressed("kmeans_cls", ["clusters": .integer($0), "bits": 2]), numbers)
        }
        XCTAssertEqual(losses, losses.sorted(by: >))
        let all = try source.compressed("kmeans_cls", ["clusters": 600, "rounds": 1])
        XCTAssertEqual(try codebook(all).clusters, 600)
        XCTAssertLessThan(try squaredError(all, numbers), losses[3])
    }

    func testRowKMeansIsLloydsAlgorithm() throws {
        var generator = SeededGenerator(seed: 324)
        let rows = (0..<60).map { _ in generator.normals(16) }
        let data = rows.flatMap { $0 }
        for (clusters, rounds) in [(1, 3), (5, 2), (7, 30), (60, 2)] {
            var random = SeededRandom(seed: 1)
            var again = random
            var assignments = [Int32](repeating: 0, count: 60)
            let found = try Array(0..<60).withUnsafeBufferPointer {
                try RowKMeans(
                    data, rows: $0, weights: nil, dimension: 16, clusters: clusters, rounds: rounds, random: &random,
                    assignments: &assignments, watch: ProgressCounter(total: 0, callback: nil))
            }
            var left = Array(0..<60)
            for index in 0..<clusters { left.swapAt(index, index + again.below(60 - index)) }
            let centers = KMeansReference.rowClusters(
                rows, centers: left.prefix(clusters).map { rows[$0] }, rounds: rounds - 1)
            for (index, row) in rows.enumerated() {
                let expected = KMeansReference.nearestRow(row, centers)
                XCTAssertEqual(found.nearest(row), expected, "\(clusters) clusters")
                XCTAssertEqual(Int(assignments[index]), expected, "\(clusters) clusters")
            }
        }
    }

    func testWeightsOfRowsAndOfElements() throws {
        let numbers = values(200, 12, seed: 325)
        var generator = SeededGenerator(seed: 326)
        let rowWeights = (0..<200).map { _ -> Float in Float.random(in: 0...1, using: &generator) < 0.1 ? 50 : 0.1 }
        let wide = rowWeights.flatMap { [Float](repeating: $0, count: 12) }
        let elements = generator.normals(2400).map { $0 * $0 * $0 * $0 }
        let source = try denseTable(numbers, dimension: 12)
        let options: [String: OptionValue] = ["clusters": 4, "bits": 3]
        let plain = try source.compressed("kmeans_cls", options)
        for (given, dimension, weights) in [(rowWeights, 1, wide), (wide, 12, wide), (elements, 12, elements)] {
            let table = try source.compressed(
                "kmeans_cls", options, weights: denseTable(given, dimension: dimension))
            XCTAssertLessThan(
                try squaredError(table, numbers, weights: weights),
                try squaredError(plain, numbers, weights: weights))
        }
    }

    func testSeedsAndThreads() throws {
        let source = try denseTable(values(700, 20, seed: 327), dimension: 20)
        let options: [String: OptionValue] = ["clusters": 100, "seed": 5]
        try assertSameForThreadCounts { try source.compressed("kmeans_cls", options).decode() }
        XCTAssertNotEqual(
            try source.compressed("kmeans_cls", options).decode(),
            try source.compressed("kmeans_cls", ["clusters": 100, "seed": 6]).decode())
    }

    /// Rows are compressed by themselves once clusters are known.
    func testRunsOfRowsAreThoseOfTheWhole() throws {
        let source = try denseTable(values(300, 9, seed: 328), dimension: 9)
        for name in ["kmeans", "kmeans_cls"] {
            let progress = ProgressCounter(total: 0, callback: nil)
            let (input, compressor) = try Method.named(name).begin(source, [:], weights: nil, progress: progress)
            let whole = Table(try compressor.compress(input, tally: FallbackTally(), progress: progress))
            for range in [0..<1, 0..<300, 17..<200, 299..<300] {
                let part = Table(
                    try compressor.compress(input.sliced(range), tally: FallbackTally(), progress: progress))
                XCTAssertEqual(try part.decode(), try whole.slice(range).decode())
            }
        }
    }

    func testBudgetsAndOptions() throws {
        let source = try denseTable(values(100, 20, seed: 329), dimension: 20)
        for (budget, bits, clusters) in [(1132, 4, 1), (1163, 4, 1), (1164, 4, 2)] {
            let table = try source.compressed("kmeans_cls", ["budget": .integer(budget), "bits": 4])
            XCTAssertEqual(try codebook(table).clusters, clusters)
            XCTAssertEqual(try codebook(table).bits, bits)
        }
        let wide = try source.compressed("kmeans_cls", ["budget": 1400])
        XCTAssertEqual(try codebook(wide).bits, 4)
        XCTAssertLessThanOrEqual(wide.storedBytes, 1400)
        assertThrows(.budget(method: "kmeans_cls", budgetBytes: 403, floorBytes: 404)) {
            _ = try source.compressed("kmeans_cls", ["budget": 403])
        }
        assertThrows(.budget(method: "kmeans_cls", budgetBytes: 1131, floorBytes: 1132)) {
            _ = try source.compressed("kmeans_cls", ["budget": 1131, "bits": 4])
        }
        assertInvalidArgument("either clusters or a budget") {
            _ = try source.compressed("kmeans_cls", ["budget": 5000, "clusters": 3])
        }
        assertInvalidArgument("clusters must be at most the table's 100 rows, not 101") {
            _ = try source.compressed("kmeans_cls", ["clusters": 101])
        }
        XCTAssertEqual(try denseTable([], dimension: 3).compressed("kmeans_cls").rows, 0)
    }
}
