import TestSupport
import XCTest

@testable import EmbedCompress

extension Method {
    /// Those that choose a range for each row, with scales in f16 or f32.
    static var rangeMethods: [String] {
        all.filter { $0.options.contains { $0.name == "group" } }.map(\.name)
    }

    /// What keeps a search over all pairs of bins short: the default takes seconds without optimisation.
    static func fewBins(_ method: String) -> [String: OptionValue] { method == "hist_brute" ? ["b": 10] : [:] }
}

final class QuantizersTests: XCTestCase {
    private typealias Case = (name: String, values: [Float], dimension: Int)

    /// Tables of every kind of row that quantizers meet; all fit f16 scales.
    private func cases() -> [Case] {
        var generator = SeededGenerator(seed: 70)
        var cases: [Case] = testDimensions.map { ("normal", generator.normals(($0 > 100 ? 2 : 6) * $0), $0) }
        let uniform = (0..<200).map { _ in Float.random(in: 3...4, using: &generator) }
        cases.append(("uniform", uniform, 20))
        cases.append(("skewed", generator.normals(320).map { $0 * $0 * $0 }, 32))
        cases.append(("outlier", generator.normals(64) + [50] + generator.normals(63), 64))
        cases.append(("constant", [1, 0, -2.7, 1e-9, 65504].flatMap { [Float](repeating: $0, count: 9) }, 9))
        cases.append(("two values", (0..<66).map { $0 % 3 == 0 ? -1 : 1 }, 33))
        cases.append(("nearly constant", (0..<40).map { 1 + Float($0 % 2) * 0x1p-23 }, 20))
        cases.append(("small", generator.normals(60).map { $0 * 1e-3 }, 30))
        cases.append(("large", generator.normals(60).map { $0 * 1e4 }, 30))
        return cases
    }

    private func groupRanges(_ format: UniformReference) -> [Range<Int>] {
        (0..<format.groups).map {
            $0 * format.groupColumns..<min(($0 + 1) * format.groupColumns, format.dimension)
        }
    }

    private func compress(_ values: [Float], _ method: String, _ format: UniformReference) throws -> [[UInt8]] {
        var options: [String: OptionValue] = [
            "bits": .integer(format.bits), "scale_dtype": .string(format.scaleType.rawValue),
        ]
        if let group = format.group { options["group"] = .integer(group) }
        return try storedRows(denseTable(values, dimension: format.dimension).compressed(method, options))
    }

    private func forEachGroup(
        _ method: String, bits: [Int],
        body: (String, [Float], [Int], QuantizerReference.Range, QuantizerReference) -> Void
    ) throws {
        for (name, values, dimension) in cases() {
            for bits in bits {
                for (group, scaleType) in [(nil, ScaleType.float16), (nil, .float32), (8, .float16)] {
                    let format = UniformReference(
                        dimension: dimension, bits: bits, group: group, scaleType: scaleType)
                    let reference = QuantizerReference(bits: bits, scaleType: scaleType)
                    for (index, row) in try compress(values, method, format).enumerated() {
                        let codes = format.codes(row[...])
                        for (position, columns) in groupRanges(format).enumerated() {
                            let (scale, bias) = format.parameters(row[...], group: position)
                            let source = Array(values[index * dimension..<(index + 1) * dimension][...])
                            body(
                                "\(name), row \(index), \(format)", Array(source[columns]), Array(codes[columns]),
                                QuantizerReference.Range(scale: scale, bias: bias), reference)
                        }
                    }
                }
            }
        }
    }

    // MARK: Agreement with the references

    func testAsymIsTheReference() throws {
        try forEachGroup("asym", bits: Uniform.bitWidths) { message, row, codes, range, reference in
            let expected = reference.asym(row)
            XCTAssertEqual(range, expected, message)
            XCTAssertEqual(codes, reference.codes(row, expected), message)
        }
    }

    func testGreedyIsTheReference() throws {
        var (equal, total) = (0, 0)
        try forEachGroup("greedy", bits: [1, 2, 4, 8]) { message, row, codes, range, reference in
            let (expected, margin) = reference.greedy(row)
            total += 1
            if range == expected { equal += 1 }
            // Where two errors are equal but for rounding, either decision is Algorithm 1.
            if margin > 1e-5 { XCTAssertEqual(range, expected, message) }
            XCTAssertEqual(codes, reference.codes(row, range), message)
            let (error, widest) = (reference.squaredError(row, range), reference.squaredError(row, reference.asym(row)))
            XCTAssertLessThanOrEqual(error, widest * (1 + 1e-6), message)
            if range != expected {
                XCTAssertEqual(error, reference.squaredError(row, expected), accuracy: 0.1 * widest, message)
            }
        }
        XCTAssertGreaterThan(Double(equal), 0.9 * Double(total), "\(equal) of \(total)")
    }

