import EmbedCompressFoundation
import XCTest

@testable import EmbedCompress

final class ConfiguredMethodTests: XCTestCase {
    /// Of each method, its typed form with nothing given and, between them, with everything given.
    private static let forms: [String: (plain: ConfiguredMethod, full: ConfiguredMethod)] = {
        let size = Budget.bytes(1 << 30)
        let factors = (0..<40).map { 1 + Double($0) / 40 }
        let methods: [(ConfiguredMethod, ConfiguredMethod)] = [
            (.table(), .table(bits: 3, budget: size)),
            (
                .sym(),
                .sym(bits: 3, budget: size, group: 8, scaleType: .float32, fallback: false, rangeFactors: factors)
            ),
            (
                .gss(),
                .gss(bits: 3, budget: size, group: 8, scaleType: .float32, fallback: false, rangeFactors: factors, p: 3)
            ),
            (.asym(), .asym(bits: 3, budget: size, group: 8, scaleType: .float32, rangeFactors: factors)),
            (
                .aciq(),
                .aciq(bits: 3, budget: size, group: 8, scaleType: .float32, fallback: false, rangeFactors: factors)
            ),
            (
                .histApprox(),
                .histApprox(
                    bits: 3, budget: size, group: 8, scaleType: .float32, fallback: false, b: 50, rangeFactors: factors)
            ),
            (
                .histBrute(),
                .histBrute(
                    bits: 3, budget: size, group: 8, scaleType: .float32, fallback: false, b: 50, rangeFactors: factors)
            ),
            (
                .greedy(),
                .greedy(
                    bits: 3, budget: size, group: 8, scaleType: .float32, b: 50, r: 0.5, rangeFactors: factors, p: 3)
            ),
            (
                .leastSquares(),
                .leastSquares(
                    bits: 3, budget: size, group: 8, scaleType: .float32, bins: 20, fits: 2, rangeFactors: factors)
            ),
            (.multipoint(), .multipoint(bits: 3, points: 2, threshold: 0.2, scaleType: .float32, budget: size)),
            (.kmeans(), .kmeans(bits: 3, budget: size, entryType: .float32, solver: .lloyd, rounds: 9)),
            (
                .kmeansClusters(),
                .kmeansClusters(bits: 3, clusters: 2, budget: size, entryType: .float32, rounds: 9, seed: 1)
            ),
            (
                .eden(),
                .eden(
                    bits: 3, budget: size, seed: 1, scaleType: .float32, scale: .unbiased, center: false, search: 4)
            ),
            (
                .trellis(),
                .trellis(
                    bits: 2.5, budget: size, effort: .fast, rotation: .hadamard, firstStage: .auto, seed: 1,
                    center: .rows, normalize: true, fallback: false)
            ),
            (.exact(), .exact(budget: size)),
            (.int8(), .int8(scale: .table, scaleType: .float32, step: 0.5, seed: 1, budget: size)),
            (.int16(), .int16(scale: .table, scaleType: .float32, step: 0.5, seed: 1, budget: size)),
            (.pq(), .pq(parts: 2, bits: 3, budget: size, entryType: .float32, rounds: 9, seed: 1)),
            (
                .rq(),
                .rq(
                    parts: 2, bits: 3, budget: size, entryType: .float32, beam: 2, rounds: 9, refits: 1, seed: 1)
            ),
            (.prune(), .prune(density: 0.5, budget: size, valueType: .float32)),
            (
                .dedup(),
                .dedup(
                    blockRows: 2, blockColumns: 2, similarity: 0.5, budget: size, tolerance: 0.1, projections: 2,
                    seed: 1)
            ),
            (.svd(), .svd(rank: 3, inner: .float16, element: .float32, center: false, budget: size)),
            (
                .magsvd(),
                .magsvd(groups: 2, rank: 3, inner: .bfloat16, element: .float32, center: false, budget: size)
            ),
            (.tt(), .tt(rank: 2, element: .float16, budget: size)),
            (
                .opq(),
                .opq(
                    parts: 2, bits: 3, budget: size, entryType: .float32, matrixType: .float32, turns: 1, rounds: 9,
                    seed: 1)
            ),
            (
                .magpq(),
                .magpq(groups: 2, parts: 2, bits: 3, budget: size, entryType: .float32, rounds: 9, seed: 1)
            ),
            (
                .hotCold(),
                .hotCold(
                    counts: (0..<40).map { Double($0 % 7) }, hot: .method(.eden(seed: 2)), cold: .method(.asym()),
                    hotBits: 6, coldBits: 3, share: 0.25, budget: size)
            ),
            (
                .tiers(),
                .tiers(
                    counts: (0..<40).map { Double($0 % 7) }, inner: .asym(), tiers: 3, bits: 3, budget: size)
            ),
        ]
        return Dictionary(uniqueKeysWithValues: methods.map { ($0.name, ($0, $1)) })
    }()

