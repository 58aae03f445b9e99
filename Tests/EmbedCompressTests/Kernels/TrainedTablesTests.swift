import TestSupport
import XCTest

@testable import EmbedCompress

/// Two tables as one are held against each of them by itself.
final class TrainedTablesTests: XCTestCase {
    private static let pairs: [(TrainedRows.Format, TrainedRows.Format)] = [
        (.int8, .float16), (.int4, .float16), (.float32, .bfloat16), (.float16, .int16),
    ]

    override func tearDown() { Parallel.threadCount = 2 }

    func testStepsAreThoseOfEachTable() throws {
        for (formats, dimension) in zip(Self.pairs, [16, 5, 17, 40]) {
            for kind in [RowOptimizer.Kind.sgd, .adagrad, .rowwiseAdagrad, .rowwiseAdam] {
                try checkSteps(formats, dimension, RowOptimizer(kind: kind, learningRate: 0.1, seed: 4, step: 2))
            }
        }
    }

    private func checkSteps(
        _ formats: (TrainedRows.Format, TrainedRows.Format), _ dimension: Int, _ optimizer: RowOptimizer
    ) throws {
        let make = {
            [
                TrainedMemory(formats.0, rows: 900, dimension: dimension, seed: 1),
                TrainedMemory(formats.1, rows: 70, dimension: dimension, seed: 2),
            ]
        }
        var random = SeededGenerator(seed: 3)
        let ids = random.integers(6000, in: 0..<970)
        let gradients = random.normals(6000 * dimension)
        let expected = make()
        for (number, memory) in expected.enumerated() {
            let positions = ids.indices.filter { (ids[$0] < 900) == (number == 0) }
            var own = optimizer
            own.seed += number
            try memory.step(
                positions.map { ids[$0] - 900 * number },
                positions.flatMap { gradients[$0 * dimension..<($0 + 1) * dimension] }, own)
        }
        for threads in [1, 2, 5] {
            Parallel.threadCount = threads
            let found = make()
            try with(found) { tables in
                try IDs.with(ids) { try tables.step($0, gradients: gradients, optimizer) }
            }
            try assertSame(found, expected, "\(formats) \(optimizer.kind)")
            let every = Array((0..<970).reversed())
            var rows = [Float](repeating: .nan, count: 970 * dimension)
            try with(found) { tables in try IDs.with(every) { try tables.gather($0, into: &rows) } }
            let values = try found[0].values() + found[1].values()
            for (place, row) in every.enumerated() {
                XCTAssertEqual(
                    rows[place * dimension..<(place + 1) * dimension], values[row * dimension..<(row + 1) * dimension])
            }
        }
    }

    func testBagsAreSumsOverBothTables() throws {
        let dimension = 17
        let tables = [
            TrainedMemory(.int8, rows: 50, dimension: dimension, seed: 1),
            TrainedMemory(.float16, rows: 30, dimension: dimension, seed: 2),
        ]
        let values = try tables[0].values() + tables[1].values()
        var random = SeededGenerator(seed: 3)
        let (ids, offsets) = (random.integers(400, in: 0..<80), [0, 0, 7, 8, 390])
        for weights in [nil, random.normals(400)] {
            for pooling in [Pooling.sum, .mean] where weights == nil || pooling == .sum {
                var found = [Float](repeating: .nan, count: offsets.count * dimension)
                try with(tables) { tables in
                    try bags(ids, offsets, weights, pooling) { try tables.pool($0, into: &found) }
                }
                for (bag, start) in offsets.enumerated() {
                    let own = Array(start..<(bag == 4 ? 400 : offsets[bag + 1]))
                    let order = own.filter { ids[$0] < 50 } + own.filter { ids[$0] >= 50 }
                    for column in 0..<dimension {
                        var sum: Float = 0
                        for place in order { sum += values[ids[place] * dimension + column] * (weights?[place] ?? 1) }
                        if pooling == .mean, !own.isEmpty { sum /= Float(own.count) }
                        XCTAssertEqual(found[bag * dimension + column], sum, accuracy: 1e-4)
                    }
                }
            }
        }
    }

    func testBagsStepAsTheirIdsDo() throws {
        let make = {
            [
                TrainedMemory(.int8, rows: 50, dimension: 3, seed: 1),
                TrainedMemory(.float16, rows: 30, dimension: 3, seed: 2),
            ]
        }
        var random = SeededGenerator(seed: 3)
        let (ids, offsets, weights) = (random.integers(40, in: 0..<80), [0, 9, 9], random.normals(40))
        var gradients = random.normals(9)
        // That of an empty bag does not matter.
        gradients[4] = .nan
        let optimizer = RowOptimizer(kind: .rowwiseAdagrad, learningRate: 0.1)
        let (found, expected) = (make(), make())
        try with(found) { tables in
            try bags(ids, offsets, weights, .sum) { try tables.step($0, gradients: gradients, optimizer) }
        }
        let own = ids.indices.flatMap { place in
            (0..<3).map { gradients[(place < 9 ? 0 : 6) + $0] * weights[place] }
        }
        try with(expected) { tables in try IDs.with(ids) { try tables.step($0, gradients: own, optimizer) } }
        try assertSame(found, expected, "bags")
    }

