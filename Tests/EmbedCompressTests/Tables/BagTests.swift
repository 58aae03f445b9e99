import TestSupport
import XCTest

@testable import EmbedCompress

final class BagTests: XCTestCase {
    private struct Call {
        var ids: [Int]
        var offsets: [Int]
        var pooling = Pooling.sum
        var weights: [Float]?
        var paddingID: Int?
        var includesLastOffset = false
    }

    private func check(
        _ call: Call, _ table: Table, _ reference: BagReference, _ message: String = "",
        file: StaticString = #filePath, line: UInt = #line
    ) throws {
        let results = try table.bag(
            call.ids, offsets: call.offsets, pooling: call.pooling, weights: call.weights, paddingID: call.paddingID,
            includesLastOffset: call.includesLastOffset)
        let expected = reference.pool(
            call.ids, offsets: call.offsets, pooling: call.pooling, weights: call.weights, paddingID: call.paddingID,
            includesLastOffset: call.includesLastOffset)
        let longest = zip(call.offsets, call.offsets.dropFirst() + [call.ids.count]).map { $1 - $0 }.max() ?? 0
        assertAgree(results, expected, terms: longest + 8, "\(message) \(call.pooling)", file: file, line: line)
    }

    private func randomCall(_ lengths: [Int], rows: Int, using generator: inout SeededGenerator) -> Call {
        var offsets = [0]
        for length in lengths { offsets.append(offsets[offsets.count - 1] + length) }
        let ids = generator.integers(offsets[offsets.count - 1], in: 0..<rows)
        var call = Call(ids: ids, offsets: offsets)
        call.includesLastOffset = Bool.random(using: &generator)
        if !call.includesLastOffset { call.offsets.removeLast() }
        call.pooling = [Pooling.sum, .mean, .max].randomElement(using: &generator) ?? .sum
        if call.pooling == .sum, Bool.random(using: &generator) { call.weights = generator.normals(ids.count) }
        if Bool.random(using: &generator) { call.paddingID = Int.random(in: 0..<rows, using: &generator) }
        return call
    }

    // MARK: Agreement with the reference

    func testRandomCallsAgreeWithTheReference() throws {
        var generator = SeededGenerator(seed: 50)
        for round in 0..<150 {
            let format = UniformReference(
                dimension: testDimensions[round % 15], bits: Uniform.bitWidths[round % 9],
                group: [nil, 8, 32][round % 3], scaleType: round % 2 == 0 ? .float16 : .float32)
            let rows = Int.random(in: 1...20, using: &generator)
            let (uniform, parts) = try randomUniform(format, rows: rows, using: &generator)
            let values = zip(try uniform.decode(), parts).map { ReferenceValue(Double($0), magnitude: $1.magnitude) }
            let (table, repeats) =
                round % 4 == 0 ? (try uniform.remapped(rows: 3 * rows, modulo: rows), 3) : (uniform, 1)
            let reference = BagReference((0..<repeats).flatMap { _ in values }, dimension: table.dimension)
            let lengths = generator.integers(Int.random(in: 1...12, using: &generator), in: 0..<30)
            try check(randomCall(lengths, rows: table.rows, using: &generator), table, reference, "round \(round)")
        }
    }

    func testBagsLongerThanABlock() throws {
        var generator = SeededGenerator(seed: 51)
        let table = try randomDense(rows: 40, dimension: 17, seed: 52)
        let reference = BagReference(try table.decode(), dimension: 17)
        for _ in 0..<25 {
            let lengths = [255, 256, 257, 511, 512, 513, 1000, 0, 1, 3].shuffled(using: &generator)
            try check(randomCall(lengths, rows: 40, using: &generator), table, reference)
        }
    }

    func testManyShortAndEmptyBags() throws {
        var generator = SeededGenerator(seed: 53)
        let table = try randomDense(rows: 9, dimension: 2, seed: 54)
        let reference = BagReference(try table.decode(), dimension: 2)
        for _ in 0..<10 {
            try check(randomCall(generator.integers(2000, in: 0..<2), rows: 9, using: &generator), table, reference)
        }
    }

    func testSkewedBags() throws {
        var generator = SeededGenerator(seed: 55)
        let table = try randomDense(rows: 100, dimension: 8, seed: 56)
        let reference = BagReference(try table.decode(), dimension: 8)
        var lengths = [Int](repeating: 1, count: 2000)
        lengths[7] = 30_000
        lengths[1500] = 3000
        for _ in 0..<2 {
            let call = randomCall(lengths, rows: 100, using: &generator)
            try check(call, table, reference)
            try assertSameForThreadCounts("\(call.pooling)") {
                try table.bag(
                    call.ids, offsets: call.offsets, pooling: call.pooling, weights: call.weights,
                    paddingID: call.paddingID, includesLastOffset: call.includesLastOffset)
            }
        }
    }

    func testResultsDoNotDependOnThreads() throws {
        var generator = SeededGenerator(seed: 57)
        let format = UniformReference(dimension: 33, bits: 3, group: 8)
        let table = try randomUniform(format, rows: 200, using: &generator).table
        for _ in 0..<4 {
            let call = randomCall(generator.integers(1500, in: 0..<20), rows: 200, using: &generator)
            try assertSameForThreadCounts("\(call.pooling)") {
                try table.bag(
                    call.ids, offsets: call.offsets, pooling: call.pooling, weights: call.weights,
                    paddingID: call.paddingID, includesLastOffset: call.includesLastOffset)
            }
        }
    }

