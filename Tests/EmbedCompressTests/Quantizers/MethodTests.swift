import TestSupport
import XCTest

@testable import EmbedCompress

final class MethodTests: XCTestCase {
    private func source(_ values: [Float] = [1, 2, 3, 4], dimension: Int = 2) throws -> Table {
        try denseTable(values, dimension: dimension)
    }

    // MARK: Values that cannot be stored

    private func rows(_ special: Float, row: Int = 7, column: Int = 2) -> [Float] {
        var generator = SeededGenerator(seed: 80)
        var values = generator.normals(40 * 5)
        values[row * 5 + column] = special
        return values
    }

    func testValuesThatAreNotFiniteNameTheirRow() throws {
        for method in Method.builtIn.map(\.name) {
            for (value, text): (Float, String) in [(.nan, "nan"), (.infinity, "inf"), (-.infinity, "-inf")] {
                for column in 0..<5 {
                    assertInvalidArgument("row 7 has \(text) in column \(column); every value must be finite") {
                        _ = try source(rows(value, column: column), dimension: 5).compressed(method)
                    }
                }
            }
        }
    }

    func testTheFirstBadRowIsNamedWhateverTheThreads() throws {
        var values = [Float](repeating: 1, count: 60_000)
        for row in [59_999, 40_000, 20_001] { values[row] = .nan }
        let table = try source(values, dimension: 1)
        let before = Parallel.threadCount
        defer { Parallel.threadCount = before }
        for threads in [1, 2, 4, 7] {
            Parallel.threadCount = threads
            assertInvalidArgument("row 20001 has nan") { _ = try table.compressed("asym") }
        }
    }

    func testValuesBeyondF16NameTheirRow() throws {
        for method in Method.rangeMethods {
            let options = Method.fewBins(method)
            for value: Float in [-65520, 1e6 * 16, -1e30, .greatestFiniteMagnitude] {
                assertInvalidArgument(
                    "row 7 has values from", "beyond the range of f16 scales (65504)", "scale_dtype 'f32'"
                ) {
                    _ = try source(rows(value), dimension: 5).compressed(
                        method, options.merging(["scale_dtype": "f16"]) { $1 })
                }
            }
            let copy = try source(rows(1e6), dimension: 5).compressed(
                method, options.merging(["scale_dtype": "f32", "bits": 8]) { $1 })
            XCTAssertEqual(try copy.decode()[37], 1e6, accuracy: 1)
            // Left open, the type is one that holds the values.
            for value: Float in [1e6, -1e30] {
                let copy = try source(rows(value), dimension: 5).compressed(method, options.merging(["bits": 8]) { $1 })
                XCTAssertEqual(try copy.decode()[37], value, accuracy: 1e-3 * value.magnitude)
            }
        }
        var values = rows(0)
        values[35] = -.greatestFiniteMagnitude
        values[36] = .greatestFiniteMagnitude
        assertInvalidArgument("row 7", "beyond the range of f32 scales") {
            _ = try source(values, dimension: 5).compressed("asym", ["scale_dtype": "f32"])
        }
    }

    func testValuesNearTheLimitOfF16AreKeptOrRefusedButNeverTurnedIntoNaN() throws {
        for value: Float in [65504, 65519, -65504, -65519, 130_000, 900_000, 1e-7, 1e-30, .leastNonzeroMagnitude] {
            for bits in Uniform.bitWidths {
                let table = try source([0, value, value, value / 2], dimension: 2)
                guard let copy = try? table.compressed("greedy", ["bits": .integer(bits), "scale_dtype": "f16"]) else {
                    continue
                }
                for (result, original) in zip(try copy.decode(), [0, value, value, value / 2]) {
                    XCTAssertTrue(result.isFinite, "\(value), \(bits) bits")
                    XCTAssertEqual(result, original, accuracy: max(abs(value), 1e-7), "\(value), \(bits) bits")
                }
            }
        }
    }

    // MARK: Options

    func testUnknownMethodsAndOptions() throws {
        assertInvalidArgument("there is no method 'gredy'", "asym, ", "greedy") { _ = try source().compressed("gredy") }
        assertInvalidArgument("asym has no option 'b'", "bits, group, scale_dtype, range_factors, budget") {
            _ = try source().compressed("asym", ["b": 100])
        }
    }

