import TestSupport
import XCTest

@testable import EmbedCompress

/// How scales are rounded, and where f32 is chosen for them.
final class ScaleChoiceTests: XCTestCase {
    private func range(_ low: Float, _ high: Float, bits: Int, _ type: ScaleType) -> (scale: Float, bias: Float) {
        let ranges = RangeFormat(bits: bits, type: type).ranges(Floats16(repeating: low), Floats16(repeating: high))
        return (ranges.scale[0], ranges.bias[0])
    }

    // MARK: Rounding

    func testHalfScalesThatWouldFallShortAreRoundedUp() {
        let step: Float = 0x1p-24
        // 1.2 steps over 255 codes leave a fifth of the range out, and 1.002 less than a code.
        XCTAssertEqual(range(0, 1.2 * 255 * step, bits: 8, .float16).scale, 2 * step)
        XCTAssertEqual(range(0, 1.002 * 255 * step, bits: 8, .float16).scale, step)
        // Less than half a step is no number of f16 otherwise.
        XCTAssertEqual(range(0, 0.3 * 255 * step, bits: 8, .float16).scale, step)
        XCTAssertEqual(range(0, 0.3 * step, bits: 1, .float16).scale, step)
        XCTAssertEqual(range(3 * step, 3 * step, bits: 8, .float16).scale, 1, "no range")
    }

    func testHalfScalesOfOrdinarySizeAreTheNearest() {
        var generator = SeededGenerator(seed: 910)
        for bits in Uniform.bitWidths {
            let last = Float(1 << bits - 1)
            for _ in 0..<200 {
                let high = Float.random(in: 0.1...100, using: &generator)
                let format = RangeFormat(bits: bits, type: .float16)
                let scale = range(0, high, bits: bits, .float16).scale
                guard scale >= 0x1p-14 else { continue }
                XCTAssertEqual(scale, HalfReference.rounded(high / last))
                XCTAssertFalse(any(format.areCoarse(Floats16(repeating: scale))))
            }
        }
    }

    func testScalesAreCoarseWhereTheirRoundingMayMissACode() {
        for (bits, bound) in [(1, Float(0x1p-25)), (4, 15 * 0x1p-25), (8, 255 * 0x1p-25), (16, 0x1p-14)] {
            let format = RangeFormat(bits: bits, type: .float16)
            XCTAssertTrue(all(format.areCoarse(Floats16(repeating: bound.nextDown))))
            XCTAssertFalse(any(format.areCoarse(Floats16(repeating: bound))))
            let wide = RangeFormat(bits: bits, type: .float32)
            XCTAssertFalse(any(wide.areCoarse(Floats16(repeating: .leastNormalMagnitude))))
        }
    }

    /// Rows for which the nearest f16 scale is the best, and others for which one of its neighbours is.
    func testTheBestOfAScaleAndItsNeighboursIsTaken() throws {
        var generator = SeededGenerator(seed: 911)
        let format = UniformReference(dimension: 24, bits: 8, scaleType: .float16)
        let reference = QuantizerReference(bits: 8, scaleType: .float16)
        var moved = 0
        for exponent in [-19, -18, -17, -16, -15, -14] {
            let values = generator.normals(40 * 24).map { $0 * Float(sign: .plus, exponent: exponent, significand: 1) }
            let table = try denseTable(values, dimension: 24).compressed("asym", ["bits": 8, "scale_dtype": "f16"])
            for (index, row) in try storedRows(table).enumerated() {
                let source = Array(values[index * 24..<(index + 1) * 24])
                let (scale, bias) = format.parameters(row[...], group: 0)
                let found = QuantizerReference.Range(scale: scale, bias: bias)
                XCTAssertEqual(found, reference.asym(source))
                XCTAssertEqual(format.codes(row[...]), reference.codes(source, found))
                let first = reference.range(minimum: source.min() ?? 0, maximum: source.max() ?? 0)
                let least = reference.squaredError(source, first)
                XCTAssertLessThanOrEqual(reference.squaredError(source, found), least * (1 + 1e-5))
                if found != first { moved += 1 }
            }
        }
        XCTAssertGreaterThan(moved, 20)
        XCTAssertLessThan(moved, 220)
    }

