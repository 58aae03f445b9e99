import TestSupport
import XCTest

@testable import EmbedCompress

final class KMeansTests: XCTestCase {
    private func rows(_ count: Int, _ dimension: Int, seed: UInt64) -> [Float] {
        var generator = SeededGenerator(seed: seed)
        return generator.normals(count * dimension)
    }

    /// The squared error of each row.
    private func errors(_ table: Table, _ values: [Float], weights: [Float]? = nil) throws -> [Double] {
        let copies = try table.decode()
        return stride(from: 0, to: values.count, by: table.dimension).map { start in
            (start..<start + table.dimension).reduce(0) { sum, index in
                let difference = Double(values[index]) - Double(copies[index])
                return sum + Double(weights?[index] ?? 1) * difference * difference
            }
        }
    }

    // MARK: The solver

    func testTheExactSolverIsExact() throws {
        var generator = SeededGenerator(seed: 300)
        for round in 0..<120 {
            let count = Int.random(in: 1...40, using: &generator)
            let values: [Float]
            switch round % 4 {
            case 0: values = generator.normals(count)
            case 1: values = generator.integers(count, in: -3..<4).map { Float($0) }
            case 2: values = generator.normals(count).map { $0 * $0 * $0 * 10 + 1000 }
            default: values = generator.normals(count).map { $0 * 1e-38 }
            }
            var weights: [Float]?
            if round % 3 > 0 { weights = generator.normals(count).map { max($0, 0) } }
            if round % 3 == 2 { weights?[0] = 1 }
            let solver = try ScalarKMeans(capacity: 40, clusters: 16)
            for clusters in [1, 2, 3, 4, 7, 16] {
                solver.load(values, weights: weights, count: count)
                solver.solve(clusters: clusters)
                let used = weights?.contains { $0 > 0 } ?? false ? weights : nil
                let centers = Array(solver.result)
                XCTAssertEqual(centers, centers.sorted())
                XCTAssertLessThanOrEqual(centers.count, clusters)
                let best = KMeansReference.leastError(values, weights: used, clusters: clusters)
                let found = KMeansReference.error(values, weights: used, entries: centers)
                let scale = values.reduce(0) { $0 + Double($1) * Double($1) }
                XCTAssertEqual(found, best, accuracy: best * 1e-9 + scale * 1e-15, "round \(round), \(clusters)")
            }
        }
    }

    func testLloydIsThatOfTheReference() throws {
        var generator = SeededGenerator(seed: 301)
        for _ in 0..<20 {
            let values = generator.normals(50)
            let solver = try ScalarKMeans(capacity: 50, clusters: 16)
            for (clusters, rounds) in [(4, 1), (4, 3), (16, 2), (16, 200)] {
                solver.load(values, weights: nil, count: 50)
                solver.iterate(clusters: clusters, rounds: rounds)
                let expected = KMeansReference.lloyd(values, clusters: clusters, rounds: rounds)
                for (center, other) in zip(solver.result, expected) { XCTAssertEqual(center, other, accuracy: 1e-9) }
            }
        }
    }

    // MARK: KMEANS

    func testExactIsNoWorseThanLloydOnAnyRow() throws {
        for (dimension, bits) in [(64, 4), (64, 2), (33, 3), (300, 5), (127, 1)] {
            let values = rows(40, dimension, seed: 302)
            let source = try denseTable(values, dimension: dimension)
            let options: [String: OptionValue] = ["bits": .integer(bits), "entry_dtype": "f32"]
            let exact = try errors(source.compressed("kmeans", options), values)
            let lloyd = try errors(
                source.compressed("kmeans", options.merging(["solver": "lloyd"]) { $1 }), values)
            for (row, pair) in zip(exact, lloyd).enumerated() {
                XCTAssertLessThanOrEqual(pair.0, pair.1 * (1 + 1e-6), "row \(row), \(bits) bits")
            }
            XCTAssertLessThan(exact.reduce(0, +), lloyd.reduce(0, +))
        }
    }

    func testNoRowIsWorseThanMinMaxWithEntriesInF32() throws {
        for bits in Codebook.bitWidths {
            let values = rows(30, 48, seed: 303)
            let source = try denseTable(values, dimension: 48)
            let plain = try errors(source.compressed("asym", ["bits": .integer(bits), "scale_dtype": "f32"]), values)
            let found = try errors(source.compressed("kmeans", ["bits": .integer(bits), "entry_dtype": "f32"]), values)
            for (one, other) in zip(found, plain) { XCTAssertLessThanOrEqual(one, other * (1 + 1e-6)) }
        }
    }

    func testValuesTakeTheNearestEntry() throws {
        for (bits, type) in [(4, "f16"), (4, "f32"), (2, "f16"), (7, "f32")] {
            let values = rows(20, 100, seed: 304).map { $0 + 10 }
            let table = try denseTable(values, dimension: 100).compressed(
                "kmeans", ["bits": .integer(bits), "entry_dtype": .string(type)])
            let codebook = try XCTUnwrap(table.root as? Codebook)
            let format = CodebookReference(dimension: 100, bits: bits, entryType: codebook.entryType)
            let stored = codebook.memory.bytes
            let bytes = withExtendedLifetime(stored.storage) { Array(stored.buffer) }
            for row in 0..<20 {
                let own = bytes[row * format.rowBytes..<(row + 1) * format.rowBytes]
                let entries = (0..<1 << bits).map { Double(format.entry(own.dropFirst(format.codeBytes), $0)) }
                XCTAssertEqual(entries, entries.sorted())
                for column in 0..<100 {
                    let value = Double(values[row * 100 + column])
                    let taken = abs(value - entries[format.code(own, column: column)])
                    XCTAssertEqual(taken, entries.map { abs(value - $0) }.min())
                }
            }
        }
    }

