/// The levels that hold a coordinate of a random point on the sphere with the least squared error: those of Lloyd (1957)
/// and Max (1960), for the distribution that a rotated row's coordinates really have.
///
/// A coordinate of a point on the sphere of radius `√d` in `d` dimensions has the density `(1 - t²/d)^((d - 3) / 2)`,
/// which becomes the normal one as `d` grows; for fewer than three dimensions that of three is taken. The fixed point,
/// in which each level is the mean of what is nearest to it, is found by Newton's method. Only square roots and the four
/// operations are used, so that every machine finds the same levels.
struct SphereLevels {
    private let dimension: Double
    private let halves: Int
    /// Where the density ends, or has become nothing.
    private let end: Double
    /// No level is larger.
    static let largest: Float = 9

    init(dimension: Int) {
        let dimension = max(dimension, 3)
        self.dimension = Double(dimension)
        halves = dimension - 3
        end = min(self.dimension.squareRoot(), Double(Self.largest))
    }

    /// The `count` positive levels, ascending; there are as many negative ones.
    func positive(_ count: Int) -> [Double] {
        var levels = start(count)
        for _ in 0..<100 {
            let steps = newton(levels)
            var share = 1.0
            var next = levels
            repeat {
                for index in 0..<count { next[index] = levels[index] - share * steps[index] }
                share /= 2
            } while !isAscending(next) && share > 1e-9
            let change = zip(levels, next).reduce(0) { max($0, abs($1.0 - $1.1)) }
            levels = next
            if change < 1e-13 { break }
        }
        return levels
    }

    private func isAscending(_ levels: [Double]) -> Bool {
        guard let first = levels.first, let last = levels.last, first > 0, last < end else { return false }
        return zip(levels, levels.dropFirst()).allSatisfy { $0 < $1 }
    }

    /// Not normalised.
    func density(_ value: Double) -> Double {
        power(max(1 - value * value / dimension, 0), halves: halves)
    }

    private func power(_ base: Double, halves: Int) -> Double {
        var (result, factor, rest) = (1.0, base, halves / 2)
        while rest > 0 {
            if rest & 1 == 1 { result *= factor }
            factor *= factor
            rest >>= 1
        }
        return halves & 1 == 1 ? result * base.squareRoot() : result
    }

    /// Levels as dense as the cube root of the density (Panter and Dite, 1951), nearly.
    private func start(_ count: Int) -> [Double] {
        let cells = 1 << 14
        let width = end / Double(cells)
        var sums = [0.0]
        for cell in 0..<cells {
            let value = (Double(cell) + 0.5) * width
            sums.append((sums.last ?? 0) + power(max(1 - value * value / dimension, 0), halves: halves / 3))
        }
        let total = sums.last ?? 1
        var cell = 0
        return (0..<count).map { index in
            let wanted = total * (Double(index) + 0.5) / Double(count)
            while cell < cells - 1, sums[cell + 1] < wanted { cell += 1 }
            return (Double(cell) + (wanted - sums[cell]) / (sums[cell + 1] - sums[cell])) * width
        }
    }

    /// What Newton's method takes from each level: the solution of a tridiagonal system.
    private func newton(_ levels: [Double]) -> [Double] {
        let count = levels.count
        var uppers = [Double](repeating: 0, count: count)
        var steps = uppers
        for index in 0..<count {
            let low = index == 0 ? 0 : (levels[index - 1] + levels[index]) / 2
            let high = index == count - 1 ? end : (levels[index] + levels[index + 1]) / 2
            let (mass, mean) = moments(low, high)
            // How fast the mean follows the bounds.
            let atLow = index == 0 ? 0 : density(low) * (mean - low) / mass / 2
            let atHigh = index == count - 1 ? 0 : density(high) * (high - mean) / mass / 2
            var diagonal = 1 - atLow - atHigh
            var residual = levels[index] - mean
            if index > 0 {
                diagonal += atLow * uppers[index - 1]
                residual += atLow * steps[index - 1]
            }
            uppers[index] = -atHigh / diagonal
            steps[index] = residual / diagonal
        }
        for index in (0..<count - 1).reversed() { steps[index] -= uppers[index] * steps[index + 1] }
        return steps
    }

    /// The integral of the density, and the mean under it, by Gauss-Legendre quadrature in short pieces.
    private func moments(_ low: Double, _ high: Double) -> (mass: Double, mean: Double) {
        let pieces = max(8, Int((high - low) / 0.05))
        let half = (high - low) / Double(2 * pieces)
        var (mass, moment) = (0.0, 0.0)
        for piece in 0..<pieces {
            let middle = low + Double(2 * piece + 1) * half
            for (place, weight) in Self.nodes {
                for sign in place == 0 ? [1.0] : [-1.0, 1.0] {
                    let value = middle + sign * place * half
                    let share = weight * density(value)
                    mass += share
                    moment += share * value
                }
            }
        }
        return (mass * half, moment / mass)
    }

    /// Of five points: positions and weights.
    private static let nodes: [(place: Double, weight: Double)] = [
        (0, 0.568_888_888_888_888_9), (0.538_469_310_105_683_1, 0.478_628_670_499_366_5),
        (0.906_179_845_938_664_0, 0.236_926_885_056_189_1),
    ]
}
