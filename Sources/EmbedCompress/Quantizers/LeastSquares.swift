/// Alternating least squares: codes nearest to a range, then the range that fits the codes best.
///
/// For given codes the scale and bias of the least squared error are a line's fit of the values over the codes; for a
/// given range the nearest codes are the best. Alternating can only lower the error, up to the rounding of scale and
/// bias to the type that stores them, so the bias is rounded first and the scale fitted to what that leaves. The start
/// decides which minimum is reached: it is the best range that a greedy descent, which goes on until the error has
/// clearly risen, meets on its way.
///
/// Two passes over the row for each step of the descent, one for each fit; rows of sixteen stop together.
struct LeastSquares: RangeSearch {
    /// Steps that the widest range is divided into.
    let bins: Int
    /// The most fits.
    let fits: Int

    /// The descent ends when every row's error is this many times its best.
    private static let risen: Float = 1.2
    /// Fits end when no row's error falls by more than this share.
    private static let settled: Float = 1e-3

    func ranges(of batch: RowBatch) -> Ranges {
        var low = batch.minimum
        var high = batch.maximum
        let step = (high - low) / Float(bins)
        var best = batch.widest
        var bestErrors = batch.squaredErrors(best)
        for _ in 1..<bins {
            let left = batch.format.ranges(low + step, high)
            let right = batch.format.ranges(low, high - step)
            let leftErrors = batch.squaredErrors(left)
            let rightErrors = batch.squaredErrors(right)
            let goesLeft = leftErrors .< rightErrors
            keep(&best, &bestErrors, left, leftErrors)
            keep(&best, &bestErrors, right, rightErrors)
            low = low.replacing(with: low + step, where: goesLeft)
            high = high.replacing(with: high - step, where: .!goesLeft)
            let errors = rightErrors.replacing(with: leftErrors, where: goesLeft)
            if all(errors .>= bestErrors * Self.risen) { break }
        }
        var current = best
        var lastErrors = Floats16(repeating: .infinity)
        for _ in 0..<fits {
            let (errors, fitted) = fit(batch, current)
            keep(&best, &bestErrors, current, errors)
            current = fitted
            if all(errors .>= lastErrors * (1 - Self.settled)) { break }
            lastErrors = errors
        }
        keep(&best, &bestErrors, current, batch.squaredErrors(current))
        return best
    }

    @inline(__always)
    private func keep(_ best: inout Ranges, _ bestErrors: inout Floats16, _ candidate: Ranges, _ errors: Floats16) {
        let improves = errors .< bestErrors
        best.replace(with: candidate, where: improves)
        bestErrors = bestErrors.replacing(with: errors, where: improves)
    }

    /// The errors under `ranges`, and the ranges that fit its codes best.
    @inline(__always)
    private func fit(_ batch: RowBatch, _ ranges: Ranges) -> (errors: Floats16, fitted: Ranges) {
        var errors = Floats16()
        // Sums over the row of codes, squared codes, residuals, and residuals times codes. Residuals are small where
        // values are large, which keeps the sums precise.
        var codeSum = Floats16()
        var squareSum = Floats16()
        var residualSum = Floats16()
        var productSum = Floats16()
        for column in 0..<batch.count {
            let values = batch.columns[column]
            let codes = batch.format.codes(values, ranges)
            let residual = values - (codes * ranges.scale + ranges.bias)
            errors += residual * residual
            codeSum += codes
            squareSum += codes * codes
            residualSum += residual
            productSum += residual * codes
        }
        let count = Float(batch.count)
        let spread = squareSum * count - codeSum * codeSum
        let slope = (productSum * count - residualSum * codeSum) / spread
        // All codes alike: nothing to fit but the bias.
        let change = Floats16().replacing(with: slope, where: spread .> 0)
        let bias = batch.format.type.rounded(ranges.bias + (residualSum - change * codeSum) / count)
        // What the rounded bias leaves for the scale: sum((x - bias) * code) / sum(code^2).
        let leftover = productSum + (ranges.bias - bias) * codeSum
        let scale = ranges.scale + Floats16().replacing(with: leftover / squareSum, where: squareSum .> 0)
        return (errors, Ranges(scale: batch.format.type.rounded(scale), bias: bias))
    }
}

extension Method {
    static let leastSquares = Method.ranges(
        name: "least_squares", title: "Least squares", paper: "this library",
        summary: "alternates nearest codes and the best-fitting scale and bias, from the best clipped start",
        cost: "some 20 to 60 passes over the row",
        options: [
            Option("bins", .integer(2...10_000), default: .integer(40), "steps that the first range is divided into"),
            Option("fits", .integer(0...1_000), default: .integer(12), "the most fits"),
        ]
    ) { options, _ in LeastSquares(bins: try options.integer("bins"), fits: try options.integer("fits")) }
}