    func testEveryMethodAndOptionHasATypedForm() throws {
        XCTAssertEqual(Set(Self.forms.keys), Set(Method.builtIn.map(\.name)))
        for method in Method.builtIn {
            let form = try XCTUnwrap(Self.forms[method.name])
            // Options of inner methods stand beside the method's own.
            let own = form.full.options.keys.filter { name in
                !["hot_", "cold_"].contains { name.hasPrefix($0) } || name.hasSuffix("_bits")
            }
            XCTAssertEqual(Set(own), Set(method.options.map(\.name)), method.name)
            for option in method.options {
                // What a typed form has by default is what the registry has.
                if let value = form.plain.options[option.name] {
                    XCTAssertEqual(value, option.defaultValue, "\(method.name): \(option.name)")
                }
                XCTAssertNotEqual(form.full.options[option.name], option.defaultValue, "\(method.name): \(option.name)")
            }
        }
    }

    private func source() throws -> Table {
        let values: [Float] = (0..<40 * 16).map { (index: Int) -> Float in Float(index * 37 % 101 - 50) / 8 }
        return Table(try Dense(values, rows: 40, dimension: 16))
    }

    func testTypedFormsGiveWhatNamesGive() throws {
        let source = try source()
        for (name, form) in Self.forms {
            XCTAssertEqual(
                try source.compressed(form.plain).decode(), try source.compressed(name).decode(), name)
            // Sizes and budgets exclude one another, as the scale of a table and the type of rows' scales do, and some
            // options go together only.
            var options = form.full.options
            options["budget"] = nil
            if options["scale"] == "table" { options["scale_dtype"] = nil }
            // For rows of the norm 1.
            options["normalize"] = nil
            XCTAssertNoThrow(try source.compressed(name, options), name)
        }
    }

    func testRatioBudgetsAreSharesOfF32() throws {
        let source = try source()
        let table = try source.compressed(.leastSquares(budget: .ratio(0.25)))
        XCTAssertEqual(
            try table.decode(), try source.compressed("least_squares", ["budget": 640]).decode())
        XCTAssertLessThanOrEqual(table.storedBytes, 640)
    }

    func testErrorsAreForPeople() throws {
        let source = try source()
        XCTAssertThrowsError(try source.compressed(.leastSquares(bits: 9))) { error in
            XCTAssertEqual(error.localizedDescription, "\(error)")
            XCTAssertTrue("\(error)".contains("bits must be"), "\(error)")
        }
        XCTAssertThrowsError(try source.lookup([40])) {
            XCTAssertEqual($0.localizedDescription, "id 40 at position 0 is out of range: ids must be from 0 to 39")
        }
    }

    // MARK: - Asynchronous calls

    func testAsynchronousCallsGiveTheSame() async throws {
        let source = try source()
        let table = try await source.compressed(.greedy(bits: 4))
        let expected = try await Task.detached { () -> [Float] in
            func blocking() throws -> Table { try source.compressed(.greedy(bits: 4)) }
            return try blocking().decode()
        }.value
        XCTAssertEqual(try table.decode(), expected)
        do {
            _ = try await source.compressed(.greedy(bits: 9))
            XCTFail("bits out of range")
        } catch let error as EmbedCompressError {
            guard case .invalidArgument = error else { return XCTFail("\(error)") }
        }
    }

    func testCancelledTasksStop() async throws {
        let (rows, dimension) = (20_000, 64)
        let values = (0..<rows * dimension).map { Float($0 &* 2_654_435_761 % 1_009) / 1_009 }
        let large = Table(try Dense(values, rows: rows, dimension: dimension))
        let (steps, continuation) = AsyncStream<Int>.makeStream()
        let task = Task {
            // Some minutes of work without optimisation, if it were not stopped; a block of rows is a moment's.
            try await large.compressed(.leastSquares(bits: 4)) { done, _ in continuation.yield(done) }
        }
        for await _ in steps { break }
        task.cancel()
        do {
            _ = try await task.value
            XCTFail("not cancelled")
        } catch {
            XCTAssertTrue(error is CancellationError, "\(error)")
        }
    }
}
