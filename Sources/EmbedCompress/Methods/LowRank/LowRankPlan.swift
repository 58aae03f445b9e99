/// What an SVD is to be made of.
struct LowRankPlan {
    var rank = 0
    var inner: InnerMethod
    /// Of the matrix.
    let element: ScaleType
    /// Whether the mean row is taken out.
    let center: Bool
    /// Whether the factor's columns are mixed by an orthogonal matrix before they are compressed.
    var mixes = false

    /// From the options `inner`, `element` and `center`; those of the inner method are given beside them.
    init(_ options: OptionValues, method: String) throws {
        inner = try InnerMethod(try options.string("inner"), options.inner, within: method)
        let element = try options.string("element")
        self.element = ScaleType(rawValue: element) ?? (inner.name == "dense" ? .float32 : .float16)
        center = try options.flag("center")
    }

    func with(rank: Int) -> LowRankPlan {
        var plan = self
        (plan.rank, plan.mixes) = (rank, false)
        return plan
    }

    func with(_ inner: InnerMethod) -> LowRankPlan {
        var plan = self
        plan.inner = inner
        return plan
    }

    /// The same with mixing where that mostly lowers the error: where a row's columns share a range of values.
    var likelyMixed: LowRankPlan {
        var plan = self
        plan.mixes = inner.isByRow && !inner.isPlain && rank >= 2
        return plan
    }

    /// Bytes of the result.
    func bytes(rows: Int, dimension: Int) throws -> Int {
        Checked.sum(
            try inner.bytes(rows: rows, dimension: rank), rank * dimension * element.byteCount,
            center ? 4 * dimension : 0) ?? Int.max
    }

    /// An orthogonal rank x rank matrix that the factor's columns are mixed by; nil for none.
    func mixing(_ watch: ProgressCounter) throws -> DoubleMatrix? {
        mixes ? try LinearAlgebra.randomOrthogonal(rank, seed: 0) { try watch.report() } : nil
    }

    static let innerOption = Option(
        "inner", .method, default: .string("dense"), "what compresses the factor; its options can be given too")
    static let elementOption = Option(
        "element", .choice(["auto", "f32", "f16"]), default: .string("auto"),
        "type of the matrix; auto is f32 if inner is dense, and f16 otherwise")
    static let centerOption = Option(
        "center", .flag, default: .bool(true), "whether the mean row is taken out, for 4 d bytes")
    static let budgetOption = Option(
        "budget", .budget, default: .null,
        "most bytes of the result; chooses rank, and the inner method's bits")

    /// A table as a factor and a matrix.
    ///
    /// - Parameters:
    ///   - basis: Of the table.
    ///   - units: What is counted of `progress`.
    func compress(
        _ source: any Node, _ basis: PrincipalBasis, progress: ProgressCounter, units: Int
    ) throws -> Project {
        let rows = source.rows
        let steps = ProgressSteps(progress, units: units, shares: inner.isPlain ? [3, 1] : [1, 3, 1])
        var directions = try basis.directions.columns(Array(0..<rank))
        if let mixing = try mixing(progress.watch) { directions = try directions.multiplied(by: mixing) }
        let known = try coordinates(of: source, mean: basis.mean, directions, progress: steps.next(total: rows))
        let total = Checked.product(rows, inner.passes) ?? Int.max
        var factor = try inner.compress(known, progress: steps.next(total: total))
        var (matrix, bias) = (try directions.transposed(), center ? basis.mean : nil)
        if !inner.isPlain {
            // The matrix that is fitted turns back what a rotation has turned.
            if let rotated = factor as? Rotate { factor = rotated.inner }
            (matrix, bias) = try fitted(
                source, to: factor, center: center, largest: basis.largest, progress: steps.next(total: rows))
        }
        try steps.finish()
        return try Project(
            Table(factor), matrix: try FloatMatrix(matrix).numbers, dimension: source.dimension,
            bias: bias.map { $0.map { Float($0) } }, element: element)
    }
}
