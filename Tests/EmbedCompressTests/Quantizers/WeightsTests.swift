import TestSupport
import XCTest

@testable import EmbedCompress

/// Weights of a row's elements: how much their errors count.
final class WeightsTests: XCTestCase {
    private let dimension = 24
    private let rows = 20
    private var methods: [Method] { Method.builtIn.filter { Method.rangeMethods.contains($0.name) && $0.takesWeights } }

    private func values(seed: UInt64) -> [Float] {
        var generator = SeededGenerator(seed: seed)
        return generator.normals(rows * dimension)
    }

    private func table(_ values: [Float], dimension: Int) throws -> Table {
        Table(try Dense(values, rows: values.count / dimension, dimension: dimension))
    }

    private func compress(
        _ values: [Float], _ method: Method, weights: [Float]? = nil, weightDimension: Int? = nil,
        options: [String: OptionValue] = [:]
    ) throws -> Table {
        try table(values, dimension: dimension).compressed(
            method.name, ["scale_dtype": "f32"].merging(options) { $1 },
            weights: try weights.map { try table($0, dimension: weightDimension ?? dimension) })
    }

    /// The sum of weights times squared errors of each row.
    private func errors(_ copy: [Float], _ values: [Float], _ weights: [Float]) -> [Double] {
        stride(from: 0, to: values.count, by: dimension).map { start in
            (start..<start + dimension).reduce(0) { sum, place in
                let error = Double(copy[place]) - Double(values[place])
                return sum + Double(weights[place]) * error * error
            }
        }
    }

    func testEqualWeightsChangeNothing() throws {
        let values = values(seed: 80)
        for method in methods {
            let plain = try storedRows(compress(values, method))
            for weight in [1, 0.25, 64] as [Float] {
                let weights = [Float](repeating: weight, count: values.count)
                XCTAssertEqual(try storedRows(compress(values, method, weights: weights)), plain, method.name)
            }
        }
    }

    func testWeightsOfWholeRowsChangeNothing() throws {
        let values = values(seed: 81)
        let weights = (0..<rows).map { Float($0) }
        for method in methods {
            XCTAssertEqual(
                try storedRows(compress(values, method, weights: weights, weightDimension: 1)),
                try storedRows(compress(values, method)), method.name)
        }
    }

    /// An element of weight 3 counts as three elements of the same value.
    func testWeightsCountAsRepeatedElements() throws {
        let values = values(seed: 82)
        let counts = (0..<dimension).map { $0 % 4 == 1 ? 3 : 1 }
        let weights = (0..<rows).flatMap { _ in counts.map { Float($0) } }
        let repeated = (0..<rows).flatMap { row in
            counts.enumerated().flatMap { column, count in
                [Float](repeating: values[row * dimension + column], count: count)
            }
        }
        let firsts = counts.indices.map { counts[..<$0].reduce(0, +) }
        let width = counts.reduce(0, +)
        for method in methods {
            let weighted = try compress(values, method, weights: weights).decode()
            let wide = try table(repeated, dimension: width).compressed(method.name, ["scale_dtype": "f32"]).decode()
            let narrowed = (0..<rows).flatMap { row in firsts.map { wide[row * width + $0] } }
            let found = errors(weighted, values, weights)
            let wanted = errors(narrowed, values, weights)
            // Sums have another order: of errors that are equal but for rounding, another may be taken.
            let equal = zip(found, wanted).filter { abs($0 - $1) <= 1e-4 * $1 }.count
            XCTAssertGreaterThanOrEqual(equal, rows * 9 / 10, method.name)
            XCTAssertEqual(found.reduce(0, +), wanted.reduce(0, +), accuracy: 0.02 * wanted.reduce(0, +), method.name)
        }
    }

    func testWeightsLowerTheErrorThatTheyWeigh() throws {
        let values = values(seed: 83)
        // Half of the elements lie close together, and are what counts.
        let squeezed = values.enumerated().map { $0.offset % 2 == 0 ? $0.element * 0.2 : $0.element }
        let weights = values.indices.map { $0 % 2 == 0 ? 1 : 0.001 as Float }
        for method in methods {
            for bits in [2, 4] {
                let options: [String: OptionValue] = ["bits": .integer(bits)]
                let weighted = try compress(squeezed, method, weights: weights, options: options).decode()
                let plain = try compress(squeezed, method, options: options).decode()
                let asym = try table(squeezed, dimension: dimension).compressed(
                    "asym", ["scale_dtype": "f32", "bits": .integer(bits)]
                ).decode()
                let found = errors(weighted, squeezed, weights)
                XCTAssertLessThan(
                    found.reduce(0, +), errors(plain, squeezed, weights).reduce(0, +), "\(method.name), \(bits) bits")
                for (error, widest) in zip(found, errors(asym, squeezed, weights)) {
                    XCTAssertLessThanOrEqual(error, widest * (1 + 1e-5), "\(method.name), \(bits) bits")
                }
            }
        }
    }

    func testRowsWithoutWeightAreCompressed() throws {
        let values = values(seed: 84)
        let weights = [Float](repeating: 0, count: values.count)
        for method in methods {
            let copy = try compress(values, method, weights: weights).decode()
            XCTAssertTrue(copy.allSatisfy(\.isFinite), method.name)
        }
    }

    func testWeightsAreChecked() throws {
        let values = values(seed: 85)
        func message(_ method: String, _ weights: [Float], _ dimension: Int) -> String {
            do {
                _ = try table(values, dimension: self.dimension).compressed(
                    method, weights: try table(weights, dimension: dimension))
                return "nothing thrown"
            } catch { return "\(error)" }
        }
        for bad in [-1, .nan, .infinity] as [Float] {
            var weights = [Float](repeating: 1, count: values.count)
            weights[3 * dimension + 5] = bad
            XCTAssertTrue(message("greedy", weights, dimension).contains("weights of row 3 have"), "\(bad)")
        }
        let ones = [Float](repeating: 1, count: values.count)
        XCTAssertTrue(message("greedy", ones, dimension / 2).contains("weights must be"))
        XCTAssertTrue(message("greedy", Array(ones.prefix(rows - 1)), 1).contains("weights must be"))
        for method in Method.builtIn where !method.takesWeights {
            XCTAssertTrue(message(method.name, ones, dimension).contains("takes no weights"), method.name)
        }
    }
}