    func testGreedyWithOtherStepsIsTheReference() throws {
        var generator = SeededGenerator(seed: 71)
        let values = generator.normals(10 * 24)
        for (b, r) in [(1, 1.0), (1000, 0.5), (37, 0.0), (50, 1.0), (200, 0.9)] {
            let table = try denseTable(values, dimension: 24).compressed(
                "greedy", ["b": .integer(b), "r": .number(r), "bits": 2])
            let format = UniformReference(dimension: 24, bits: 2)
            let reference = QuantizerReference(bits: 2)
            for (index, row) in try storedRows(table).enumerated() {
                let source = Array(values[index * 24..<(index + 1) * 24])
                let (expected, margin) = reference.greedy(source, b: b, r: r)
                let (scale, bias) = format.parameters(row[...], group: 0)
                if margin > 1e-5 {
                    XCTAssertEqual(QuantizerReference.Range(scale: scale, bias: bias), expected, "\(b) \(r)")
                }
            }
        }
    }

    /// Figures that were measured with another implementation of Algorithm 1 (N(0, 1), 64 wide, f16): the paper's gain
    /// is there.
    func testGreedyGainsWhatThePaperSays() throws {
        let source = try randomDense(rows: 200, dimension: 64, seed: 72)
        for (bits, asym, greedy) in [(4, 0.0891, 0.0805), (2, 0.4475, 0.3596)] {
            let options: [String: OptionValue] = ["bits": .integer(bits)]
            XCTAssertEqual(
                try source.compressed("asym", options).quality(against: source).normalizedL2, asym, accuracy: 0.01)
            XCTAssertEqual(
                try source.compressed("greedy", options).quality(against: source).normalizedL2, greedy, accuracy: 0.01)
        }
    }

    // MARK: Promises

    /// In double precision, on the decoded rows: however small the numbers, no method gives a row more error than ASYM.
    func testNoMethodIsWorseThanAsym() throws {
        var generator = SeededGenerator(seed: 73)
        for exponent in [-40, -38, -30, -24, -22, -21, -20, -10, 0, 10, 18, 19, 20, 30, 37] {
            let values = generator.normals(16 * 20).map { $0 * pow(10, Float(exponent)) }
            let source = try denseTable(values, dimension: 20)
            for bits in [1, 2, 4] {
                let options: [String: OptionValue] = ["bits": .integer(bits), "scale_dtype": "f32"]
                let asym = try source.compressed("asym", options).decode()
                for method in Method.rangeMethods {
                    let options = options.merging(Method.fewBins(method)) { $1 }
                    let copy = try source.compressed(method, options).decode()
                    for row in 0..<16 {
                        let range = row * 20..<(row + 1) * 20
                        XCTAssertLessThanOrEqual(
                            squaredError(copy[range], values[range]),
                            squaredError(asym[range], values[range]) * (1 + 1e-5),
                            "\(method), 1e\(exponent), \(bits) bits, row \(row)")
                    }
                }
            }
        }
    }

    private func squaredError(_ copy: ArraySlice<Float>, _ values: ArraySlice<Float>) -> Double {
        zip(copy, values).reduce(0) { $0 + (Double($1.0) - Double($1.1)) * (Double($1.0) - Double($1.1)) }
    }

    func testConstantRowsComeBack() throws {
        for method in Method.rangeMethods {
            for bits in [1, 4, 8] {
                for scaleType in ["f16", "f32"] {
                    let values: [Float] = [0, 1, -2.5, 0.1, 3e-4, 60000, -60000]
                    let source = try denseTable(values.flatMap { [$0, $0, $0] }, dimension: 3)
                    let options: [String: OptionValue] = ["bits": .integer(bits), "scale_dtype": .string(scaleType)]
                    let copy = try source.compressed(method, options.merging(Method.fewBins(method)) { $1 })
                    for (value, result) in zip(try source.decode(), try copy.decode()) {
                        XCTAssertEqual(result, value, accuracy: abs(value) * (scaleType == "f16" ? 0x1p-10 : 0), method)
                    }
                }
            }
        }
    }

    func testResultsDoNotDependOnThreads() throws {
        let source = try randomDense(rows: 900, dimension: 24, seed: 74)
        for method in Method.builtIn {
            var options = Method.fewBins(method.name)
            if method.options.contains(where: { $0.name == "bits" }) { options["bits"] = 2 }
            if method.name.hasPrefix("int") { options = ["scale": "table"] }
            try assertSameForThreadCounts(method.name, counts: [1, 3]) {
                try source.compressed(method.name, options).parts().arrays.flatMap { array in
                    withExtendedLifetime(array.bytes.storage) { array.bytes.buffer.map { Float($0) } }
                }
            }
        }
    }

    func testAnyTableIsASource() throws {
        let values = try randomDense(rows: 30, dimension: 10, seed: 75).decode()
        let ids = Array((0..<30).reversed())
        let route = try denseTable(values, dimension: 10).remapped(through: ids)
        let direct = try denseTable(try route.decode(), dimension: 10)
        XCTAssertEqual(try storedRows(route.compressed("greedy")), try storedRows(direct.compressed("greedy")))
    }
}
