/// GREEDY: shrinks the range one step at a time from whichever end costs less, and keeps the best range on the way.
///
/// Guan et al. 2019, Algorithm 1: a step is `(max - min) / bins`; the search ends when the range is down to `1 - ratio` of the
/// first. Every range on the way is compared with the best so far; PyTorch's `choose_qparams_optimized` takes local minima only, and
/// falls back to the widest range where the error keeps falling. Errors are those of scale and bias as stored.
/// `bins * ratio` steps, each of two passes over the row.
struct Greedy: RangeSearch {
    var bins = 200
    var ratio = 0.16

    func range(
        of row: RowValues, extent: (minimum: Float, maximum: Float), widest: StoredRange, lastCode: Float, type: ScaleType
    ) -> StoredRange {
        var low = extent.minimum
        var high = extent.maximum
        let step = (high - low) / Float(bins)
        let leastWidth = Float(bins) * Float(1 - ratio) * step
        var best = widest
        var bestError = row.squaredError(widest, lastCode: lastCode)
        // Steps are counted because a step can be too small to move an end.
        var stepsLeft = bins
        while low + leastWidth < high, stepsLeft > 0 {
            stepsLeft -= 1
            let left = StoredRange(minimum: low + step, maximum: high, lastCode: lastCode, type: type)
            let right = StoredRange(minimum: low, maximum: high - step, lastCode: lastCode, type: type)
            let leftError = row.squaredError(left, lastCode: lastCode)
            let rightError = row.squaredError(right, lastCode: lastCode)
            if leftError < rightError {
                low += step
                if leftError < bestError { (best, bestError) = (left, leftError) }
            } else {
                high -= step
                if rightError < bestError { (best, bestError) = (right, rightError) }
            }
        }
        return best
    }
}

extension Method {
    static let greedy = Method.ranges(
        name: "greedy", title: "GREEDY", summary: "shrinks the range step by step from the end that costs less",
        cost: "2 b r passes over the row",
        options: [
            Option("b", .integer(1...100_000), default: .integer(200), "steps that the first range is divided into"),
            Option("r", .number(0...1), default: .number(0.16), "share of the first range that the search may give up"),
        ]
    ) { options in Greedy(bins: try options.integer("b"), ratio: try options.number("r")) }
}
