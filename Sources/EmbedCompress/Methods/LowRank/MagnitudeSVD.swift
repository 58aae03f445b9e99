/// MagSVD: rows in groups by their norm, and an SVD for each group; the larger the norms, the higher the rank.
///
/// The VLDB 2024 study's MagnitudeSVD (arXiv 2311.15578). Groups have equal sums of norms; a group of n_g rows has the
/// rank λ n_g^-0.3, and what a budget leaves after that goes to the groups in which a byte lowers the error most.
///
/// Bytes: those of the groups' SVDs, and which group each row is in.
extension Method {
    static let magnitudeSVD = Method(
        name: "magsvd", title: "MagSVD", family: .decomposition, paper: "Zhang et al., VLDB 2024, arXiv 2311.15578",
        summary: "an SVD for each group of rows of similar norm, of higher rank where norms are larger",
        bytesPerRow: "those of svd with the group's rank, and log2(groups) / 8 or more",
        cost: "four passes over the table, groups * d^3, and the inner method",
        options: [
            Option("groups", .integer(1...256), default: .integer(4), "groups of rows"),
            Option(
                "rank", .integer(1...maximumDimension), default: .null,
                "of the last group, whose norms are smallest; d / 4 by default"),
            LowRankPlan.innerOption, LowRankPlan.elementOption, LowRankPlan.centerOption,
            Option(
                "budget", .budget, default: .null,
                "most bytes of the result; chooses ranks, and the inner method's bits"),
        ],
        takesWeights: false, passes: 10, countsSampledRows: true
    ) { input, options, progress in
        let (source, rows, dimension) = (input.source, input.source.rows, input.source.dimension)
        var plan = try LowRankPlan(options, method: "magsvd")
        let rank = try options.optionalInteger("rank", atMost: dimension, method: "magsvd")
        let budget = try options.optionalInteger("budget")
        if rank != nil, budget != nil {
            throw EmbedCompressError.invalidArgument("give magsvd either a rank or a budget, not both")
        }
        let steps = ProgressSteps(progress, units: Checked.product(rows, 9) ?? Int.max, shares: [1, 2, 6])
        let squares = try squaredNorms(of: source, progress: steps.next(total: rows))
        // Here, where rows have the numbers that they have in the table.
        for (row, square) in squares.enumerated() { try checkNorm(square.squareRoot(), row: row) }
        let division = NormGroups(try SortedNorms(squares: squares), most: try options.integer("groups"))
        let parts =
            division.count == 1
            ? [source]
            : try (0..<division.count).map { try Table(source).remapped(through: try division.rows($0)).root }
        let shares = parts.map { Double($0.rows + 1) }
        let looking = ProgressSteps(steps.next(total: rows), units: rows, shares: shares)
        let groups = try parts.map { part in
            let counted = Double(part.rows) * (Double(input.budgetRows) / Double(max(rows, 1)))
            return try RankGroup(
                part, rows: Int(counted.rounded(.toNearestOrEven)), center: plan.center,
                progress: looking.next(total: part.rows))
        }
        for group in groups { plan.inner = try plan.inner.suiting(group.chooser.factor(), of: input) }
        let plans: [LowRankPlan]
        if let budget {
            plans = try RankShares(
                groups: groups, plan: plan, budget: budget, assignmentBytes: division.assignmentBytes
            )
            .solve()
        } else {
            let last = Double(parts.last?.rows ?? 0)
            let law = Double(rank ?? max(1, dimension / 4)) * RankGroup.power(last, -RankGroup.exponent)
            plans = try groups.map { try $0.chooser.mixed(plan.with(rank: $0.lawfulRank(law))) }
        }
        let making = ProgressSteps(steps.next(total: rows), units: rows, shares: shares)
        let tables = try zip(groups, plans).map { group, plan in
            let total = group.source.rows
            return Table(
                try plan.compress(group.source, group.basis, progress: making.next(total: total), units: total))
        }
        try steps.finish()
        let mayOverflow = groups.contains { $0.basis.largest > safeMagnitude }
        guard tables.count > 1 else { return FinishedTable(node: tables[0].root, mayOverflow: mayOverflow) }
        return FinishedTable(
            node: try Partition(tables, assignment: try division.assignment), mayOverflow: mayOverflow)
    }
}
