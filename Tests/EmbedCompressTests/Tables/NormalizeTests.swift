import TestSupport
import XCTest

@testable import EmbedCompress

final class NormalizeTests: XCTestCase {
    private func norm(_ row: some Sequence<Float>) -> Double {
        row.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
    }

    /// In memory that ends with the row.
    func testRowsOfAnySizeHaveTheNormOne() throws {
        var generator = SeededGenerator(seed: 500)
        for dimension in testDimensions + [4096, 100_000] {
            for exponent in [-130, -126, -63, -30, 0, 30, 60, 63, 120] {
                let size = Float(sign: .plus, exponent: exponent, significand: 1)
                let values = generator.normals(dimension).map { ($0 + 0.1) * size }
                let memory = try GuardedMemory(values)
                normalizeRow(memory.base.assumingMemoryBound(to: Float.self), count: dimension)
                let found = memory.floats()
                XCTAssertEqual(norm(found), 1, accuracy: exponent < -120 ? 1e-5 : 1e-6, "\(dimension) 2^\(exponent)")
                let old = norm(values)
                for (found, value) in zip(found, values) {
                    XCTAssertEqual(Double(found), Double(value) / old, accuracy: 1e-5)
                }
            }
        }
        for values: [Float] in [[0, 0, 0], [.infinity, 1], [1, .nan]] {
            var row = values
            normalizeRow(&row, count: row.count)
            XCTAssertEqual(row.map(\.bitPattern), values.map(\.bitPattern))
        }
    }

    func testLookupsAgree() throws {
        for dimension in [1, 2, 7, 16, 33, 64, 300] {
            let inner = try randomDense(rows: 20, dimension: dimension, seed: 501)
            let table = Table(try Normalize(inner))
            let values = try table.decode()
            XCTAssertEqual(table.storedBytes, inner.storedBytes)
            for index in 0..<20 {
                XCTAssertEqual(norm(values[index * dimension..<(index + 1) * dimension]), 1, accuracy: 1e-6)
            }
            let ids = (0..<700).map { $0 * 7 % 20 }
            XCTAssertEqual(try table.lookup([3, 19]), try [3, 19].flatMap { try table.lookup([$0]) })
            XCTAssertEqual(try table.slice(4..<9).decode(), Array(values[4 * dimension..<9 * dimension]))
            let pooled = BagReference(values, dimension: dimension)
            for pooling in [Pooling.sum, .mean, .max] {
                let found = try table.bag(ids, offsets: [0, 1, 1, 300], pooling: pooling)
                let wanted = pooled.pool(ids, offsets: [0, 1, 1, 300], pooling: pooling, weights: nil)
                for (found, wanted) in zip(found, wanted) {
                    XCTAssertEqual(Double(found), Double(wanted.value), accuracy: 3e-4)
                }
            }
            let zeros = [Float](repeating: 0, count: dimension)
            XCTAssertEqual(try table.lookup([-1, 2], onInvalid: .zero), try zeros + table.lookup([2]))
        }
    }

    func testChoicesOfATypedForm() throws {
        var generator = SeededGenerator(seed: 502)
        let (rows, dimension) = (600, 24)
        let directions = (0..<3).map { _ in generator.normals(dimension) }
        let values = (0..<rows).flatMap { _ in
            let weights = generator.normals(3)
            let noise = generator.normals(dimension)
            let row = (0..<dimension).map { column in
                (0..<3).reduce(0.05 * noise[column]) { $0 + weights[$1] * directions[$1][column] }
            }
            let own = Float(norm(row))
            return row.map { $0 / own }
        }
        let source = Table(try Dense(values, rows: rows, dimension: dimension))
        let table = try source.compressed(
            .trellis(bits: 2, effort: .fast, rotation: .auto, center: .auto, normalize: true))
        XCTAssertEqual(table.choices.map(\.option), ["center", "rotation"])
        XCTAssertEqual(table.choices.map(\.value), ["none", "partial"])
        let figures = table.choices[1].candidates.map { Dictionary(uniqueKeysWithValues: $0.figures.map { ($0, $1) }) }
        XCTAssertEqual(table.choices[1].candidates.map(\.value), ["none", "hadamard", "partial"])
        XCTAssertLessThan(try XCTUnwrap(figures[2]["normalized_l2"]), try XCTUnwrap(figures[0]["normalized_l2"]))
        XCTAssertGreaterThan(try XCTUnwrap(figures[2]["lookup_ns_per_row"]), 0)
        for index in 0..<rows { XCTAssertEqual(norm(try table.lookup([index])), 1, accuracy: 1e-6) }
        XCTAssertTrue(table.expression is Normalize)
        assertInvalidArgument("normalize is for rows of the norm 1") {
            _ = try Table(try Dense(values.map { 2 * $0 }, rows: rows, dimension: dimension)).compressed(
                .trellis(normalize: true))
        }
    }
}
