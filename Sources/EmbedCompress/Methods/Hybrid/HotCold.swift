/// Hot and cold: the rows that count most compressed with care, and all others hard.
///
/// How much a row counts is how often it is used (`counts`; frequency-grouped precision, as in SHARK, CIKM 2023, and MPE,
/// 2024), or, if nothing is known of that, its squared norm: what it can add to the table's error. With a budget, it may
/// also be the product of both. Any method compresses either part. A budget decides how many rows are hot, and, where
/// they are not given, the bits of both parts: what minimises the error of a sample, weighted by counts.
///
/// Bytes: those of both parts, and which part each row is in; nothing for that where counts fall with the row's number,
/// as in vocabularies that are sorted by frequency.
extension Method {
    static let hotCold = Method(
        name: "hot_cold", title: "Hot and cold", family: .hybrid,
        paper: "Zhang et al. (SHARK), CIKM 2023, arXiv 2308.09395",
        summary: "rows that are used most, or are largest, by one method, and all others by another",
        bytesPerRow: "share * those of `hot` + (1 - share) * those of `cold`; 1 / 8 or more unless counts fall",
        cost: "two passes over the table, both methods, and widths tried on a sample",
        options: [
            Option("counts", .rowNumbers, default: .null, "how often each row is used; squared norms if not given"),
            Option("hot", .method, default: .string("least_squares"), "compresses the rows that count most"),
            Option("cold", .method, default: .string("least_squares"), "compresses the others"),
            Option(
                "hot_bits", .integer(Product.bitWidths), default: .null, "bits of `hot`; 8, or what a budget chooses"),
            Option(
                "cold_bits", .integer(Product.bitWidths), default: .null, "bits of `cold`; 2, or what a budget chooses"),
            Option(
                "share", .number(0...1), default: .null, "rows that are hot; 0.1, or what a budget chooses"),
            Option(
                "budget", .budget, default: .null, "most bytes of the result; chooses what is not given"),
        ],
        takesWeights: false, passes: 10, countsSampledRows: true
    ) { input, options, progress in
        FinishedTable(node: try HotCold(input, options).compress(progress))
    }
}

private struct HotCold {
    private let input: CompressionInput
    private let counts: [Double]?
    private let hot: InnerMethod
    private let cold: InnerMethod
    private let share: Double?
    private let budget: Int?

    init(_ input: CompressionInput, _ options: OptionValues) throws {
        self.input = input
        try PartRanks.checkRows(input.source.rows)
        share = try options.optionalNumber("share")
        budget = try options.optionalInteger("budget")
        if share != nil, budget != nil {
            throw EmbedCompressError.invalidArgument("give hot_cold either a share or a budget, not both")
        }
        counts = try options.optionalNumbers("counts")
        if let counts { try RowOrder.check(counts: counts, rows: input.source.rows) }
        if let stray = options.inner.keys.filter({ !$0.hasPrefix("hot_") && !$0.hasPrefix("cold_") }).min() {
            throw EmbedCompressError.invalidArgument(
                "hot_cold has no option '\(stray)'; those of its parts begin with hot_ or cold_, such as cold_bits")
        }
        hot = try Self.inner("hot", options)
        cold = try Self.inner("cold", options)
    }

    /// The method of one part, with the options that begin with its name.
    private static func inner(_ part: String, _ options: OptionValues) throws -> InnerMethod {
        var own: [String: OptionValue] = [:]
        for (name, value) in options.inner where name.hasPrefix(part + "_") {
            own[String(name.dropFirst(part.count + 1))] = value
        }
        if let bits = try options.optionalInteger(part + "_bits") { own["bits"] = .integer(bits) }
        return try InnerMethod(try options.string(part), own, within: "hot_cold")
    }

