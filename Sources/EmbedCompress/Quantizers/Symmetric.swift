/// SYM: from `-m` to `m`, the largest magnitude of the row. One pass over the row.
struct Symmetric: RangeSearch {
    func ranges(of batch: RowBatch) -> Ranges {
        let magnitude = batch.magnitude
        return batch.format.ranges(-magnitude, magnitude)
    }
}

/// GSS: golden-section search of the threshold `t` for which the range from `-t` to `t` has the least squared error.
///
/// May et al. 2019, arXiv 1909.01264. The search presumes that the error falls and then rises with the threshold, which
/// short rows don't heed; the best threshold that was met is kept. One pass over the row for each of its steps, which
/// shrink the interval to a thousandth of the first.
struct GoldenSection: RangeSearch {
    var norm: ErrorNorm?
    private static let steps = 15
    private static let share: Float = 0.618_034

    func ranges(of batch: RowBatch) -> Ranges {
        func ranges(_ threshold: Floats16) -> Ranges { batch.format.ranges(-threshold, threshold) }
        var low = Floats16()
        var high = batch.magnitude
        var left = high - (high - low) * Self.share
        var right = low + (high - low) * Self.share
        var (leftErrors, rightErrors) = batch.errors(ranges(left), ranges(right))
        var best = ranges(high)
        var bestErrors = batch.errors(best)
        for _ in 0..<Self.steps {
            batch.keep(&best, &bestErrors, ranges(left), leftErrors)
            batch.keep(&best, &bestErrors, ranges(right), rightErrors)
            // The minimum lies left of `right`, or right of `left`; the point that stays inside keeps its error.
            let goesLeft = leftErrors .< rightErrors
            high = high.replacing(with: right, where: goesLeft)
            low = low.replacing(with: left, where: .!goesLeft)
            let width = (high - low) * Self.share
            let next = (low + width).replacing(with: high - width, where: goesLeft)
            let errors = batch.errors(ranges(next))
            let (oldLeft, oldLeftErrors) = (left, leftErrors)
            left = right.replacing(with: next, where: goesLeft)
            leftErrors = rightErrors.replacing(with: errors, where: goesLeft)
            right = next.replacing(with: oldLeft, where: goesLeft)
            rightErrors = errors.replacing(with: oldLeftErrors, where: goesLeft)
        }
        batch.keep(&best, &bestErrors, ranges(left), leftErrors)
        batch.keep(&best, &bestErrors, ranges(right), rightErrors)
        return best
    }
}

extension Method {
    static let sym = Method.ranges(
        name: "sym", title: "SYM", summary: "from minus to plus the row's largest magnitude",
        cost: "one pass over the row",
        takesWeights: false, fallback: .optional, bits: paperWidths
    ) { _, _ in Symmetric() }

    static let gss = Method.ranges(
        name: "gss", title: "GSS", paper: "May et al. 2019, arXiv 1909.01264; in Guan et al. 2019, arXiv 1911.02079",
        summary: "golden-section search of a symmetric threshold", cost: "some 20 passes over the row",
        takesWeights: true, fallback: .optional, bits: paperWidths, options: [normOption]
    ) { options, _ in GoldenSection(norm: try norm(options, name: "gss")) }
}
