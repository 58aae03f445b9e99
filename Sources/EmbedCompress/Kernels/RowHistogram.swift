/// Histograms of sixteen rows in lanes, each over its row's extent, and what they say about the error of a range.
///
/// Values count as spread evenly over their bin (Guan et al. 2019, appendix A). Codes lie at `first + k * width`; values
/// beyond them go to the first or the last. With `G(t)` the integral up to `t` of `t - x` over the histogram, the squared
/// error of all codes is `const + last^2 * mass - 2 * last * moment - 2 * width * sum(G(t))`, `last` being the place of
/// the last code, over the thresholds `t` between codes: one lookup for each, however many bins there are. Rows differ
/// in their bins' contents only, so lanes share all places.
struct RowHistogram {
    let bins: Int
    /// Of a row's extent.
    let binWidth: Floats16
    let minimum: Floats16
    private let densities: UnsafeMutablePointer<Floats16>
    /// What lies before each bin.
    private let masses: UnsafeMutablePointer<Floats16>
    /// `G` at the start of each bin.
    private let integrals: UnsafeMutablePointer<Floats16>
    private let mass: Floats16
    /// Sum over all bins of content times place.
    private let moment: Floats16

    /// Vectors of scratch memory that `init` wants.
    static func capacity(bins: Int) -> Int { 3 * bins + 2 }

    init(_ batch: RowBatch, bins: Int, scratch: UnsafeMutablePointer<Floats16>) {
        self.bins = bins
        (densities, masses, integrals) = (scratch, scratch + bins, scratch + (2 * bins + 1))
        minimum = batch.minimum
        let extent = batch.maximum - batch.minimum
        binWidth = extent / Float(bins)
        let perBin = Floats16().replacing(with: Float(bins) / extent, where: extent .> 0)
        densities.update(repeating: Floats16(), count: bins)
        let contents = UnsafeMutableRawPointer(densities).assumingMemoryBound(to: Float.self)
        let last = Floats16(repeating: Float(bins - 1))
        for column in 0..<batch.count {
            let places = (batch.columns[column] - minimum) * perBin
            let inside = last.replacing(with: places, where: places .< last)
            let amounts = batch.weighted(Floats16(repeating: 1), column)
            for lane in 0..<RowBatch.lanes {
                contents[Int(inside[lane]) &* RowBatch.lanes &+ lane] += amounts[lane]
            }
        }
        var mass = Floats16()
        var integral = Floats16()
        var moment = Floats16()
        for bin in 0..<bins {
            masses[bin] = mass
            integrals[bin] = integral
            let content = densities[bin]
            integral += mass + content * 0.5
            moment += content * (Float(bin) + 0.5)
            mass += content
        }
        masses[bins] = mass
        integrals[bins] = integral
        self.mass = mass
        self.moment = moment
    }

    /// The squared errors of a range whose first and last code lie at its ends, in all lanes.
    @inline(__always)
    func errors(start: Int, selected: Int, lastCode: Float) -> Floats16 {
        errors(
            first: Float(start), last: Float(start + selected), width: Float(selected) / lastCode, lastCode: lastCode)
    }

    /// The squared errors of a range that is divided into as many parts as there are codes, which lie in their middles.
    @inline(__always)
    func midpointErrors(start: Int, selected: Int, lastCode: Float) -> Floats16 {
        let width = Float(selected) / (lastCode + 1)
        return errors(
            first: Float(start) + width * 0.5, last: Float(start + selected) - width * 0.5, width: width,
            lastCode: lastCode)
    }

    /// In squares of the bin width and but for a constant.
    @inline(__always)
    private func errors(first: Float, last: Float, width: Float, lastCode: Float) -> Floats16 {
        var sum = Floats16()
        var threshold = first + width * 0.5
        for _ in 0..<Int(lastCode) {
            let bin = min(Int(threshold), bins &- 1)
            let rest = threshold - Float(bin)
            sum += integrals[bin] + (masses[bin] + densities[bin] * (rest * 0.5)) * rest
            threshold += width
        }
        return (mass * last - moment * 2) * last - sum * (2 * width)
    }

    /// What lies in the bins before `bin`.
    func mass(before bin: Int, lane: Int) -> Float { masses[bin][lane] }

    /// The range of values of a range of bins.
    @inline(__always)
    func place(of bin: Floats16) -> Floats16 { minimum + binWidth * bin }
}
