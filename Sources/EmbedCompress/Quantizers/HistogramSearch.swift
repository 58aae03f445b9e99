/// HIST-BRUTE: of all ranges of a row's histogram, the one with the least squared error.
///
/// Guan et al. 2019, appendix A. All `bins * (bins + 1) / 2` ranges are tried; each costs as many lookups as there are
/// codes, whatever the number of bins and the length of the row (see ``RowHistogram``).
struct HistogramBrute: RangeSearch {
    let bins: Int

    /// Ranges start and end at multiples of so many bins.
    var step = 1
    /// The fewest steps that a range is tried with.
    var fewest = 1

    func ranges(of batch: RowBatch) -> Ranges {
        withHistogram(of: batch, bins: bins) { histogram in
            let lastCode = batch.format.lastCode
            var best = Floats16(repeating: .infinity)
            var bestStart = Floats16()
            var bestEnd = Floats16(repeating: Float(bins))
            for selected in stride(from: fewest * step, through: bins, by: step) {
                for start in stride(from: 0, through: bins - selected, by: step) {
                    let errors = histogram.errors(start: start, selected: selected, lastCode: lastCode)
                    let improves = errors .< best
                    best = best.replacing(with: errors, where: improves)
                    bestStart = bestStart.replacing(with: Float(start), where: improves)
                    bestEnd = bestEnd.replacing(with: Float(start + selected), where: improves)
                }
            }
            return batch.format.ranges(histogram.place(of: bestStart), histogram.place(of: bestEnd))
        }
    }
}

/// HIST-APPRX: shrinks a row's histogram from the end at which a small share of the values takes up more bins, as long
/// as the error falls. At most as many steps as bins.
///
/// This is Caffe2's norm minimisation. A step takes 1e-5 of the values off one end; up to 100,000 columns no bin at the
/// lower end is emptied by that, so that the upper end moves alone. Its estimate of the error divides the range into as
/// many parts as there are codes, and not into one part less, as the codes that are stored do.
struct HistogramApproximate: RangeSearch {
    let bins: Int
    private static let share: Float = 1e-5

    func ranges(of batch: RowBatch) -> Ranges {
        withHistogram(of: batch, bins: bins) { histogram in
            var start = Floats16()
            var end = Floats16(repeating: Float(bins))
            for lane in 0..<RowBatch.lanes {
                let chosen = shrink(histogram, lane, lastCode: batch.format.lastCode)
                (start[lane], end[lane]) = (Float(chosen.lowerBound), Float(chosen.upperBound))
            }
            return batch.format.ranges(histogram.place(of: start), histogram.place(of: end))
        }
    }

    /// The bins that a row keeps.
    private func shrink(_ histogram: RowHistogram, _ lane: Int, lastCode: Float) -> Range<Int> {
        func mass(through bin: Int) -> Float { histogram.mass(before: bin + 1, lane: lane) }
        func error(_ first: Int, _ last: Int) -> Float {
            histogram.midpointErrors(start: first, selected: last - first + 1, lastCode: lastCode)[lane]
        }
        let total = mass(through: bins - 1)
        var (first, last) = (0, bins - 1)
        var (lower, upper): (Float, Float) = (0, 1)
        var least = Float.infinity
        while lower < upper {
            var left = first
            while left < last, mass(through: left) < (lower + Self.share) * total { left += 1 }
            // Steps at the upper end that empty no bin are taken at once.
            upper = min(upper, mass(through: last) / total)
            var right = last
            while right > first, mass(through: right) > (upper - Self.share) * total { right -= 1 }
            var next = (first, last)
            if left - first > last - right {
                next.0 = left
                lower += Self.share
            } else {
                next.1 = right
                upper -= Self.share
            }
            if next == (first, last) { break }
            let errors = error(next.0, next.1)
            if errors > least { break }
            least = errors
            (first, last) = next
        }
        return first..<last + 1
    }
}

private func withHistogram(of batch: RowBatch, bins: Int, _ body: (RowHistogram) -> Ranges) -> Ranges {
    var ranges = batch.widest
    Scratch.with(RowHistogram.capacity(bins: bins), of: Floats16.self) { scratch in
        ranges = body(RowHistogram(batch, bins: bins, scratch: scratch))
    }
    return ranges
}

extension Method {
    private static let bins = Option("b", .integer(2...2_000), default: .integer(200), "bins of a row's histogram")

    static let histApprox = Method.ranges(
        name: "hist_apprx", title: "HIST-APPRX",
        summary: "shrinks a histogram of the row while its estimate of the error falls",
        cost: "two passes over the row, b / 2 estimates of 2^bits lookups", takesWeights: true, fallback: .optional,
        bits: paperWidths, options: [bins]
    ) { options, _ in HistogramApproximate(bins: try options.integer("b")) }

    static let histBrute = Method.ranges(
        name: "hist_brute", title: "HIST-BRUTE", summary: "tries every range of a histogram of the row",
        cost: "two passes over the row, b^2 / 2 estimates of 2^bits lookups", takesWeights: true, fallback: .optional,
        bits: paperWidths, options: [bins]
    ) { options, _ in HistogramBrute(bins: try options.integer("b")) }
}
