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
        let memory = TrainedMemory(.float32, rows: rows, dimension: dimension, seed: 3)
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
        let memory = TrainedMemory(format, rows: rows, dimension: dimension, seed: 5)
        let exact = TrainedMemory(.float32, rows: rows, dimension: dimension, seed: 5)
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
            let unit = Self.unit(format, expected[place], scale: memory.scales[row])
            let most = rounding == .nearest ? unit / 2 * 1.0001 : unit
            XCTAssertLessThanOrEqual(abs(found[place] - expected[place]), most, "\(format) \(dimension) \(kind)")
        }
        XCTAssertEqual(memory.elementState, exact.elementState)
        XCTAssertEqual(memory.rowState, exact.rowState)
    }

    /// How far a value can be from the next one that a format has.
    private static func unit(_ format: TrainedRows.Format, _ value: Float, scale: Float) -> Float {
        switch format {
        case .float32: return 0
        case .bfloat16: return max(abs(value) * 0x1p-7, .leastNormalMagnitude)
        case .float16: return max(abs(value) * 0x1p-10, 0x1p-24)
        default: return scale
        }
    }

    func testWrittenRowsAreNextToTheirValues() throws {
        for format in Self.formats {
            for dimension in [1, 3, 15, 16, 17, 64] {
                for rounding in [RowOptimizer.Rounding.nearest, .stochastic] {
                    try checkWritten(format, dimension, rounding)
                }
            }
        }
    }

    private func checkWritten(
        _ format: TrainedRows.Format, _ dimension: Int, _ rounding: RowOptimizer.Rounding
    ) throws {
        let memory = TrainedMemory(format, rows: rows, dimension: dimension, seed: 11)
        let (before, scales) = (try memory.values(), memory.scales)
        let ids = Array(stride(from: 1, to: rows, by: 3))
        let values = ids.flatMap { row in before[row * dimension..<(row + 1) * dimension].map { $0 * 0.7 } }
        try memory.write(ids, values, nil, RowRounding(rounding: rounding, scaleRate: 1, seed: 4))
        XCTAssertEqual(memory.scales, scales)
        var expected = before
        for (position, row) in ids.enumerated() {
            for column in 0..<dimension { expected[row * dimension + column] = values[position * dimension + column] }
        }
        for (place, found) in try memory.values().enumerated() {
            let row = place / dimension
            let unit = ids.contains(row) ? Self.unit(format, expected[place], scale: scales[row]) : 0
            let most = rounding == .nearest ? unit / 2 * 1.0001 : unit
            XCTAssertLessThanOrEqual(abs(found - expected[place]), most, "\(format) \(dimension) \(rounding)")
        }
    }

    func testScalesMoveAgainstTheirSlopes() throws {
        for (format, limit) in [(TrainedRows.Format.int16, 32768.0), (.int8, 128), (.int4, 8)] {
            for dimension in [1, 3, 16, 17, 64] {
                let memory = TrainedMemory(format, rows: rows, dimension: dimension, seed: 13)
                let scales = memory.scales
                var random = SeededGenerator(seed: 14)
                // A third of the values is beyond the codes.
                let values = random.normals(rows * dimension).enumerated().map { place, value in
                    value * scales[place / dimension] * Float(limit)
                }
                let slopes = random.normals(rows * dimension)
                try memory.write(Array(0..<rows), values, slopes, RowRounding(scaleRate: 0.01))
                for row in 0..<rows {
                    var (product, square, scale) = (0.0, 0.0, scales[row])
                    let own = values[row * dimension..<(row + 1) * dimension]
                    let fitting = own.map { $0 > 0 ? $0 / Float(limit - 1) : -$0 / Float(limit) }.max()!
                    if fitting > 2 * scale || fitting < scale / 2 {
                        scale = Float(bitPattern: (fitting.bitPattern + 0xFFFF) & 0xFFFF_0000)
                    }
                    for place in row * dimension..<(row + 1) * dimension {
                        let exact = Double(values[place] / scale)
                        let code = min(max(exact.rounded(.toNearestOrEven), -limit), limit - 1)
                        let isInside = exact >= -limit && exact <= limit - 1
                        product += Double(slopes[place]) * (code - (isInside ? exact : 0))
                        square += Double(slopes[place] * slopes[place])
                    }
                    let factor = min(max(1 - 0.01 * product / square.squareRoot(), 0.5), 2)
                    XCTAssertEqual(Double(memory.scales[row] / scale), factor, accuracy: 2e-4, "\(format) \(row)")
                }
            }
        }
    }

    func testScalesOfFourBitsBecomeWhatFits() throws {
        let memory = TrainedMemory(.int4, rows: rows, dimension: 5, seed: 15)
        let before = memory.scales
        var gradients = [Float](repeating: 0, count: 10)
        (gradients[2], gradients[9]) = (-100, 200)
        try memory.step([3, 8], gradients, RowOptimizer(kind: .sgd, rounding: .nearest, learningRate: 1))
        XCTAssertEqual(memory.scales[3], 100 / 7, accuracy: 0.2)
        XCTAssertEqual(memory.scales[8], 200 / 8, accuracy: 0.4)
        for row in 0..<rows where row != 3 && row != 8 { XCTAssertEqual(memory.scales[row], before[row]) }
        for row in [3, 8] { XCTAssertEqual(memory.scales[row].bitPattern & 0xFFFF, 0) }
    }

    func testThreadsChangeNothing() throws {
        for format in Self.formats {
            var results: [TrainedMemory] = []
            for threads in [1, 2] {
                Parallel.threadCount = threads
                let memory = TrainedMemory(format, rows: 5000, dimension: 17, seed: 7)
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
        let memory = TrainedMemory(.int8, rows: rows, dimension: 5, seed: 1)
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

    func testWhatCannotBeWrittenWritesNothing() throws {
        let memory = TrainedMemory(.int8, rows: rows, dimension: 5, seed: 1)
        let before = (memory.elements, memory.scales)
        let ones = [Float](repeating: 1, count: 15)
        func refuse(
            _ text: String, _ ids: [Int] = [0, 3, 4], slopes: [Float]? = nil, how: RowRounding = RowRounding()
        ) {
            XCTAssertThrowsError(try memory.write(ids, ones, slopes, how)) { error in
                XCTAssertTrue("\(error)".contains(text), "\(error)")
            }
        }
        refuse("id 40 at position 2", [0, 3, rows])
        refuse("ids must rise, but the one at position 1 does not", [3, 3, 4])
        refuse("slopes must be finite, but the one at position 2", slopes: ones.dropLast() + [.infinity])
        refuse("scale_rate must be finite", how: RowRounding(scaleRate: -1))
        refuse("step must be at least 1", how: RowRounding(step: 0))
        XCTAssertEqual(memory.elements, before.0)
        XCTAssertEqual(memory.scales, before.1)
        let floats = TrainedMemory(.bfloat16, rows: rows, dimension: 5, seed: 1)
        XCTAssertThrowsError(try floats.write([1, 2, 3], ones, ones, RowRounding()))
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