    func testTheSmallestFloatScaleHasABiasThatIsAMultiple() {
        let least = Float.leastNormalMagnitude
        for (low, high) in [(-1.3 * least, 1.7 * least), (-0.2 * least, 0.1 * least), (100.6 * least, 130 * least)] {
            let (scale, bias) = range(low, high, bits: 8, .float32)
            XCTAssertEqual(scale, least)
            XCTAssertEqual(bias / least, (low / least).rounded(.toNearestOrEven))
        }
        // Larger scales, and rows of one value, are as ever.
        XCTAssertEqual(range(0, 255 * 4 * least, bits: 8, .float32).scale, 4 * least)
        XCTAssertEqual(range(0.25 * least, 0.25 * least, bits: 8, .float32).bias, 0.25 * least)
    }

    func testNoRowOfTinyValuesIsWorseThanZeros() throws {
        var generator = SeededGenerator(seed: 912)
        for exponent in [-148, -140, -130, -127, -126, -124, -120, -112] {
            let values = generator.normals(16 * 20).map { $0 * Float(sign: .plus, exponent: exponent, significand: 1) }
            let source = try denseTable(values, dimension: 20)
            let methods = Method.rangeMethods.map { ($0, Method.fewBins($0).merging(["bits": 4]) { $1 }) }
            for (method, options) in methods + [("int8", [:]), ("int16", [:]), ("table", ["bits": 8])] {
                let copy = try source.compressed(method, options).decode()
                let error = zip(copy, values).reduce(0) { $0 + pow(Double($1.0) - Double($1.1), 2) }
                let norm = values.reduce(0) { $0 + Double($1) * Double($1) }
                XCTAssertLessThanOrEqual(error, norm * (1 + 1e-6), "\(method), 2^\(exponent)")
            }
        }
    }

    // MARK: Choices

    private func losses(_ method: String, _ values: [Float], _ options: [String: OptionValue]) throws -> WideScales
        .Losses?
    {
        let source = try denseTable(values, dimension: 32)
        let progress = ProgressCounter(total: 0, callback: nil)
        let (input, _) = try Method.named(method).begin(source, options, progress: progress)
        return input.wideScales.losses
    }

    func testF32IsChosenWhereF16CostsMoreThanATenth() throws {
        var generator = SeededGenerator(seed: 913)
        let normals = generator.normals(64 * 32)
        for (method, options) in [
            ("asym", ["bits": 8]), ("least_squares", ["bits": 8]), ("int8", [:]), ("kmeans", [:]), ("eden", [:]),
            ("pq", [:]), ("prune", [:]), ("hot_cold", [:]),
        ] as [(String, [String: OptionValue])] {
            XCTAssertNil(try losses(method, normals, options), method)
            let small = try XCTUnwrap(losses(method, normals.map { $0 * 1e-7 }, options), method)
            XCTAssertGreaterThan(small.f16, 1.1 * (small.f32 ?? .infinity), method)
            let large = try XCTUnwrap(losses(method, normals.map { $0 * 1e9 }, options), method)
            XCTAssertEqual(large.f16, .infinity, method)
        }
    }

    func testAnOptionOrABudgetKeepsF16() throws {
        var generator = SeededGenerator(seed: 914)
        let small = generator.normals(64 * 32).map { $0 * 1e-6 }
        XCTAssertNil(try losses("asym", small, ["bits": 8, "scale_dtype": "f16"]))
        XCTAssertNil(try losses("int8", small, ["budget": .integer(64 * 36)]))
        XCTAssertNotNil(try losses("int8", small, ["budget": .integer(64 * 40)]))
        XCTAssertNil(try losses("hot_cold", small, ["hot_scale_dtype": "f16", "cold_scale_dtype": "f16"]))
    }

    func testAReportSaysWhy() throws {
        var generator = SeededGenerator(seed: 915)
        let small = try denseTable(generator.normals(64 * 32).map { $0 * 1e-6 }, dimension: 32)
        let folder = NSTemporaryDirectory() + "/" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: folder) }
        func report(_ options: [String: OptionValue]) throws -> CompressionReport {
            try XCTUnwrap(
                TableFile.compress([CompressionJob("w", small, options: options)], method: "asym", to: folder).first)
        }
        let chosen = try report(["bits": 8])
        XCTAssertGreaterThan(try XCTUnwrap(chosen.halfLoss), 0.01)
        XCTAssertEqual(try XCTUnwrap(chosen.floatLoss), chosen.quality.normalizedL2, accuracy: 1e-6)
        XCTAssertEqual(chosen.coarseScaleShare, 0)
        let kept = try report(["bits": 8, "scale_dtype": "f16"])
        XCTAssertNil(kept.halfLoss)
        XCTAssertEqual(kept.coarseScaleShare, 1)
        XCTAssertEqual(try XCTUnwrap(chosen.halfLoss), kept.quality.normalizedL2, accuracy: 1e-6)
    }
}
