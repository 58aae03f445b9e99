/// Measures tables against their source, by the rows that are used where that is known.
final class Judge {
    let source: Table
    let uses: RowUses?
    let metric: Recommendation.Metric
    /// Asked again and again whether to stop.
    private let progress: ProgressCallback?
    /// Rows whose neighbours are searched; none for tables of up to `neighbourCount` rows.
    private let queries: [Int]
    /// Of the queries in the source; found when they are first needed.
    private var exact: [[Int]]?

    private static let (queryCount, neighbourCount) = (256, 10)

    struct Figures {
        let normalizedL2: Double
        let meanCosine: Double
        let recall: Double?
    }

    init(
        _ source: Table, uses: RowUses?, metric: Recommendation.Metric, seed: Int, progress: ProgressCallback?
    ) {
        (self.source, self.uses, self.metric, self.progress) = (source, uses, metric, progress)
        var random = SeededRandom(seed: seed)
        if source.rows <= Self.neighbourCount {
            queries = []
        } else if let uses {
            queries = uses.distinctRows(Self.queryCount, &random)
        } else {
            queries = random.distinct(Self.queryCount, below: source.rows)
        }
    }

    /// What is to be small.
    func loss(_ table: Table) throws -> Double {
        if metric == .recall { return loss(of: Figures(normalizedL2: 0, meanCosine: 0, recall: try recall(table))) }
        let (l2, cosine) = try errors(table)
        return loss(of: Figures(normalizedL2: l2, meanCosine: cosine, recall: nil))
    }

    /// The same of figures that are known.
    func loss(of figures: Figures) -> Double {
        switch metric {
        case .l2: return figures.normalizedL2
        case .cosine: return 1 - figures.meanCosine
        case .recall: return 1 - (figures.recall ?? 0)
        }
    }

    func figures(_ table: Table) throws -> Figures {
        let (l2, cosine) = try errors(table)
        return Figures(normalizedL2: l2, meanCosine: cosine, recall: try recall(table))
    }

    /// The normalised l2 and the mean cosine, weighted by uses.
    func errors(_ table: Table) throws -> (normalizedL2: Double, meanCosine: Double) {
        let counter = ProgressCounter(total: source.rows, callback: progress)
        let sums = try table.qualityRuns(against: source, weights: uses?.counts, progress: counter)
        let quality = Quality(sums, rows: source.rows, dimension: source.dimension)
        guard let uses else { return (quality.normalizedL2, quality.meanCosine) }
        return (quality.normalizedL2, sums.cosine / uses.total)
    }

    private func recall(_ table: Table) throws -> Double? {
        if queries.isEmpty { return nil }
        let k = Self.neighbourCount
        func counter() -> ProgressCounter { ProgressCounter(total: source.rows, callback: progress) }
        let exact =
            try self.exact ?? NeighbourSearch(source, k: k).nearest(to: queries, of: source, progress: counter())
        self.exact = exact
        return try table.recall(of: exact, queries: queries, source: source, k: k, progress: counter())
    }
}
