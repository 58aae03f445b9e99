import TestSupport
import XCTest

@testable import EmbedCompress

final class RecommendTests: XCTestCase {
    /// Rows of an uneven spectrum, of lengths that differ.
    private func table(rows: Int, dimension: Int = 8) throws -> Table {
        var generator = SeededGenerator(seed: 3)
        var values = generator.normals(rows * dimension)
        for index in values.indices {
            let (row, column) = index.quotientAndRemainder(dividingBy: dimension)
            values[index] *= Float(1 + row % 5) / Float(1 + column).squareRoot()
        }
        return try denseTable(values, dimension: dimension)
    }

    func testTheBestComesFirstWithinTheBudgetAndWithItsFigures() throws {
        let source = try table(rows: 400)
        let budget = 400 * 8 * 4 / 5
        for metric in Recommendation.Metric.allCases {
            let found = try source.recommendations(budget: budget, metric: metric, sample: 150)
            XCTAssertTrue((1...Recommender.mostFinalists).contains(found.count))
            let losses = found.map { one -> Double in
                switch metric {
                case .l2: return one.normalizedL2
                case .cosine: return -one.meanCosine
                case .recall: return -(one.recallAt10 ?? 0)
                }
            }
            XCTAssertEqual(losses, losses.sorted())
            for one in found {
                let copy = try one.compressed(source)
                XCTAssertLessThanOrEqual(one.storedBytes, budget)
                XCTAssertEqual(one.storedBytes, copy.storedBytes)
                XCTAssertEqual(one.ratio, copy.ratio)
                XCTAssertEqual(one.expression, copy.expressionSummary)
                let quality = try copy.quality(against: source, queries: 256)
                XCTAssertEqual(one.normalizedL2, quality.normalizedL2)
                XCTAssertEqual(one.meanCosine, quality.meanCosine)
                XCTAssertEqual(one.recallAt10, quality.recall)
                XCTAssertGreaterThan(one.lookupNanosecondsPerRow, 0)
                XCTAssertTrue(one.reason.hasSuffix("."))
            }
            XCTAssertTrue(found[0].reason.hasPrefix("The least loss of "))
        }
    }

    func testEverythingButTimesIsTheSameWhateverTheThreads() throws {
        let source = try table(rows: 200)
        let counts = (0..<200).map { 1 / Double(2 + $0) }
        try assertSameForThreadCounts(counts: [1, 3]) {
            let found = try source.recommendations(budget: 1300, counts: counts, sample: 100, seed: 4)
            return found.flatMap { one -> [Float] in
                let figures = [one.normalizedL2, one.meanCosine, one.recallAt10 ?? 0, Double(one.storedBytes)]
                return figures.map { Float($0) } + one.expression.utf8.map { Float($0) }
            }
        }
    }

    func testCountsWeightErrors() throws {
        let source = try table(rows: 300)
        let counts = (0..<300).map { 1 / Double(2 + $0) }
        let best = try source.recommendations(budget: 2000, counts: counts, sample: 100)[0]
        let (values, copies) = (try source.decode(), try best.compressed(source).decode())
        var (error, norm) = (0.0, 0.0)
        for index in values.indices {
            let (x, y) = (Double(values[index]), Double(copies[index]))
            error += counts[index / 8] * (x - y) * (x - y)
            norm += counts[index / 8] * x * x
        }
        XCTAssertEqual(best.normalizedL2, (error / norm).squareRoot(), accuracy: 1e-9)
        // Counts that are all alike change no figure.
        let judges = try [nil, RowUses([Double](repeating: 2.5, count: 300))].map {
            try Judge(source, uses: $0, metric: .l2, seed: 0, progress: nil).errors(best.compressed(source))
        }
        XCTAssertEqual(judges[0].normalizedL2, judges[1].normalizedL2, accuracy: 1e-12)
        XCTAssertEqual(judges[0].meanCosine, judges[1].meanCosine, accuracy: 1e-12)
    }

    func testABudgetThatNothingMeetsNamesTheLeast() throws {
        let source = try table(rows: 60)
        XCTAssertThrowsError(try source.recommendations(budget: 3, sample: 30)) { error in
            guard case .budget(EmbedCompressError.anyMethod, 3, let floor) = error as? EmbedCompressError else {
                return XCTFail("\(error)")
            }
            // One method can do it, and none with a byte less.
            let found = try? source.recommendations(budget: floor, sample: 30)
            XCTAssertEqual(found?.first?.storedBytes, floor)
            let below = floor - 1
            assertThrows(.budget(method: EmbedCompressError.anyMethod, budgetBytes: below, floorBytes: floor)) {
                _ = try source.recommendations(budget: below, sample: 30)
            }
        }
    }

