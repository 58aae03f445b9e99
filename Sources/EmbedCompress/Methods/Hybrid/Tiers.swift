/// Tiers: bits by use. Rows in up to so many classes, each compressed by the same method with bits of its own.
///
/// A row's error counts as its count times its squared norm, times the share of it that the method loses at so many bits, which
/// is measured on a sample. Bits go where they take most of that away (reverse water-filling over rows), with no more than the
/// given number of widths. Without counts, norms alone decide. Frequency-grouped precision is of SHARK (CIKM 2023).
///
/// Bytes: those of the method for each tier, what a tier shares included; and which tier each row is in, `log2(tiers) / 8 +
/// tiers / 128` a row, or nothing where the tiers follow the rows' numbers, as in vocabularies that are sorted by use. `bits`
/// counts them all: the result is no larger than that of the method with so many bits for every row.
extension Method {
    static let tiers = Method(
        name: "tiers", title: "Tiers", family: .hybrid,
        paper: "Zhang et al. (SHARK), CIKM 2023, arXiv 2308.09395",
        summary:
            "rows in classes by how often they are used and how large they are, with bits of their own for each class",
        bytesPerRow:
            "on average those of `inner` with `bits`; that includes log2(tiers) / 8 or more unless counts fall",
        cost: "a pass over the table, the inner method, and its widths tried on a sample",
        options: [
            Option("counts", .rowNumbers, default: .null, "how often each row is used; all alike if not given"),
            Option(
                "inner", .method, default: .string("trellis"), "compresses every tier; a method with the option bits"),
            Option("tiers", .integer(1...16), default: .integer(4), "the most classes of rows"),
            Option(
                "bits", .number(0.25...8), default: .integer(4),
                "bits of `inner` that all rows together have the bytes of"),
            Option("budget", .budget, default: .null, "most bytes of the result, in place of bits"),
        ],
        takesWeights: false, passes: 10, countsSampledRows: true
    ) { input, options, progress in
        FinishedTable(node: try Tiers(input, options).compress(progress))
    }
}

private struct Tiers {
    private let input: CompressionInput
    private let counts: [Double]?
    private let inner: InnerMethod
    private let most: Int
    /// Of bits, where no budget is given.
    private let bits: Double
    private let budget: Int?

    init(_ input: CompressionInput, _ options: OptionValues) throws {
        self.input = input
        try PartRanks.checkRows(input.source.rows)
        counts = try options.optionalNumbers("counts")
        if let counts { try RowOrder.check(counts: counts, rows: input.source.rows) }
        inner = try InnerMethod(try options.string("inner"), options.inner, within: "tiers")
        most = try options.integer("tiers")
        bits = try options.number("bits")
        budget = try options.optionalInteger("budget")
        if budget != nil, options.isGiven("bits") {
            throw EmbedCompressError.invalidArgument("give tiers either bits or a budget, not both")
        }
    }

    func compress(_ progress: ProgressCounter) throws -> any Node {
        let rows = input.source.rows
        let steps = ProgressSteps(progress, units: Checked.product(rows, 9) ?? Int.max, shares: [1, 1, 8])
        let norms = try squaredNorms(of: input.source, progress: steps.next(total: rows))
        let searching = steps.next(total: 1)
        try Allocation.require(Checked.product(rows, 3, MemoryLayout<Double>.stride))
        // Counts over the largest, so that products are finite.
        let largest = max(counts?.max() ?? 0, .leastNonzeroMagnitude)
        let importance = counts.map { counts in zip(counts, norms).map { $0 / largest * $1 } } ?? norms
        // Rows that are used as often count by their norms, but an order by counts may be that of their numbers.
        let orders = try ([importance] + (counts.map { [$0] } ?? [])).map { try RowOrder($0) }
        let inner = try inner.suiting(input.source, of: input)
        let ladder = try TierLadder(inner, input, order: orders[0], watch: searching.watch)
        let bytes = try budget ?? ladder.bytes(rows: input.budgetRows, bits: bits)
        let found = try orders.map { order in
            try TierSolver(
                ladder, order: order, importance: importance, most: most, rows: input.budgetRows, budget: bytes,
                watch: searching.watch
            ).solve()
        }
        guard let best = zip(orders, found).min(by: { $0.1.error < $1.1.error }) else { return input.source }
        let node = try compose(best.0, best.1.tiers, ladder, steps.next(total: rows))
        try steps.finish()
        return node
    }

    /// The tiers' rows, each compressed; no partition where there is one tier.
    private func compose(
        _ order: RowOrder, _ tiers: [TierSolver.Tier], _ ladder: TierLadder, _ progress: ProgressCounter
    ) throws -> any Node {
        let source = Table(input.source)
        let rows = source.rows
        // The lists of rows, as much again to sort them, and the assignment.
        try Allocation.require(Checked.product(rows, 3, MemoryLayout<Int>.stride))
        let steps = ProgressSteps(progress, units: rows, shares: tiers.map { Double($0.places.count) })
        var assignment = try [Int](allocating: 0, count: order.isByNumber ? 0 : rows)
        let parts = try tiers.enumerated().map { number, tier in
            let inner = ladder.steps[tier.step].inner
            let ids = order.ids[tier.places].sorted()
            if !order.isByNumber { for id in ids { assignment[id] = number } }
            let part = tiers.count == 1 ? source : try source.remapped(through: ids)
            let total = Checked.product(part.rows, inner.passes) ?? Int.max
            return Table(try inner.compress(part.root, progress: steps.next(total: total, reading: part.root)))
        }
        if parts.count == 1, let only = parts.first { return only.root }
        return order.isByNumber ? try Partition(parts) : try Partition(parts, assignment: assignment)
    }
}