    func testRowsOfFewDistinctValuesAreExact() throws {
        var generator = SeededGenerator(seed: 305)
        for bits in Codebook.bitWidths {
            let few = generator.normals(1 << bits).map { HalfReference.rounded($0) }
            let values = (0..<20 * 90).map { _ in few.randomElement(using: &generator) ?? 0 }
            let source = try denseTable(values, dimension: 90)
            for solver in ["exact", "lloyd"] {
                let options: [String: OptionValue] = ["bits": .integer(bits), "solver": .string(solver)]
                XCTAssertEqual(try source.compressed("kmeans", options).decode(), values)
                XCTAssertEqual(
                    try source.compressed("kmeans", options.merging(["entry_dtype": "f32"]) { $1 }).decode(), values)
            }
        }
        XCTAssertEqual(try denseTable([0, -0.0, 0, 5], dimension: 4).compressed("kmeans").decode(), [0, 0, 0, 5])
    }

    func testElementWeightsDecideWhatIsKept() throws {
        let values = rows(20, 60, seed: 306)
        var generator = SeededGenerator(seed: 307)
        let weights = generator.normals(values.count).map { $0 * $0 * $0 * $0 }
        let source = try denseTable(values, dimension: 60)
        let given = try denseTable(weights, dimension: 60)
        for solver in ["exact", "lloyd"] {
            let options: [String: OptionValue] = ["bits": 3, "entry_dtype": "f32", "solver": .string(solver)]
            let plain = try errors(source.compressed("kmeans", options), values, weights: weights).reduce(0, +)
            let table = try source.compressed("kmeans", options, weights: given)
            let found = try errors(table, values, weights: weights)
            XCTAssertLessThan(found.reduce(0, +), 0.9 * plain)
            guard solver == "exact" else { continue }
            for row in 0..<20 {
                let range = row * 60..<(row + 1) * 60
                let best = KMeansReference.leastError(
                    Array(values[range]), weights: Array(weights[range]), clusters: 8)
                XCTAssertEqual(found[row], best, accuracy: 1e-5 * best)
            }
        }
        let zeros = try denseTable([Float](repeating: 0, count: values.count), dimension: 60)
        XCTAssertEqual(
            try source.compressed("kmeans", weights: zeros).decode(), try source.compressed("kmeans").decode())
    }

    // MARK: Options

    func testBudgetsChooseBits() throws {
        let source = try denseTable(rows(10, 40, seed: 308), dimension: 40)
        for bits in Codebook.bitWidths {
            let bytes = 10 * CodebookReference(dimension: 40, bits: bits).rowBytes
            for budget in [bytes, bytes + 1] {
                let table = try source.compressed("kmeans", ["budget": .integer(budget)])
                XCTAssertEqual((table.root as? Codebook)?.bits, bits)
                XCTAssertEqual(table.storedBytes, bytes)
            }
        }
        assertThrows(.budget(method: "kmeans", budgetBytes: 89, floorBytes: 90)) {
            _ = try source.compressed("kmeans", ["budget": 89])
        }
        assertInvalidArgument("give kmeans either bits or a budget, not both") {
            _ = try source.compressed("kmeans", ["budget": 1000, "bits": 4])
        }
    }

    func testValuesBeyondF16AreRefused() throws {
        var values = rows(10, 5, seed: 309)
        values[37] = -70_000
        let source = try denseTable(values, dimension: 5)
        for method in ["kmeans", "kmeans_cls"] {
            assertInvalidArgument("row 7 has values from -70000.0", "beyond the range of f16 entries", "'f32'") {
                _ = try source.compressed(method, ["entry_dtype": "f16"])
            }
            for type in ["f32", "auto"] {
                XCTAssertEqual(
                    try source.compressed(method, ["entry_dtype": .string(type)]).decode()[37], -70_000)
            }
        }
        values[37] = .greatestFiniteMagnitude
        values[36] = -.greatestFiniteMagnitude
        for method in ["kmeans", "kmeans_cls"] {
            let wide = try denseTable(values, dimension: 5).compressed(method, ["entry_dtype": "f32", "bits": 8])
            XCTAssertEqual(try wide.decode()[36], -.greatestFiniteMagnitude, "\(method)")
        }
    }

    func testEveryKindOfTableIsASource() throws {
        XCTAssertEqual(try denseTable([], dimension: 3).compressed("kmeans").rows, 0)
        let source = try denseTable(rows(30, 20, seed: 310), dimension: 20)
        let nested = try source.compressed("kmeans").remapped(through: [3, -1, 5])
        XCTAssertEqual(
            try nested.compressed("kmeans").decode(), try nested.decode(), "16 values and no more are exact")
        try assertSameForThreadCounts { try source.compressed("kmeans").decode() }
    }
}
