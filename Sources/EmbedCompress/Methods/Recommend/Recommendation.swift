/// A way to compress a table, and what it gave.
public struct Recommendation: Sendable {
    /// A name of ``Method/all``.
    public let method: String
    /// What the method is given beside weights, the budget in bytes included.
    public let options: [String: OptionValue]
    /// How often rows are used, for methods that take weights: `rows x 1`.
    public let weights: Table?
    /// The result's stores and routes in a line, with what the budget chose; see ``Table/expressionSummary``.
    public let expression: String
    public let storedBytes: Int
    /// Stored bytes over those of f32.
    public let ratio: Double
    /// `||X - Q(X)|| / ||X||`; with counts, rows' squared norms count so many times.
    public let normalizedL2: Double
    /// Mean over rows of the cosine between a row and its copy; with counts, over uses.
    public let meanCosine: Double
    /// As ``Table/quality(against:queries:k:seed:progress:)`` has it; with counts, queries are chosen by use. Nil for tables
    /// of up to 10 rows.
    public let recallAt10: Double?
    public let compressSeconds: Double
    /// Processor time of a random row, or with counts, of rows as they are used; on one thread.
    public let lookupNanosecondsPerRow: Double
    /// A sentence.
    public let reason: String

    /// What the method is given, in the order in which people write it.
    let call: [Candidate.Option]

    /// What ``Table/recommendations(budget:counts:metric:sample:seed:progress:)`` ranks by.
    public enum Metric: String, CaseIterable, Sendable {
        /// The squared error.
        case l2
        case cosine
        /// Recall@10.
        case recall
    }

    /// Compresses a table this way. It may be another than the one that was measured, unless counts are given.
    public func compressed(_ table: Table, progress: ProgressCallback? = nil) throws -> Table {
        try table.compressed(method, options, weights: weights, progress: progress)
    }
}

extension Table {
    /// Tries methods and hybrids on this table, and ranks them.
    ///
    /// Those that are plausible for the budget are run on a sample of rows, with the knobs that the budget means for the
    /// whole table; the best few are then run on the whole of it and measured.
    ///
    /// - Parameters:
    ///   - budget: The most bytes of the result.
    ///   - counts: How often each row is used, a number for each. Errors are weighted by them.
    ///   - metric: What to rank by.
    ///   - sample: Rows of the sample, at least 1.
    ///   - seed: Of the sample and of the queries. Everything but times is the same again, whatever the threads.
    ///   - callback: Counts candidates, of which those on the whole table count more.
    /// - Returns: The best few, best first.
    /// - Throws: ``EmbedCompressError/budget(method:budgetBytes:floorBytes:)`` if nothing is that small, with the least
    ///   that any method can reach; ``EmbedCompressError/invalidArgument(_:)`` for counts that are not one for each row,
    ///   finite and not negative, or are all zero, and for a table without values.
    public func recommendations(
        budget: Int, counts: [Double]? = nil, metric: Recommendation.Metric = .l2, sample: Int = 16_384, seed: Int = 0,
        progress callback: ProgressCallback? = nil
    ) throws -> [Recommendation] {
        guard sample >= 1 else {
            throw EmbedCompressError.invalidArgument("sample must be at least 1, not \(sample)")
        }
        guard budget >= 0 else {
            throw EmbedCompressError.invalidArgument("budget must not be negative, not \(budget)")
        }
        guard rows > 0 else {
            throw EmbedCompressError.invalidArgument("a table without values has nothing to compare")
        }
        if let counts { try RowUses.check(counts, rows: rows) }
        return try reading {
            let recommender = try Recommender(
                self, budget: budget, uses: counts.map(RowUses.init), metric: metric, seed: seed, callback: callback)
            return try recommender.run(sampleRows: min(sample, rows))
        }
    }
}
