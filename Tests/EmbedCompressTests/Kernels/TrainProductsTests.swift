import TestSupport
import XCTest

@testable import EmbedCompress

final class TrainProductsTests: XCTestCase {
    override func tearDown() { Parallel.threadCount = 2 }

    private struct Problem {
        let columns: (Int, Int, Int)
        let rank: Int
        let slices: Int
        let owners: [Int64]
        let left, middle, right, slopes: [Float]

        init(_ columns: (Int, Int, Int), rank: Int, slices: Int, count: Int, seed: UInt64) {
            var random = SeededGenerator(seed: seed)
            (self.columns, self.rank, self.slices) = (columns, rank, slices)
            owners = random.integers(count, in: 0..<slices).map(Int64.init)
            left = random.normals(count * columns.0 * rank)
            middle = random.normals(slices * rank * columns.1 * rank)
            right = random.normals(count * rank * columns.2)
            slopes = random.normals(count * columns.0 * columns.1 * columns.2)
        }

        var distinct: [Int64] { Set(owners).sorted() }

        /// Rows, and gradients of left, middle (of all slices) and right, in doubles, a product after the other.
        func reference() -> (rows: [Double], left: [Double], middle: [Double], right: [Double]) {
            let (d0, d1, d2) = columns
            var rows = [Double](repeating: 0, count: slopes.count)
            var (ofLeft, ofRight) = (
                [Double](repeating: 0, count: left.count), [Double](repeating: 0, count: right.count)
            )
            var ofMiddle = [Double](repeating: 0, count: middle.count)
            for (row, owner) in owners.enumerated() {
                for (a, b, c) in all(d0, d1, d2) {
                    let place = ((row * d0 + a) * d1 + b) * d2 + c
                    for r in 0..<rank {
                        for s in 0..<rank {
                            let i = (row * d0 + a) * rank + r
                            let j = ((Int(owner) * rank + r) * d1 + b) * rank + s
                            let k = (row * rank + s) * d2 + c
                            let (x, y, z) = (Double(left[i]), Double(middle[j]), Double(right[k]))
                            rows[place] += x * y * z
                            let slope = Double(slopes[place])
                            ofLeft[i] += slope * y * z
                            ofMiddle[j] += slope * x * z
                            ofRight[k] += slope * x * y
                        }
                    }
                }
            }
            return (rows, ofLeft, ofMiddle, ofRight)
        }

        private func all(_ d0: Int, _ d1: Int, _ d2: Int) -> [(Int, Int, Int)] {
            (0..<d0).flatMap { a in (0..<d1).flatMap { b in (0..<d2).map { (a, b, $0) } } }
        }

        /// The same by the kernel, of memory that ends where no page is.
        func found() throws -> (rows: [Float], left: [Float], middle: [Float], right: [Float]) {
            func place(_ memory: GuardedMemory) -> UnsafeMutablePointer<Float> {
                memory.base.assumingMemoryBound(to: Float.self)
            }
            let given = try [left, middle, right, slopes].map { try GuardedMemory($0) }
            let ids = try GuardedMemory(owners)
            let size = rank * columns.1 * rank
            let outputs = try [slopes.count, left.count, distinct.count * size, right.count]
                .map { try GuardedMemory(count: 4 * $0) }
            let products = TrainProducts(
                columns: columns, rank: rank, left: place(given[0]), middle: place(given[1]), slices: slices,
                right: place(given[2]))
            let owners = IDs(base: ids.base, count: owners.count, width: 8)
            try products.rows(owners, into: place(outputs[0]))
            try products.gradients(
                owners, of: place(given[3]),
                into: TrainProducts.Gradients(
                    left: place(outputs[1]), middle: place(outputs[2]), slices: distinct.count,
                    right: place(outputs[3])))
            XCTAssertEqual(place(given[1])[0], middle[0])
            return (outputs[0].floats(), outputs[1].floats(), outputs[2].floats(), outputs[3].floats())
        }
    }

    func testRowsAndGradientsAreThoseOfTheDefinition() throws {
        let shapes = [(1, 1, 1), (2, 2, 4), (1, 2, 3), (3, 1, 17), (2, 4, 8), (1, 1, 5)]
        for (index, columns) in shapes.enumerated() {
            for (rank, slices, count) in [(1, 1, 1), (2, 3, 5), (7, 5, 60), (16, 2, 70), (33, 4, 9)] {
                let problem = Problem(columns, rank: rank, slices: slices, count: count, seed: UInt64(index))
                let (found, expected) = (try problem.found(), problem.reference())
                let size = rank * columns.1 * rank
                let middle = problem.distinct.flatMap { expected.middle[Int($0) * size..<(Int($0) + 1) * size] }
                for (some, others) in [
                    (found.rows, expected.rows), (found.left, expected.left), (found.middle, middle),
                    (found.right, expected.right),
                ] {
                    XCTAssertEqual(some.count, others.count)
                    let largest = others.reduce(0) { max($0, abs($1)) }
                    for (one, other) in zip(some, others) {
                        XCTAssertEqual(Double(one), other, accuracy: 1e-5 * max(largest, 1), "\(columns), \(rank)")
                    }
                }
            }
        }
    }

    func testThreadsChangeNoBit() throws {
        let problem = Problem((2, 2, 4), rank: 20, slices: 200, count: 900, seed: 5)
        Parallel.threadCount = 1
        let expected = try problem.found()
        for threads in [2, 7] {
            Parallel.threadCount = threads
            let found = try problem.found()
            XCTAssertEqual(found.rows, expected.rows)
            XCTAssertEqual(found.left, expected.left)
            XCTAssertEqual(found.middle, expected.middle)
            XCTAssertEqual(found.right, expected.right)
        }
    }
}
