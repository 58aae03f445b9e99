import TestSupport
import XCTest

@testable import EmbedCompress

final class EdenTests: XCTestCase {
    /// Max 1960, table I, for up to 4 bits; for 5 what 20,000 rounds of Lloyd in double precision come to.
    func testLevelsAreThoseOfMax() {
        for (bits, error) in [(1, 0.3634), (2, 0.1175), (3, 0.03454), (4, 0.009497), (5, 0.002505)] {
            let sphere = SphereLevels(dimension: 1 << 20)
            let levels = sphere.positive(1 << (bits - 1))
            XCTAssertEqual(squaredError(levels, sphere, end: 8), error, accuracy: error * 1e-3)
        }
        let levels = SphereLevels(dimension: 1 << 20).positive(2)
        XCTAssertEqual(levels[0], 0.4528, accuracy: 1e-4)
        XCTAssertEqual(levels[1], 1.510, accuracy: 1e-3)
    }

    /// Each is the mean of what is nearest to it, for spheres of any dimension.
    func testLevelsAreAFixedPoint() {
        for dimension in [1, 2, 3, 4, 5, 8, 50, 256, 4096] {
            let sphere = SphereLevels(dimension: dimension)
            let end = min(Double(max(dimension, 3)).squareRoot(), 9)
            for bits in Codebook.bitWidths {
                let levels = sphere.positive(1 << (bits - 1))
                for (index, level) in levels.enumerated() {
                    let low = index == 0 ? 0 : (levels[index - 1] + level) / 2
                    let high = index + 1 == levels.count ? end : (level + levels[index + 1]) / 2
                    let (mass, moment, _) = sums(sphere, low, high, about: 0)
                    XCTAssertEqual(moment / mass, level, accuracy: 1e-3 * (high - low), "\(dimension), \(bits) bits")
                }
            }
        }
        // Uniform in three dimensions.
        for (index, level) in SphereLevels(dimension: 3).positive(4).enumerated() {
            XCTAssertEqual(level, 3.squareRoot() * (Double(index) + 0.5) / 4, accuracy: 1e-9)
        }
    }

    private func squaredError(_ levels: [Double], _ sphere: SphereLevels, end: Double) -> Double {
        var (mass, error) = (0.0, 0.0)
        for (index, level) in levels.enumerated() {
            let low = index == 0 ? 0 : (levels[index - 1] + level) / 2
            let high = index + 1 == levels.count ? end : (level + levels[index + 1]) / 2
            let found = sums(sphere, low, high, about: level)
            mass += found.mass
            error += found.squares
        }
        return error / mass
    }

    /// By the midpoint rule.
    private func sums(
        _ sphere: SphereLevels, _ low: Double, _ high: Double, about center: Double
    ) -> (mass: Double, moment: Double, squares: Double) {
        let count = 2000
        var (mass, moment, squares) = (0.0, 0.0, 0.0)
        for index in 0..<count {
            let value = low + (high - low) * (Double(index) + 0.5) / Double(count)
            let share = sphere.density(value) * (high - low) / Double(count)
            mass += share
            moment += share * value
            squares += share * (value - center) * (value - center)
        }
        return (mass, moment, squares)
    }

    func testScoresAreThoseOfTheNearestLevels() throws {
        var generator = SeededGenerator(seed: 410)
        for dimension in [1, 15, 16, 17, 100] {
            let values = generator.normals(dimension).map(abs)
            let padded = values + [Float](repeating: 0, count: 16)
            for bits in Codebook.bitWidths {
                let levels = SphereLevels(dimension: dimension).positive(1 << (bits - 1)).map { Float($0) }
                let book = try SymmetricBook(bits: bits, levels: levels)
                for factor: Float in [0.5, 1, 1.3] {
                    var (product, square) = (0.0, 0.0)
                    for value in values {
                        let level = levels.min { abs($0 - value * factor) < abs($1 - value * factor) } ?? 0
                        product += Double(value) * Double(level)
                        square += Double(level) * Double(level)
                    }
                    let score = book.score(padded, count: dimension, factor: factor)
                    XCTAssertEqual(Double(score.product), product, accuracy: 1e-4 * product)
                    XCTAssertEqual(Double(score.square), square, accuracy: 1e-4 * square)
                    XCTAssertEqual(Double(score.scale), product / square, accuracy: 1e-4 * product / square)
                    let quick = book.quickScore(padded, count: dimension, factor: factor)
                    XCTAssertEqual(quick.value, score.value, accuracy: 2e-3 * score.value)
                }
            }
        }
    }

    func testErrorsAndBytes() throws {
        let source = try randomDense(rows: 200, dimension: 256, seed: 411)
        for (bits, error) in [(1, 0.366), (2, 0.117), (3, 0.034), (4, 0.0088), (8, 0.00004)] {
            let table = try source.compressed("eden", ["bits": .integer(bits)])
            XCTAssertEqual(table.storedBytes, 200 * (32 * bits + 2) + (2 << bits) + 8 + 1024)
            let loss = try table.quality(against: source).normalizedL2
            XCTAssertLessThan(loss * loss, error)
        }
    }

    func testRowsOfEqualBytesWhateverTheRun() throws {
        let source = try randomDense(rows: 300, dimension: 40, seed: 412)
        let whole = try storedRows(source.compressed("eden", ["center": false]))
        XCTAssertEqual(
            whole[100...].map { $0 }, try storedRows(source.slice(100..<300).compressed("eden", ["center": false])))
    }

    func testIntegersOfATableAreRoundedByPlace() throws {
        let source = try randomDense(rows: 300, dimension: 40, seed: 413)
        for method in ["int8", "int16"] {
            let options: [String: OptionValue] = ["scale": "table", "step": 0.05]
            let (_, compressor) = try Method.named(method).begin(
                source, options, weights: nil, progress: ProgressCounter(total: 0, callback: nil))
            let run = try CompressionInput(source: source.root).sliced(90..<300)
            let part = try compressor.compress(
                run, tally: FallbackTally(), progress: ProgressCounter(total: 0, callback: nil))
            XCTAssertEqual(
                try storedRows(Table(part)), try storedRows(source.compressed(method, options))[90...].map { $0 })
        }
    }
}