    /// A bag's sum depends on nothing but the bag: not on its neighbours, nor on where it lies in the call.
    func testBagsDoNotDependOnTheirNeighbours() throws {
        var generator = SeededGenerator(seed: 58)
        let table = try randomDense(rows: 50, dimension: 20, seed: 59)
        let bags = [3, 200, 100, 256, 700, 0, 31].map { generator.integers($0, in: 0..<50) }
        for pooling in [Pooling.sum, .mean, .max] {
            var offsets: [Int] = []
            for bag in bags.indices { offsets.append(bags[..<bag].reduce(0) { $0 + $1.count }) }
            let all = try table.bag(bags.flatMap { $0 }, offsets: offsets, pooling: pooling)
            for (index, bag) in bags.enumerated() {
                let alone = try table.bag(bag, offsets: [0], pooling: pooling)
                XCTAssertEqual(Array(all[index * 20..<(index + 1) * 20]), alone, "bag \(index), \(pooling)")
            }
        }
    }

    // MARK: Semantics

    func testPaddingInLongBags() throws {
        let table = try denseTable([1, 100], dimension: 1)
        let reference = BagReference([1, 100], dimension: 1)
        // The last piece, the first piece, or every piece of a long bag may be padding alone.
        for (head, tail) in [(256, 44), (256, 300), (300, 256), (512, 1), (0, 600), (1, 255), (1, 256)] {
            for (front, back) in [(0, 1), (1, 0)] {
                let ids = [Int](repeating: front, count: head) + [Int](repeating: back, count: tail)
                for pooling in [Pooling.sum, .mean, .max] {
                    let call = Call(
                        ids: [0] + ids + [0], offsets: [0, 1, 1 + ids.count], pooling: pooling, paddingID: 1)
                    try check(call, table, reference, "\(head) of \(front), \(tail) of \(back)")
                }
            }
        }
    }

    func testPaddingOnlyBagsAreZeros() throws {
        let table = try denseTable([-1, -2], dimension: 1)
        for pooling in [Pooling.sum, .mean, .max] {
            XCTAssertEqual(
                try table.bag([1, 1, 0, 1], offsets: [0, 2, 2], pooling: pooling, paddingID: 1), [0, 0, -1])
            XCTAssertEqual(try table.bag([], offsets: [0, 0], pooling: pooling), [0, 0])
        }
    }

    func testNegativeMaxima() throws {
        let table = try denseTable([-5, -1, -3, -4], dimension: 2)
        XCTAssertEqual(try table.bag([0, 1], offsets: [0], pooling: .max), [-3, -1])
        let ids = [Int](repeating: 0, count: 600)
        XCTAssertEqual(try table.bag(ids, offsets: [0], pooling: .max), [-5, -1])
    }

    func testWeights() throws {
        let table = try denseTable([1, 10], dimension: 1)
        XCTAssertEqual(try table.bag([0, 1, 1], offsets: [0, 2], weights: [2, 0.5, -1]), [7, -10])
        XCTAssertEqual(try table.bag([], offsets: [0], weights: []), [0])
        assertInvalidArgument("2 weights do not go with 1 ids") {
            _ = try table.bag([0], offsets: [0], weights: [1, 2])
        }
        for pooling in [Pooling.mean, .max] {
            assertInvalidArgument("weights go with the mode sum only") {
                _ = try table.bag([0], offsets: [0], pooling: pooling, weights: [1])
            }
        }
    }

    func testLastOffset() throws {
        let table = try denseTable([1, 10], dimension: 1)
        XCTAssertEqual(try table.bag([0, 1], offsets: [0, 1, 2], includesLastOffset: true), [1, 10])
        XCTAssertEqual(try table.bag([], offsets: [0], includesLastOffset: true), [])
        XCTAssertEqual(try table.bag([], offsets: []), [])
    }

    func testOffsetsThatCannotBe() throws {
        let table = try denseTable([1, 10], dimension: 1)
        for (offsets, includesLast, text): ([Int], Bool, String) in [
            ([], false, "2 ids but no offsets"), ([], true, "must not be empty"),
            ([1], false, "must start at 0, not 1"),
            ([-1, 0], false, "must start at 0"), ([0, 2, 1], false, "position 2 is 1 after 2"),
            ([0, 3], false, "position 1 is 3, past the end of 2 ids"),
            ([0, 1], true, "must be the number of ids, 2, not 1"),
            ([0, Int.max, 2], false, "past the end"), ([0, Int.min], false, "must not decrease"),
        ] {
            assertInvalidArgument(text) {
                _ = try table.bag([0, 1], offsets: offsets, includesLastOffset: includesLast)
            }
        }
        for paddingID in [-1, 2] {
            assertInvalidArgument("paddingID must be from 0 to 1") {
                _ = try table.bag([0], offsets: [0], paddingID: paddingID)
            }
        }
    }
}
