import TestSupport
import XCTest

@testable import EmbedCompress

final class TrainedRowsTests: XCTestCase {
    private static let formats: [TrainedRows.Format] = [.float32, .bfloat16, .float16, .int16, .int8, .int4]
    private static let kinds: [(RowOptimizer.Kind, TrainedRowReference.Kind)] = [
        (.sgd, .sgd), (.adagrad, .adagrad), (.rowwiseAdagrad, .rowwiseAdagrad), (.rowwiseAdam, .rowwiseAdam),
    ]
    private let rows = 40

    override func tearDown() { Parallel.threadCount = 2 }

    func testStepsOfFloatsAreThoseOfTheReference() throws {
        for dimension in [1, 3, 15, 16, 17, 64] {
            for (kind, reference) in Self.kinds {
                for decay in [0, 0.01] {
                    try checkFloats(dimension, kind, reference, decay)
                }
            }
        }
    }

    private func checkFloats(
        _ dimension: Int, _ kind: RowOptimizer.Kind, _ reference: TrainedRowReference.Kind, _ decay: Double
    ) throws {
        let memory = Memory(.float32, rows: rows, dimension: dimension, seed: 3)
        let before = try memory.values()
        let states = (memory.elementState, memory.rowState)
        let (ids, gradients) = batch(dimension, seed: 4)
        try memory.step(
            ids, gradients,
            RowOptimizer(kind: kind, learningRate: 0.1, eps: 1e-8, beta2: 0.99, weightDecay: decay, step: 3))
        let after = try memory.values()
        for row in 0..<rows {
            let columns = row * dimension..<(row + 1) * dimension
            var expected = TrainedRowReference(
                values: Array(before[columns]), elementState: Array(states.0[columns]), rowState: states.1[row])
            let slopes = ids.indices.filter { ids[$0] == row }
                .map { Array(gradients[$0 * dimension..<($0 + 1) * dimension]) }
            if !slopes.isEmpty {
                expected.step(
                    slopes, reference, rate: 0.1, eps: 1e-8, beta1: 0.9, beta2: 0.99, decay: Float(decay), step: 3)
            }
            XCTAssertEqual(Array(after[columns]), expected.values, "row \(row) of \(dimension), \(kind)")
            XCTAssertEqual(Array(memory.elementState[columns]), expected.elementState)
            XCTAssertEqual(memory.rowState[row], expected.rowState)
        }
    }

    func testRoundedRowsAreNextToThoseOfFloats() throws {
        for format in Self.formats where format != .float32 {
            for dimension in [1, 3, 15, 16, 17, 64] {
                for (kind, _) in Self.kinds {
                    for rounding in [RowOptimizer.Rounding.nearest, .stochastic] {
                        try checkRounded(format, dimension, kind, rounding)
                    }
                }
            }
        }
    }

    private func checkRounded(
        _ format: TrainedRows.Format, _ dimension: Int, _ kind: RowOptimizer.Kind, _ rounding: RowOptimizer.Rounding
    ) throws {
        let memory = Memory(format, rows: rows, dimension: dimension, seed: 5)
        let exact = Memory(.float32, rows: rows, dimension: dimension, seed: 5)
        let before = try memory.values()
        exact.set(before)
        (exact.elementState, exact.rowState) = (memory.elementState, memory.rowState)
        let (ids, gradients) = batch(dimension, seed: 6)
        let optimizer = RowOptimizer(kind: kind, rounding: rounding, learningRate: 0.05, seed: 9, step: 2)
        try memory.step(ids, gradients, optimizer)
        try exact.step(ids, gradients, optimizer)
        let (found, expected) = (try memory.values(), try exact.values())
        let touched = Set(ids)
        for place in found.indices {
            let row = place / dimension
            if !touched.contains(row) {
                XCTAssertEqual(found[place], before[place])
                continue
            }
            let unit: Float
            switch format {
            case .bfloat16: unit = max(abs(expected[place]) * 0x1p-7, .leastNormalMagnitude)
            case .float16: unit = max(abs(expected[place]) * 0x1p-10, 0x1p-24)
            default: unit = memory.scales[row]
            }
            let most = rounding == .nearest ? unit / 2 * 1.0001 : unit
            XCTAssertLessThanOrEqual(abs(found[place] - expected[place]), most, "\(format) \(dimension) \(kind)")
        }
        XCTAssertEqual(memory.elementState, exact.elementState)
        XCTAssertEqual(memory.rowState, exact.rowState)
    }

    func testThreadsChangeNothing() throws {
        for format in Self.formats {
            var results: [Memory] = []
            for threads in [1, 2] {
                Parallel.threadCount = threads
                let memory = Memory(format, rows: 5000, dimension: 17, seed: 7)
                var random = SeededGenerator(seed: 8)
                let ids = random.integers(8000, in: 0..<5000)
                try memory.step(
                    ids, random.normals(8000 * 17), RowOptimizer(kind: .rowwiseAdam, learningRate: 0.1, seed: 1))
                results.append(memory)
            }
            XCTAssertEqual(results[0].elements, results[1].elements)
            XCTAssertEqual(results[0].scales, results[1].scales)
            XCTAssertEqual(results[0].elementState, results[1].elementState)
            XCTAssertEqual(results[0].rowState, results[1].rowState)
        }
    }