    func testWhatItRefuses() throws {
        let source = try table(rows: 20)
        let zeros = [Double](repeating: 0, count: 20)
        assertInvalidArgument("counts must be 20 numbers") {
            _ = try source.recommendations(budget: 900, counts: [1, 2])
        }
        for counts in [zeros, zeros.map { $0 - 1 }, zeros.map { $0 + .nan }] {
            assertInvalidArgument("finite and not negative, and not all of them zero") {
                _ = try source.recommendations(budget: 900, counts: counts)
            }
        }
        assertInvalidArgument("sample must be at least 1, not 0") {
            _ = try source.recommendations(budget: 900, sample: 0)
        }
        assertInvalidArgument("a table without values") {
            _ = try source.slice(0..<0).recommendations(budget: 900)
        }
        assertInvalidArgument("metric must be one of l2, cosine, recall, not 'best'") {
            _ = try source.recommendationsText(
                budget: 900, counts: nil, metric: "best", sample: 9, seed: 0, progress: nil)
        }
        let broken = try denseTable([1, 2, .nan, 4], dimension: 2)
        assertInvalidArgument("row 1 has nan") { _ = try broken.recommendations(budget: 900) }
    }

    func testProgressAndStopping() throws {
        let source = try table(rows: 200)
        let seen = Recorder()
        _ = try source.recommendations(budget: 1500, sample: 50, progress: seen.add)
        XCTAssertTrue(seen.isSane)
        XCTAssertEqual(seen.last?.done, seen.last?.total)
        assertThrows(.cancelled) {
            _ = try source.recommendations(budget: 1500, sample: 50, progress: { done, _ in done < 7 })
        }
    }

    func testTrellisCodesAreTriedInSeveralWays() {
        let found = CandidateList(rows: 1000, dimension: 32, budget: 16_000, hasUses: false).all().map(\.description)
        for name in ["trellis", "trellis, rotation=partial", "hot_cold, hot=trellis, cold=trellis"] {
            XCTAssertTrue(found.contains(name), name)
        }
    }

    func testTrellisCodesOfASampleHaveTheBytesOfTheWholeTable() throws {
        let source = try table(rows: 2000, dimension: 32)
        let method = try Method.named("trellis")
        for rotation in ["none", "partial"] {
            let options: [String: OptionValue] = ["budget": .integer(2000 * 12), "rotation": .string(rotation)]
            let whole = try method.compress(source, options)
            let sample = try method.compress(source.slice(0..<100), options, countedRows: 2000)
            XCTAssertEqual(sample.expressionSummary, whole.expressionSummary, rotation)
        }
    }

    func testSamplesStandForAllRows() {
        let uses = RowUses((0..<1000).map { Double($0 * 377 % 1000) })
        let chosen = RepresentativeRows(100, of: 1000, uses: uses, seed: 0)
        XCTAssertEqual(chosen.rows, Set(chosen.rows).sorted())
        XCTAssertEqual(chosen.uses?.total, uses.total)
        // One of each ten rows in the order of counts.
        XCTAssertEqual(chosen.rows.map { Int(uses.counts[$0]) / 10 }.sorted(), Array(0..<100))
        let all = RepresentativeRows(100, of: 50, uses: nil, seed: 0)
        XCTAssertEqual(all.rows, Array(0..<50))
        XCTAssertNil(all.uses)
    }

    func testRowsAreDrawnByUse() {
        let uses = RowUses([0, 6, 3, 0, 1, 0])
        var random = SeededRandom(seed: 2)
        var counts = [Int](repeating: 0, count: 6)
        for row in uses.randomRows(10_000, &random) { counts[row] += 1 }
        for (count, wanted) in zip(counts, [0, 6000, 3000, 0, 1000, 0]) {
            XCTAssertEqual(Double(count), Double(wanted), accuracy: 200)
        }
        XCTAssertEqual(uses.distinctRows(9, &random), [1, 2, 4])
        var first = [Int](repeating: 0, count: 6)
        for _ in 0..<10_000 { first[uses.distinctRows(1, &random)[0]] += 1 }
        for (count, wanted) in zip(first, [0, 6000, 3000, 0, 1000, 0]) {
            XCTAssertEqual(Double(count), Double(wanted), accuracy: 200)
        }
    }

    /// Costs of the whole table, such as matrices, are charged as on the whole table.
    func testASampleGetsTheKnobsOfTheWhole() throws {
        let whole = try table(rows: 4000)
        let part = try whole.slice(0..<1000)
        let budget = 4000 * 8 * 4 / 5
        let candidates = CandidateList(rows: 4000, dimension: 8, budget: budget, hasUses: false).all()
        for name in ["svd", "magsvd", "hot_cold", "asym", "least_squares"] {
            guard let method = Method.all.first(where: { $0.name == name }) else { continue }
            let candidate = candidates.first { $0.method.name == name } ?? Candidate(method: method)
            let full = try candidate.compress(whole, budget: budget, uses: nil, progress: nil)
            let small = try candidate.compressSample(part, rows: 4000, budget: budget, uses: nil, progress: nil)
            XCTAssertLessThanOrEqual(Double(small.storedBytes), Double(budget) / 4 * 1.2, name)
            let error = try full.quality(against: whole).normalizedL2
            XCTAssertEqual(try small.quality(against: part).normalizedL2, error, accuracy: 0.05 * error, name)
        }
    }

    func testSmallTables() throws {
        for (rows, dimension) in [(1, 4), (5, 1), (12, 3)] {
            let source = try randomDense(rows: rows, dimension: dimension, seed: 1)
            let found = try source.recommendations(budget: 4 * rows * dimension + 1000)
            XCTAssertLessThan(found[0].normalizedL2, 0.01)
            XCTAssertEqual(found[0].recallAt10 == nil, rows <= 10)
        }
    }
}
