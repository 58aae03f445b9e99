/// Tries candidates on a sample, the best of them on the whole table, and says what they gave.
struct Recommender {
    private let source: Table
    private let budget: Int
    private let uses: RowUses?
    private let metric: Recommendation.Metric
    private let seed: Int
    private let candidates: [Candidate]
    private let clock: Clock

    /// Most candidates that are tried on the whole table.
    static let mostFinalists = 5
    /// What is worse than the best by more than this on the sample is not tried on the whole table.
    private static let margin = 1.25

    init(
        _ source: Table, budget: Int, uses: RowUses?, metric: Recommendation.Metric, seed: Int,
        callback: ProgressCallback?
    ) throws {
        (self.source, self.budget, self.uses, self.metric, self.seed) = (source, budget, uses, metric, seed)
        candidates = CandidateList(
            rows: source.rows, dimension: source.dimension, budget: budget, hasUses: uses != nil
        ).all()
        clock = Clock(callback, small: candidates.count, large: Self.mostFinalists)
    }

    func run(sampleRows: Int) throws -> [Recommendation] {
        let judge = Judge(source, uses: uses, metric: metric, seed: seed, progress: clock.isWanted)
        var results = try measured(finalists(losses(sampleRows)), judge)
        // A few bytes may do for all rows where their share does not for a sample's.
        if results.isEmpty { results = try measured(candidates, judge) }
        guard !results.isEmpty else { throw try refusal() }
        let times = try LookupTimes.nanosecondsPerRow(results.map(\.table), uses: uses, seed: seed)
        let ranked = zip(results, times).map { result, time in
            var result = result
            result.nanosecondsPerRow = time
            return result
        }.sorted {
            (judge.loss(of: $0.figures), $0.table.storedBytes) < (judge.loss(of: $1.figures), $1.table.storedBytes)
        }.prefix(Self.mostFinalists)
        try clock.finish()
        let reasons = Reasons(results: Array(ranked), tried: candidates.count, judge: judge)
        return try ranked.indices.map { try recommendation(ranked[$0], reason: reasons.sentence($0)) }
    }

    // MARK: - The sample

    /// What each candidate loses on the sample, by its place in the list; those that can't be used are left out.
    private func losses(_ sampleRows: Int) throws -> [Int: Double] {
        let chosen = RepresentativeRows(sampleRows, of: source.rows, uses: uses, seed: seed)
        let sample = try source.remapped(through: chosen.rows)
        let judge = Judge(sample, uses: chosen.uses, metric: metric, seed: seed, progress: clock.isWanted)
        var losses: [Int: Double] = [:]
        for (index, candidate) in candidates.enumerated() {
            if let model = candidate.follows {
                losses[index] = losses.filter { candidates[$0.key].method.name == model }.values.min() ?? .infinity
            } else {
                do {
                    let table = try candidate.compressSample(
                        sample, rows: source.rows, budget: budget, uses: chosen.uses, progress: clock.isWanted)
                    losses[index] = try judge.loss(table)
                } catch let error as EmbedCompressError {
                    guard error.concernsCandidate else { throw error }
                }
            }
            try clock.tick()
        }
        return losses
    }

    /// The best two, as a sample can be wrong of one, and a few more that are not far behind.
    private func finalists(_ losses: [Int: Double]) -> [Candidate] {
        let ranked = losses.sorted { ($0.value, $0.key) < ($1.value, $1.key) }.prefix(Self.mostFinalists)
        let limit = max((ranked.first?.value ?? 0) * Self.margin, 1e-9)
        return ranked.enumerated().filter { $0.offset < 2 || $0.element.value <= limit }
            .map { candidates[$0.element.key] }
    }

    // MARK: - The whole table

    /// What a candidate made of the whole table.
    struct Result {
        let candidate: Candidate
        let table: Table
        let figures: Judge.Figures
        let seconds: Double
        var nanosecondsPerRow = 0.0
    }

    private func measured(_ finalists: [Candidate], _ judge: Judge) throws -> [Result] {
        var results: [Result] = []
        for candidate in finalists {
            let start = nanoseconds()
            do {
                let table = try candidate.compress(source, budget: budget, uses: uses, progress: clock.isWanted)
                let seconds = Double(nanoseconds() - start) * 1e-9
                results.append(
                    Result(
                        candidate: candidate, table: table, figures: try judge.figures(table), seconds: seconds))
                try clock.tick(Clock.wholeSteps)
            } catch let error as EmbedCompressError {
                guard error.concernsCandidate else { throw error }
            }
        }
        return results
    }

    /// The error that says what is the least that any method needs; where a budget is not what is wrong, that of the
    /// first candidate.
    private func refusal() throws -> EmbedCompressError {
        var least: Int?
        for candidate in CandidateList.budgeted.map({ Candidate(method: $0) }) + candidates {
            do {
                _ = try candidate.compress(source, budget: 0, uses: uses, progress: clock.isWanted)
            } catch EmbedCompressError.budget(_, _, let floor) {
                least = min(least ?? floor, floor)
            } catch let error as EmbedCompressError {
                guard error.concernsCandidate else { throw error }
            }
        }
        if let least, least > budget {
            return .budget(method: EmbedCompressError.anyMethod, budgetBytes: budget, floorBytes: least)
        }
        for candidate in candidates {
            do {
                _ = try candidate.compress(source, budget: budget, uses: uses, progress: clock.isWanted)
            } catch let error as EmbedCompressError {
                return error
            }
        }
        return .invalidArgument("no method can compress this table")
    }

    private func recommendation(_ result: Result, reason: String) throws -> Recommendation {
        var (options, weights) = try result.candidate.arguments(uses)
        options["budget"] = .integer(budget)
        return Recommendation(
            method: result.candidate.method.name, options: options, weights: weights,
            expression: result.table.expressionSummary, storedBytes: result.table.storedBytes,
            ratio: result.table.ratio, normalizedL2: result.figures.normalizedL2,
            meanCosine: result.figures.meanCosine, recallAt10: result.figures.recall,
            compressSeconds: result.seconds, lookupNanosecondsPerRow: result.nanosecondsPerRow, reason: reason,
            call: result.candidate.options
                + (result.candidate.isWeighted ? [Candidate.Option(name: "weights", value: nil)] : [])
                + [Candidate.Option(name: "budget", value: .integer(budget))])
    }

    /// Progress in candidates, of which those on the whole table count more.
    private final class Clock {
        static let wholeSteps = 4
        private let callback: ProgressCallback?
        private let total: Int
        private var done = 0

        init(_ callback: ProgressCallback?, small: Int, large: Int) {
            self.callback = callback
            total = small + Self.wholeSteps * large
        }

        func tick(_ steps: Int = 1) throws {
            done = min(done + steps, total)
            guard isWanted(0, 0) else { throw EmbedCompressError.cancelled }
        }

        func finish() throws { try tick(total - done) }

        /// Asks the caller whether to go on, whatever a part of the work says of itself.
        func isWanted(_: Int, _: Int) -> Bool { callback?(done, total) ?? true }
    }
}

extension EmbedCompressError {
    /// Whether a method can't do what it was asked to: a budget that it can't meet, or values that it can't say. Others
    /// may.
    fileprivate var concernsCandidate: Bool {
        switch self {
        case .invalidArgument, .budget: return true
        default: return false
        }
    }
}