    func testWhatIsRefusedWritesNothing() throws {
        let memory = Memory(.int8, rows: rows, dimension: 5, seed: 1)
        let before = (memory.elements, memory.scales)
        let optimizer = RowOptimizer(kind: .sgd, learningRate: 1)
        XCTAssertThrowsError(try memory.step([0, 3, rows], [Float](repeating: 1, count: 15), optimizer)) {
            XCTAssertEqual(
                $0 as? EmbedCompressError, .invalidID(position: 2, id: Int64(rows), rows: rows))
        }
        var gradients = [Float](repeating: 1, count: 15)
        gradients[7] = .nan
        XCTAssertThrowsError(try memory.step([0, 3, 4], gradients, optimizer)) {
            XCTAssertEqual(
                $0 as? EmbedCompressError,
                .invalidArgument("gradients must be finite, but the one at position 1 has nan in column 2"))
        }
        XCTAssertEqual(memory.elements, before.0)
        XCTAssertEqual(memory.scales, before.1)
    }

    func testRandomBitsAreSpreadEvenly() {
        var counts = [Int](repeating: 0, count: 32)
        let key = RandomBits.stepKey(seed: 5, step: 6)
        for row in 0..<1000 {
            let bits = RandomBits(stepKey: key, row: row)
            for column in stride(from: 0, to: 64, by: 16) {
                let words = bits.bits(from: column)
                for lane in 0..<16 { for bit in 0..<32 { counts[bit] += Int(words[lane] >> UInt32(bit) & 1) } }
            }
        }
        // 64,000 bits, whose sum has a standard deviation of 126.
        for count in counts { XCTAssertLessThan(abs(count - 32_000), 700) }
    }

    private func batch(_ dimension: Int, seed: UInt64) -> (ids: [Int], gradients: [Float]) {
        var random = SeededGenerator(seed: seed)
        let ids = random.integers(60, in: 0..<rows)
        return (ids, random.normals(60 * dimension))
    }
}

/// A table in arrays of a test's.
private final class Memory {
    let format: TrainedRows.Format
    let (rows, dimension): (Int, Int)
    var elements: [UInt8]
    var scales: [Float]
    var elementState: [Float]
    var rowState: [Float]

    init(_ format: TrainedRows.Format, rows: Int, dimension: Int, seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        (self.format, self.rows, self.dimension) = (format, rows, dimension)
        let rowBytes = TrainedRows.rowBytes(format, dimension: dimension)
        elements = format.isScaled ? random.bytes(rows * rowBytes) : [UInt8](repeating: 0, count: rows * rowBytes)
        scales = (0..<rows).map { _ in Float(Int.random(in: 128..<256, using: &random)) * 0x1p-12 }
        elementState = random.normals(rows * dimension).map { abs($0) }
        rowState = random.normals(rows).map { abs($0) }
        if !format.isScaled { set((0..<rows * dimension).map { _ in Float(random.normal()) }) }
    }

    /// Writes numbers, the high halves of which the formats of 16 bits have.
    func set(_ values: [Float]) {
        for (place, value) in values.enumerated() {
            switch format {
            case .float32: write(value.bitPattern, bytes: 4, place)
            case .bfloat16: write(value.bitPattern >> 16, bytes: 2, place)
            default: write(UInt32(HalfReference.nearest(value)), bytes: 2, place)
            }
        }
    }

    private func write(_ bits: UInt32, bytes: Int, _ place: Int) {
        for byte in 0..<bytes { elements[place * bytes + byte] = UInt8(truncatingIfNeeded: bits >> UInt32(8 * byte)) }
    }

    private func with<Result>(_ body: (TrainedRows) throws -> Result) rethrows -> Result {
        try elements.withUnsafeMutableBytes { elements in
            try scales.withUnsafeMutableBufferPointer { scales in
                try elementState.withUnsafeMutableBufferPointer { elementState in
                    try rowState.withUnsafeMutableBufferPointer { rowState in
                        try body(
                            TrainedRows(
                                elements: elements.baseAddress!, scales: scales.baseAddress,
                                elementState: elementState.baseAddress, rowState: rowState.baseAddress, rows: rows,
                                dimension: dimension, format: format))
                    }
                }
            }
        }
    }

    func step(_ ids: [Int], _ gradients: [Float], _ optimizer: RowOptimizer) throws {
        try with { table in try IDs.with(ids) { try table.step($0, gradients: gradients, optimizer) } }
    }

    func values() throws -> [Float] {
        var values = [Float](repeating: .nan, count: rows * dimension)
        try with { table in try IDs.with(Array(0..<rows)) { try table.gather($0, into: &values) } }
        return values
    }
}
