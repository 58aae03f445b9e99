/// SVD: rows as coordinates in the directions in which the table varies most, and a matrix that leads back.
///
/// Eckart & Young 1936; a baseline of the VLDB 2024 study (arXiv 2311.15578). The directions are the eigenvectors of the
/// d x d Gram matrix in f64, which is exact and reads the table once; the factor costs a second pass and n * rank floats
/// of memory. The factor is compressed by any method (`inner`). Then its columns are first mixed by an orthogonal matrix
/// where that lowers the error, and the matrix is fitted anew to the factor as it became, for the least squared error.
///
/// Bytes: those of n rows of `rank` columns, and rank * d * (2 or 4) + d * 4 for the table. At most d = 8192 or so: the
/// eigenvectors take d^3 operations.
extension Method {
    static let svd = Method(
        name: "svd", title: "SVD", family: .decomposition,
        paper: "Eckart & Young 1936; Zhang et al., VLDB 2024, arXiv 2311.15578",
        summary:
            "the directions in which rows vary most, and each row's coordinates there, compressed by any method",
        bytesPerRow: "those of `inner` for rank columns; rank * d * (2 for f16, 4 for f32) + 4 * d for the table",
        cost: "two passes over the table, d^3 once, and the inner method",
        options: [
            Option(
                "rank", .integer(1...maximumDimension), default: .null,
                "columns of the factor; half of the table's if not given"),
            LowRankPlan.innerOption, LowRankPlan.elementOption, LowRankPlan.centerOption, LowRankPlan.budgetOption,
        ],
        takesWeights: false, passes: 6, countsSampledRows: true
    ) { input, options, progress in
        let (source, rows, dimension) = (input.source, input.source.rows, input.source.dimension)
        var plan = try LowRankPlan(options, method: "svd")
        let rank = try options.optionalInteger("rank", atMost: dimension, method: "svd")
        let budget = try options.optionalInteger("budget")
        if rank != nil, budget != nil, !plan.inner.hasFreeBits {
            throw EmbedCompressError.invalidArgument(
                "give svd either a rank or a budget, or let the budget choose the bits of its inner method")
        }
        let steps = ProgressSteps(progress, units: Checked.product(rows, 5) ?? Int.max, shares: [1, 4])
        let basis = try PrincipalBasis(of: source, center: plan.center, progress: steps.next(total: rows))
        let mayOverflow = basis.largest > safeMagnitude
        let last = steps.next(total: rows)
        let chooser = try LowRankChooser(source, basis, rows: input.budgetRows, watch: last.watch)
        plan.inner = try plan.inner.suiting(chooser.factor(), of: input)
        guard let budget else {
            plan = try chooser.mixed(plan.with(rank: rank ?? (dimension + 1) / 2))
            return FinishedTable(
                node: try plan.compress(source, basis, progress: last, units: rows), mayOverflow: mayOverflow)
        }
        let ranks = rank.map { $0...$0 } ?? 1...max(1, min(dimension, rows))
        plan = try chooser.best(plan, budget: budget, ranks, method: "svd")
        while true {
            let result = try plan.compress(source, basis, progress: last, units: rows)
            let bytes = result.storedBytes
            // Where rows of the inner method have no fixed size, what was counted on was an estimate.
            if bytes <= budget { return FinishedTable(node: result, mayOverflow: mayOverflow) }
            guard plan.rank > ranks.lowerBound else {
                throw EmbedCompressError.budget(method: "svd", budgetBytes: budget, floorBytes: bytes)
            }
            let scaled = Int(Double(plan.rank) * (Double(budget) / Double(bytes)))
            plan.rank = max(ranks.lowerBound, min(plan.rank - 1, scaled))
        }
    }
}