    func testWhatIsRefusedWritesNothing() throws {
        let make = {
            [
                TrainedMemory(.int8, rows: 5, dimension: 3, seed: 1),
                TrainedMemory(.float16, rows: 4, dimension: 3, seed: 2),
            ]
        }
        let (found, before) = (make(), make())
        let optimizer = RowOptimizer(kind: .sgd, learningRate: 1)
        try with(found) { tables in
            XCTAssertThrowsError(
                try IDs.with([0, 8, 9]) {
                    try tables.step($0, gradients: [Float](repeating: 1, count: 9), optimizer)
                }
            ) {
                XCTAssertEqual($0 as? EmbedCompressError, .invalidID(position: 2, id: 9, rows: 9))
            }
            XCTAssertThrowsError(
                try IDs.with([0, 8]) { try tables.step($0, gradients: [1, 1, 1, 1, .nan, 1], optimizer) }
            ) {
                XCTAssertEqual(
                    $0 as? EmbedCompressError,
                    .invalidArgument("gradients must be finite, but the one at position 1 has nan in column 1"))
            }
        }
        try assertSame(found, before, "refused")
        assertInvalidArgument("there must be a table") { _ = try TrainedTables([]) }
        let other = TrainedMemory(.float32, rows: 4, dimension: 2, seed: 1)
        assertInvalidArgument("tables must have the same dimension, but that of table 1 is 2, not 3") {
            try with([found[0], other]) { _ in }
        }
    }

    func testPlacesPutTheFirstTableFirst() throws {
        var random = SeededGenerator(seed: 1)
        for rows in [1, 2, 63, 64, 65, 5000] {
            let isSecond = random.integers(rows, in: 0..<3).map { $0 == 0 }
            let order = (0..<rows).filter { !isSecond[$0] } + (0..<rows).filter { isSecond[$0] }
            var expected = [Int64](repeating: 0, count: rows)
            for (place, row) in order.enumerated() { expected[row] = Int64(place) }
            let words = (0..<(rows + 63) / 64).map { word in
                (0..<min(64, rows - word * 64)).reduce(UInt64(0)) { isSecond[word * 64 + $1] ? $0 | 1 << $1 : $0 }
            }
            let before = words.indices.map { Int32(words[..<$0].map(\.nonzeroBitCount).reduce(0, +)) }
            let ends = (1...rows).filter { $0 == rows || isSecond[$0] != isSecond[$0 - 1] }
            let shifts = ends.map { expected[$0 - 1] - Int64($0 - 1) }
            let ids = random.integers(9000, in: 0..<rows)
            func check(_ kinds: DividedRows.Kinds) throws {
                for threads in [1, 2] {
                    Parallel.threadCount = threads
                    var found = [Int64](repeating: -1, count: ids.count)
                    try IDs.with(ids) { try DividedRows(rows: rows, kinds: kinds).write(placesOf: $0, to: &found) }
                    XCTAssertEqual(found, ids.map { expected[$0] })
                    XCTAssertThrowsError(
                        try IDs.with([0, rows]) {
                            try DividedRows(rows: rows, kinds: kinds).write(placesOf: $0, to: &found)
                        }
                    ) {
                        XCTAssertEqual(
                            $0 as? EmbedCompressError, .invalidID(position: 1, id: Int64(rows), rows: rows))
                    }
                }
            }
            try words.withUnsafeBufferPointer { words in
                try before.withUnsafeBufferPointer { before in
                    try check(.flags(words.baseAddress!, before: before.baseAddress!))
                }
            }
            try ends.map(Int64.init).withUnsafeBufferPointer { ends in
                try shifts.withUnsafeBufferPointer { shifts in
                    try check(.runs(ends: ends.baseAddress!, shifts: shifts.baseAddress!, count: ends.count))
                }
            }
        }
    }

    private func with(_ memories: [TrainedMemory], _ body: (TrainedTables) throws -> Void) throws {
        try memories[0].with { first in
            try memories[1].with { second in try body(TrainedTables([first, second])) }
        }
    }

    private func bags(
        _ ids: [Int], _ offsets: [Int], _ weights: [Float]?, _ pooling: Pooling, _ body: (Bags) throws -> Void
    ) throws {
        try IDs.with(ids) { ids in
            try IDs.with(offsets) { offsets in
                try Bags.with(
                    ids, offsets: offsets, weights: weights, includesLastOffset: false, paddingID: nil,
                    pooling: pooling, onInvalid: .raise, body)
            }
        }
    }

    private func assertSame(_ found: [TrainedMemory], _ expected: [TrainedMemory], _ text: String) throws {
        for (one, other) in zip(found, expected) {
            XCTAssertEqual(one.elements, other.elements, text)
            XCTAssertEqual(one.scales, other.scales, text)
            XCTAssertEqual(one.elementState, other.elementState, text)
            XCTAssertEqual(one.rowState, other.rowState, text)
        }
    }
}
