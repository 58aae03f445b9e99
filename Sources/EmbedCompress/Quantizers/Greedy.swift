/// GREEDY: shrinks the range one step at a time from whichever end costs less, and keeps the best range on the way.
///
/// Guan et al. 2019, Algorithm 1: a step is `(max - min) / bins`; the search ends when the range is down to `1 - ratio`
/// of the first. Every range on the way is compared with the best so far; PyTorch's `choose_qparams_optimized` takes
/// local minima only, and falls back to the widest range where the error keeps falling. Errors are those of scale and
/// bias as stored. `bins * ratio` steps, each of two passes over the row.
struct Greedy: RangeSearch {
    var bins = 200
    var ratio = 0.16
    var norm: ErrorNorm?

    func ranges(of batch: RowBatch) -> Ranges {
        var low = batch.minimum
        var high = batch.maximum
        let step = (high - low) / Float(bins)
        let leastWidth = step * (Float(bins) * Float(1 - ratio))
        var best = batch.widest
        var bestErrors = batch.errors(best)
        // Steps are counted because a step can be too small to move an end.
        for _ in 0..<bins {
            let active = low + leastWidth .< high
            guard any(active) else { break }
            let left = batch.format.ranges(low + step, high)
            let right = batch.format.ranges(low, high - step)
            let (leftErrors, rightErrors) = batch.errors(left, right)
            let goesLeft = leftErrors .< rightErrors
            var candidate = right
            candidate.replace(with: left, where: goesLeft)
            let errors = rightErrors.replacing(with: leftErrors, where: goesLeft)
            let improves = active .& (errors .< bestErrors)
            best.replace(with: candidate, where: improves)
            bestErrors = bestErrors.replacing(with: errors, where: improves)
            low = low.replacing(with: low + step, where: active .& goesLeft)
            high = high.replacing(with: high - step, where: active .& .!goesLeft)
        }
        return best
    }
}

extension Method {
    static let greedy = Method.ranges(
        name: "greedy", title: "GREEDY", summary: "shrinks the range step by step from the end that costs less",
        cost: "2 b r passes over the row", takesWeights: true, fallback: .always,
        options: [
            Option("b", .integer(1...100_000), default: .integer(200), "steps that the first range is divided into"),
            Option("r", .number(0...1), default: .number(0.16), "share of the first range that the search may give up"),
            normOption,
        ]
    ) { options, _ in
        Greedy(
            bins: try options.integer("b"), ratio: try options.number("r"), norm: try norm(options, name: "greedy"))
    }
}
