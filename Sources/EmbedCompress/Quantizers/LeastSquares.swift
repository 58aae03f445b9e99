/// Alternating least squares: codes nearest to a range, then the range that fits the codes best.
///
/// For given codes the scale and bias of the least squared error are a line's fit of the values over the codes; for a
/// given range the nearest codes are the best. Alternating can only lower the error, up to the rounding of scale and
/// bias to the type that stores them, so the bias is rounded first and the scale fitted to what that leaves. The start
/// decides which minimum is reached. The first is the best range that a greedy descent, which goes on until the error
/// has clearly risen, meets on its way. Where a row is long for the number of its codes, or has uneven weights and up to
/// 16 codes, there are many minima, and the second is the best of some 700 ranges of a histogram; or, of short rows with
/// uneven weights and few codes, the best of all ranges, see ``RisingCodes``. Then come the best range so far, slightly
/// stretched and shrunk, and with few codes shifted too.
///
/// Two passes over the row for each step of the descent, one for each fit, some 700 * 2^bits steps for the histogram;
/// rows of sixteen stop together.
struct LeastSquares: RangeSearch {
    /// Steps that the widest range is divided into, up to 4 bits; with more bits in proportion to the codes.
    let bins: Int
    /// The most fits from the first start; three times as many from the second.
    let fits: Int

    /// The descent ends when every row's error is this many times its best.
    private static let risen: Float = 1.2
    /// Fits end when no row's error falls by more than this share.
    private static let settled: Float = 1e-3
    /// Later starts: the range's width changes by a share, its place by a number of steps.
    private static let stretches: [(stretch: Float, shift: Float)] = [(0.05, 0), (-0.05, 0), (0.025, 0), (-0.025, 0)]
    private static let shifts: [(stretch: Float, shift: Float)] = [(0, 0.3), (0, -0.3)]
    private static let laterFits = 2
    /// Rows with so many columns for each code are long.
    private static let columnsForCode: Float = 5
    /// With uneven weights a histogram is worth its time up to this last code.
    private static let lastUnevenCode: Float = 15
    private static let coarse = HistogramBrute(bins: 160, step: 4, fewest: 5)

    func ranges(of batch: RowBatch) -> Ranges {
        var best = batch.widest
        var bestErrors = batch.errors(best)
        descend(batch, &best, &bestErrors)
        fit(batch, from: best, &best, &bestErrors, fits: fits)
        let isUneven = batch.hasUnevenWeights
        if isUneven, RisingCodes.areFew(columns: batch.count, lastCode: Int(batch.format.lastCode)) {
            fit(batch, from: RisingCodes.ranges(of: batch), &best, &bestErrors, fits: fits)
        } else if isUneven && batch.format.lastCode <= Self.lastUnevenCode
            || Float(batch.count) >= Self.columnsForCode * (batch.format.lastCode + 1)
        {
            fit(batch, from: Self.coarse.ranges(of: batch), &best, &bestErrors, fits: 3 * fits)
        }
        for start in Self.stretches { fit(batch, near: start, &best, &bestErrors) }
        if batch.format.lastCode < 15 {
            for start in Self.shifts { fit(batch, near: start, &best, &bestErrors) }
        }
        return best
    }

    private func descend(_ batch: RowBatch, _ best: inout Ranges, _ bestErrors: inout Floats16) {
        var low = batch.minimum
        var high = batch.maximum
        // More codes take less of the range away.
        let steps = Float(bins) * max(1, (batch.format.lastCode + 1) / 16)
        let step = (high - low) / steps
        for _ in 1..<Int(steps) {
            let left = batch.format.ranges(low + step, high)
            let right = batch.format.ranges(low, high - step)
            let (leftErrors, rightErrors) = batch.errors(left, right)
            let goesLeft = leftErrors .< rightErrors
            batch.keep(&best, &bestErrors, left, leftErrors)
            batch.keep(&best, &bestErrors, right, rightErrors)
            low = low.replacing(with: low + step, where: goesLeft)
            high = high.replacing(with: high - step, where: .!goesLeft)
            let errors = rightErrors.replacing(with: leftErrors, where: goesLeft)
            if all(errors .>= bestErrors * Self.risen) { break }
        }
    }