    func testValuesOfOptions() throws {
        for (name, value, text): (String, OptionValue, String) in [
            ("bits", 0, "greedy: bits must be one of 1, 2, 3, 4, 5, 6, 7, 8, 16, not 0"), ("bits", 9, "not 9"),
            ("bits", 4.0, "not 4.0"), ("bits", "4", "not '4'"), ("bits", true, "not true"), ("bits", .null, "not null"),
            ("group", 0, "group must be an integer from 1"), ("group", 1, "group must be a multiple of 8 columns"),
            ("scale_dtype", "bf16", "one of 'auto', 'f16', 'f32', not 'bf16'"), ("b", 0, "from 1 to 100000"),
            ("b", 100_001, "from 1 to 100000"), ("r", -0.1, "a number from 0.0 to 1.0, not -0.1"),
            ("r", 1.5, "not 1.5"),
            ("r", .number(.nan), "not nan"), ("budget", -1, "budget must not be negative, not -1"),
            ("budget", 1.5, "a ratio of the f32 size, from 0 to 1, not 1.5"), ("budget", "1", "a number, not '1'"),
        ] {
            assertInvalidArgument(text) {
                _ = try source(rows(1), dimension: 5).compressed("greedy", [name: value])
            }
        }
        XCTAssertNoThrow(try source().compressed("greedy", ["r": 1, "group": .null, "budget": .null]))
    }

    func testDefaults() throws {
        let uniform = try XCTUnwrap(source().compressed("asym").root as? Uniform)
        XCTAssertEqual([uniform.bits, uniform.group], [4, 2])
        XCTAssertEqual(uniform.scaleType, .float16)
        let wide = try XCTUnwrap(source().compressed("asym", ["bits": 16]).root as? Uniform)
        XCTAssertEqual(wide.scaleType, .float32)
        XCTAssertEqual(try source().compressed("asym", ["bits": 16]).decode(), [1, 2, 3, 4])
    }

    // MARK: Budgets

    func testABudgetChoosesTheMostBitsThatFit() throws {
        let table = try randomDense(rows: 10, dimension: 40, seed: 81)
        for bits in Uniform.bitWidths {
            let bytes =
                UniformReference(dimension: 40, bits: bits, scaleType: bits == 16 ? .float32 : .float16).rowBytes * 10
            for (budget, expected) in [(bytes, bits), (bytes + 1, bits)] {
                let copy = try table.compressed("greedy", ["budget": .integer(budget)])
                XCTAssertEqual((copy.root as? Uniform)?.bits, expected)
                XCTAssertLessThanOrEqual(copy.storedBytes, budget)
            }
        }
        XCTAssertEqual(
            try XCTUnwrap(table.compressed("asym", ["budget": .integer(1_000_000)]).root as? Uniform).bits, 16)
    }

    func testBudgetsThatAreTooSmallNameTheLeast() throws {
        let table = try randomDense(rows: 10, dimension: 40, seed: 82)
        assertThrows(.budget(method: "asym", budgetBytes: 89, floorBytes: 90)) {
            _ = try table.compressed("asym", ["budget": 89])
        }
        assertThrows(.budget(method: "greedy", budgetBytes: 0, floorBytes: 130)) {
            _ = try table.compressed("greedy", ["budget": 0, "scale_dtype": "f32"])
        }
        XCTAssertNoThrow(try table.compressed("asym", ["budget": 90]))
        assertInvalidArgument("give asym either bits or a budget, not both") {
            _ = try table.compressed("asym", ["budget": 1000, "bits": 4])
        }
    }

    // MARK: Registry

    func testTheRegistryIsComplete() throws {
        XCTAssertEqual(Set(Method.builtIn.map(\.name)).count, Method.builtIn.count)
        for method in Method.builtIn {
            for text in [method.title, method.paper, method.summary, method.bytesPerRow, method.cost] {
                XCTAssertFalse(text.isEmpty, method.name)
            }
            for option in method.options {
                XCTAssertFalse(option.summary.isEmpty)
                XCTAssertFalse(option.kind.description.isEmpty)
            }
        }
    }
}
