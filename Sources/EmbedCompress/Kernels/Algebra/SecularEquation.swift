/// The roots of 1 + rho Σ z[i]² / (d[i] - x) for rho > 0 and d rising strictly: the eigenvalues of diag(d) + rho z zᵀ, each
/// between its d and the next.
///
/// Rational functions with the two neighbouring poles are fitted to the sums on either side of the root (Li, 1994, LAPACK
/// working note 89), and a bracket keeps what they say in its place. x is found as its distance from the nearer pole, so
/// that every d[i] - x is exact to rounding (Gu and Eisenstat, 1994).
struct SecularEquation {
    let poles: UnsafePointer<Double>
    /// rho z[i]²
    let weights: UnsafePointer<Double>
    let count: Int

    private static let mostSteps = 100

    /// The sums of weights / (poles - x), and of their derivatives, up to a pole and beyond it.
    private struct Sums {
        var (below, above) = (0.0, 0.0)
        var (belowSlope, aboveSlope) = (0.0, 0.0)

        var value: Double { 1 + below + above }
        var slope: Double { belowSlope + aboveSlope }
    }

    private func sums(_ origin: Double, _ x: Double, split: Int) -> Sums {
        var result = Sums()
        (result.below, result.belowSlope) = sum(0..<split, origin, x)
        (result.above, result.aboveSlope) = sum(split..<count, origin, x)
        return result
    }

    @inline(__always)
    private func sum(_ range: Range<Int>, _ origin: Double, _ x: Double) -> (Double, Double) {
        let (origins, xs) = (Doubles8(repeating: origin), Doubles8(repeating: x))
        let one = Doubles8(repeating: 1)
        var (values, slopes) = (Doubles8(), Doubles8())
        var index = range.lowerBound
        while index &+ 8 <= range.upperBound {
            let inverse = one / (load8(poles + index) - origins - xs)
            let term = load8(weights + index) * inverse
            values += term
            slopes = fused(term, inverse, slopes)
            index &+= 8
        }
        var (value, slope) = (total(values), total(slopes))
        while index < range.upperBound {
            let inverse = 1 / (poles[index] - origin - x)
            let term = weights[index] * inverse
            value += term
            slope += term * inverse
            index &+= 1
        }
        return (value, slope)
    }

    /// Root `index`, and its distances from all poles, poles - x.
    func root(_ index: Int, distances: UnsafeMutablePointer<Double>) -> Double {
        let (origin, x) = index == count - 1 ? lastRoot() : innerRoot(index)
        for pole in 0..<count { distances[pole] = poles[pole] - origin - x }
        return origin + x
    }

    private func innerRoot(_ index: Int) -> (origin: Double, x: Double) {
        let (low, high) = (poles[index], poles[index + 1])
        let gap = high - low
        let middle = sums(low, gap / 2, split: index + 1)
        let isLow = middle.value >= 0
        let origin = isLow ? low : high
        // What all other poles add in the middle stands for what they add elsewhere.
        let (below, above) = (weights[index], weights[index + 1])
        let others = middle.value + (below - above) / (gap / 2)
        let (first, second) = isLow ? (0, gap) : (-gap, 0)
        var bracket = isLow ? (low: 0, high: gap / 2) : (low: -gap / 2, high: 0)
        let start = Self.quadraticRoot(
            others, others * (first + second) + below + above,
            others * first * second + below * second + above * first, from: 0, in: bracket)
        let x = refine(
            origin, start ?? (bracket.low + bracket.high) / 2, &bracket, split: index + 1,
            between: (first, second))
        return (origin, x)
    }

    private func lastRoot() -> (origin: Double, x: Double) {
        var total = 0.0
        for index in 0..<count { total += weights[index] }
        let origin = poles[count - 1]
        var bracket = (low: 0.0, high: total)
        let before = poles[count - 2] - origin
        return (origin, refine(origin, total / 2, &bracket, split: count - 1, between: (before, 0)))
    }

    /// Improves a root until the equation holds but for rounding.
    private func refine(
        _ origin: Double, _ start: Double, _ bracket: inout (low: Double, high: Double), split: Int,
        between poles: (Double, Double)
    ) -> Double {
        var x = start
        for _ in 0..<Self.mostSteps {
            let sums = sums(origin, x, split: split)
            let value = sums.value
            let rounding = 1 + abs(sums.below) + abs(sums.above)
            if abs(value) <= Double.ulpOfOne * (8 * rounding + abs(x) * sums.slope) { return x }
            if value < 0 { bracket.low = x } else { bracket.high = x }
            let (first, second) = (poles.0 - x, poles.1 - x)
            let step = Self.quadraticRoot(
                value - first * sums.belowSlope - second * sums.aboveSlope,
                (first + second) * value - first * second * sums.slope, first * second * value, from: x, in: bracket)
            let next = step ?? (bracket.low + bracket.high) / 2
            if next == x || next <= bracket.low || next >= bracket.high { return x }
            x = next
        }
        return x
    }

    /// `start` plus a root of a y² - b y + c, the nearest to zero that stays inside the bracket; nil if none does.
    private static func quadraticRoot(
        _ a: Double, _ b: Double, _ c: Double, from start: Double, in bracket: (low: Double, high: Double)
    ) -> Double? {
        let discriminant = max(b * b - 4 * a * c, 0).squareRoot()
        let sum = (b < 0 ? b - discriminant : b + discriminant) / 2
        guard sum != 0 else { return nil }
        let (near, far) = (start + c / sum, start + sum / a)
        if near > bracket.low, near < bracket.high { return near }
        if far > bracket.low, far < bracket.high { return far }
        return nil
    }
}