    /// Fits from the best range so far, changed a little.
    private func fit(
        _ batch: RowBatch, near start: (stretch: Float, shift: Float), _ best: inout Ranges,
        _ bestErrors: inout Floats16
    ) {
        let type = batch.format.type
        let halfWidth = batch.format.lastCode / 2
        let scale = type.rounded(best.scale * (1 + start.stretch))
        let bias = type.rounded(best.bias + best.scale * halfWidth - scale * (halfWidth - start.shift))
        fit(batch, from: Ranges(scale: scale, bias: bias), &best, &bestErrors, fits: Self.laterFits)
    }

    private func fit(
        _ batch: RowBatch, from start: Ranges, _ best: inout Ranges, _ bestErrors: inout Floats16, fits: Int
    ) {
        var current = start
        var lastErrors = Floats16(repeating: .infinity)
        for _ in 0..<fits {
            let (errors, fitted) = fit(batch, current)
            batch.keep(&best, &bestErrors, current, errors)
            current = fitted
            if all(errors .>= lastErrors * (1 - Self.settled)) { break }
            lastErrors = errors
        }
        batch.keep(&best, &bestErrors, current, batch.errors(current))
    }

    /// The errors under `ranges`, and the ranges that fit its codes best.
    @inline(__always)
    private func fit(_ batch: RowBatch, _ ranges: Ranges) -> (errors: Floats16, fitted: Ranges) {
        let sums = FitSums(batch, ranges)
        let spread = sums.square * sums.weight - sums.code * sums.code
        let slope = (sums.product * sums.weight - sums.residual * sums.code) / spread
        // All codes alike: nothing to fit but the bias.
        let change = Floats16().replacing(with: slope, where: spread .> 0)
        let shift = (sums.residual - change * sums.code) / sums.weight
        let bias = batch.format.type.rounded(
            ranges.bias + ranges.scale * Floats16().replacing(with: shift, where: sums.weight .> 0))
        // What the rounded bias leaves for the scale: sum((x - bias) * code) / sum(code^2).
        let leftover = sums.product + (ranges.bias - bias) * ranges.inverse * sums.code
        let growth = Floats16().replacing(with: leftover / sums.square, where: sums.square .> 0)
        let scale = batch.format.type.rounded(ranges.scale + ranges.scale * growth)
        return (sums.error * batch.unit(ranges), Ranges(scale: scale, bias: bias))
    }
}

extension RowBatch {
    /// Whether a row has elements that count more than others.
    fileprivate var hasUnevenWeights: Bool {
        guard let weights else { return false }
        return (1..<max(count, 1)).contains { any(weights[$0] .!= weights[0]) }
    }
}

/// Sums over the columns that a line's fit of values over codes is made of. Residuals, in steps of the scale, are small
/// where values are large, which keeps the sums precise.
private struct FitSums {
    var weight = Floats16()
    var error = Floats16()
    var code = Floats16()
    var square = Floats16()
    var residual = Floats16()
    var product = Floats16()

    @inline(__always)
    init(_ batch: RowBatch, _ ranges: Ranges) {
        let one = Floats16(repeating: 1)
        let last = Floats16(repeating: batch.format.lastCode)
        let (bias, inverse) = (ranges.bias, ranges.inverse)
        for column in 0..<batch.count {
            let steps = (batch.columns[column] - bias) * inverse
            let codes = nearestCodes(steps, last)
            let left = steps - codes
            let weightedCodes = batch.weighted(codes, column)
            let weightedLeft = batch.weighted(left, column)
            weight += batch.weighted(one, column)
            error += weightedLeft * left
            code += weightedCodes
            square += weightedCodes * codes
            residual += weightedLeft
            product += weightedLeft * codes
        }
    }
}

extension Method {
    static let leastSquares = Method.ranges(
        name: "least_squares", title: "Least squares", paper: "this library",
        summary: "alternates nearest codes and the best-fitting scale and bias, from the best clipped start",
        cost: "some 30 to 60 passes over the row, up to 5 times the time with uneven weights", takesWeights: true,
        fallback: .always,
        options: [
            Option(
                "bins", .integer(2...10_000), default: .integer(28),
                "steps that the first range is divided into, up to 4 bits"),
            Option("fits", .integer(0...1_000), default: .integer(3), "the most fits from the first start"),
        ]
    ) { options, _ in LeastSquares(bins: try options.integer("bins"), fits: try options.integer("fits")) }
}