    func compress(_ progress: ProgressCounter) throws -> any Node {
        let rows = input.source.rows
        let steps = ProgressSteps(progress, units: Checked.product(rows, 9) ?? Int.max, shares: [1, 2, 6])
        let norms = try squaredNorms(of: input.source, progress: steps.next(total: rows))
        let searching = steps.next(total: 1)
        guard let budget else {
            let order = try RowOrder(counts ?? norms)
            let split = HotColdSplit(
                order: order, hotRows: Int((Double(rows) * (share ?? 0.1)).rounded(.toNearestOrEven)),
                hot: try (hot.hasFreeBits ? try hot.with("bits", 8) : hot).suiting(input.source, of: input),
                cold: try (cold.hasFreeBits ? try cold.with("bits", 2) : cold).suiting(input.source, of: input),
                coldBytes: nil)
            let node = try compose(split, steps.next(total: rows))
            try steps.finish()
            return node
        }
        // Rows that are used as often count by their norms, but an order by counts may be that of their numbers.
        let orders =
            try counts.map { counts in
                try Allocation.require(Checked.product(rows, MemoryLayout<Double>.stride))
                return [try RowOrder(counts), try RowOrder(zip(counts, norms).map(*))]
            } ?? [RowOrder(norms)]
        let (hot, cold) = (try hot.suiting(input.source, of: input), try cold.suiting(input.source, of: input))
        var found: [(error: Double, split: HotColdSplit)] = []
        for order in orders {
            found += try HotColdSolver(
                input, budget: budget, order: order, counts: counts, hot: hot, cold: cold, watch: searching.watch
            ).solve()
        }
        let making = steps.next(total: rows)
        var floor = Int.max
        for (_, split) in found.sorted(by: { $0.error < $1.error }) {
            do {
                let node = try compose(split, making)
                try steps.finish()
                return node
            } catch EmbedCompressError.budget(_, _, let least) {
                // The least is that of cold rows alone, which is among the splits.
                if split.hotRows == 0 { floor = min(floor, least) }
            }
        }
        throw EmbedCompressError.budget(method: "hot_cold", budgetBytes: budget, floorBytes: floor)
    }

    /// The rows in their parts; no partition where all of them are in one.
    private func compose(_ split: HotColdSplit, _ progress: ProgressCounter) throws -> any Node {
        let source = Table(input.source)
        let ids = split.order.ids
        // Both lists, and as much again to sort them.
        try Allocation.require(Checked.product(source.rows, 2, MemoryLayout<Int>.stride))
        let (hotIDs, coldIDs) = (ids[..<split.hotRows].sorted(), ids[split.hotRows...].sorted())
        let steps = ProgressSteps(
            progress, units: source.rows, shares: [Double(hotIDs.count), Double(coldIDs.count)])
        func part(_ inner: InnerMethod, _ ids: [Int], _ budget: Int?) throws -> Table {
            let rows = ids.count == source.rows ? source : try source.remapped(through: ids)
            let total = Checked.product(rows.rows, inner.passes) ?? Int.max
            return Table(
                try inner.compress(rows.root, budget: budget, progress: steps.next(total: total, reading: rows.root)))
        }
        if coldIDs.isEmpty, !hotIDs.isEmpty { return try part(split.hot, hotIDs, nil).root }
        if hotIDs.isEmpty {
            _ = steps.next(total: 0)
            return try part(split.cold, coldIDs, split.coldBytes).root
        }
        let parts = [try part(split.hot, hotIDs, nil), try part(split.cold, coldIDs, split.coldBytes)]
        if split.order.isByNumber { return try Partition(parts) }
        var assignment = try [Int](allocating: 1, count: source.rows)
        for row in hotIDs { assignment[row] = 0 }
        return try Partition(parts, assignment: assignment)
    }
}

/// Rows by how much they count.
struct RowOrder {
    /// The one that counts most first.
    let ids: [Int]
    /// Whether they are in the order of their numbers, so that nothing has to say which part a row is in.
    let isByNumber: Bool

    /// Refuses counts that are not one for each row, or no counts.
    static func check(counts: [Double], rows: Int) throws {
        guard counts.count == rows else {
            throw EmbedCompressError.invalidArgument(
                "counts must be \(rows) numbers, one for each row, not \(counts.count)")
        }
        for (row, count) in counts.enumerated() where !(count >= 0 && count < .infinity) {
            throw EmbedCompressError.invalidArgument(
                "counts has \(count) for row \(row); a count is finite and not negative")
        }
    }

    /// - Parameter importance: Of each row, at least 0.
    init(_ importance: [Double]) throws {
        isByNumber = zip(importance, importance.dropFirst()).allSatisfy { $0 >= $1 }
        if isByNumber { try Allocation.require(Checked.product(importance.count, MemoryLayout<Int>.stride)) }
        ids = isByNumber ? Array(importance.indices) : try fallingOrder(importance)
    }
}

/// What the two parts are to be.
struct HotColdSplit {
    let order: RowOrder
    let hotRows: Int
    let hot: InnerMethod
    let cold: InnerMethod
    /// A budget for the cold rows; nil if their method has no knob left.
    let coldBytes: Int?
}
