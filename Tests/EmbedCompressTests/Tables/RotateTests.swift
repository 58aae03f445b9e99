import TestSupport
import XCTest

@testable import EmbedCompress

final class RotateTests: XCTestCase {
    private func distance(_ found: [Float], _ wanted: [Double]) -> Double {
        zip(found, wanted).reduce(0) { $0 + (Double($1.0) - $1.1) * (Double($1.0) - $1.1) }.squareRoot()
    }

    /// In memory that ends with the last row.
    func testRowsAreThoseOfTheReference() throws {
        var generator = SeededGenerator(seed: 400)
        for dimension in testDimensions + [4, 6, 48, 256, 511] {
            let reference = RotationReference(dimension: dimension, seed: 11)
            let rotation = try Rotation(dimension: dimension, seed: 11)
            let count = 3
            let stride = dimension + 5
            let memory = try GuardedMemory(generator.normals((count - 1) * stride + dimension))
            let rows = memory.base.assumingMemoryBound(to: Float.self)
            let before = memory.floats()
            func row(_ values: [Float], _ index: Int) -> [Float] {
                Array(values[index * stride..<index * stride + dimension])
            }
            rotation.rotate(rows, stride: stride, count: count)
            let turned = memory.floats()
            rotation.restore(rows, stride: stride, count: count)
            let after = memory.floats()
            for index in 0..<count {
                let limit = 1e-6 * Double(dimension).squareRoot()
                XCTAssertLessThan(distance(row(turned, index), reference.rotated(row(before, index))), limit)
                XCTAssertLessThan(distance(row(after, index), row(before, index).map(Double.init)), limit)
                XCTAssertLessThan(
                    distance(row(after, index), reference.restored(row(turned, index))), limit, "\(dimension)")
            }
            for place in before.indices where place % stride >= dimension {
                XCTAssertEqual(before[place], after[place], "between rows of \(dimension)")
            }
        }
    }

    func testLookupsAgree() throws {
        for dimension in [1, 2, 7, 16, 33, 64, 300] {
            let inner = try randomDense(rows: 20, dimension: dimension, seed: 401)
            var generator = SeededGenerator(seed: 402)
            let offset = generator.normals(dimension)
            let reference = RotationReference(dimension: dimension, seed: 5)
            let table = try inner.rotated(seed: 5, direction: .inverse, offset: offset)
            let values = try table.decode()
            XCTAssertEqual(table.storedBytes, inner.storedBytes + 8 + 4 * dimension)
            for index in 0..<20 {
                let row = try inner.lookup([index])
                let wanted = zip(reference.restored(row), offset).map { $0 + Double($1) }
                XCTAssertLessThan(
                    distance(Array(values[index * dimension..<(index + 1) * dimension]), wanted),
                    2e-6 * Double(dimension).squareRoot())
            }
            let ids = (0..<700).map { $0 * 7 % 20 }
            XCTAssertEqual(try table.lookup([3, 19]), try [3, 19].flatMap { try table.lookup([$0]) })
            XCTAssertEqual(try table.slice(4..<9).decode(), Array(values[4 * dimension..<9 * dimension]))
            let pooled = BagReference(values, dimension: dimension)
            let norm = Float(dimension).squareRoot()
            for pooling in [Pooling.sum, .mean, .max] {
                let found = try table.bag(ids, offsets: [0, 1, 1, 300], pooling: pooling)
                let wanted = pooled.pool(ids, offsets: [0, 1, 1, 300], pooling: pooling, weights: nil)
                for (found, wanted) in zip(found, wanted) {
                    XCTAssertEqual(Double(found), Double(wanted.value), accuracy: 3e-4 * Double(norm))
                }
            }
            // No row, no offset.
            let zeros = [Float](repeating: 0, count: dimension)
            XCTAssertEqual(try table.lookup([-1, 2], onInvalid: .zero), try zeros + table.lookup([2]))
            XCTAssertEqual(try table.bag([20, -1], offsets: [0], onInvalid: .zero), zeros)
            let forward = try inner.rotated(seed: 5, direction: .forward)
            XCTAssertLessThan(
                distance(
                    try forward.rotated(seed: 5, direction: .inverse).decode(), try inner.decode().map(Double.init)),
                1e-5 * Double(20 * dimension).squareRoot())
        }
    }

    func testWhatCannotBe() throws {
        let inner = try randomDense(rows: 2, dimension: 3, seed: 403)
        assertInvalidArgument("an offset of 3 columns has 12 bytes, not 8") {
            _ = try inner.rotated(seed: 1, direction: .inverse, offset: [1, 2])
        }
        assertInvalidArgument("seed must not be negative, not -1") { _ = try inner.rotated(seed: -1, direction: .forward) }
    }

    func testDescription() throws {
        let table = try randomDense(rows: 2, dimension: 3, seed: 404).rotated(
            seed: 6, direction: .inverse, offset: [1, 2, 3])
        XCTAssertEqual(
            table.description,
            """
            Rotate back, seed 6, plus an f32 row  [2 x 3]  20 bytes
              inner: Dense f32  [2 x 3]  24 bytes
            = 44 bytes, 183.33 % of f32
            """)
        XCTAssertEqual(Table(try XCTUnwrap(table.expression as? Rotate)).storedBytes, 44)
    }
}
