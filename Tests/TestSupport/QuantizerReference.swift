import EmbedCompress

/// The ranges that quantizers choose, by their papers' definitions, one value at a time.
public struct QuantizerReference {
    public let bits: Int
    public let scaleType: ScaleType

    public init(bits: Int, scaleType: ScaleType = .float16) { (self.bits, self.scaleType) = (bits, scaleType) }

    /// A scale and a bias as they are stored.
    public struct Range: Equatable {
        public var scale: Float
        public var bias: Float

        public init(scale: Float, bias: Float) { (self.scale, self.bias) = (scale, bias) }
    }

    private var lastCode: Float { Float((1 << bits) - 1) }

    private func stored(_ value: Float) -> Float { scaleType == .float16 ? HalfReference.rounded(value) : value }

    /// FBGEMM's rule: the scale is taken from the rounded bias, and is 1 where the range is empty. A subnormal f16 scale
    /// that would leave the end of the range more than a step away from the last code is the next larger one. Instead of a
    /// subnormal f32 scale there is the smallest normal one, and a multiple of it as the bias.
    public func range(minimum: Float, maximum: Float) -> Range {
        let bias = stored(minimum)
        let exact = (maximum - bias) / lastCode
        var scale = stored(exact)
        if scaleType == .float16, exact < 0x1p-14, (exact - scale) * lastCode > scale { scale += 0x1p-24 }
        if scaleType == .float32, scale < 0x1p-126, maximum > minimum {
            let multiple = (bias * 0x1p126).rounded(.toNearestOrEven) * 0x1p-126
            return Range(scale: 0x1p-126, bias: bias.magnitude < 0x1p-104 ? multiple : bias)
        }
        return Range(scale: scale > 0 ? scale : 1, bias: bias)
    }

    /// The range whose f16 scale has the least error: a coarse one, the next larger or the next smaller. Errors are summed
    /// in f32, so that those that are equal but for rounding are told apart as the library does.
    public func bestNeighbour(_ row: [Float], _ range: Range) -> Range {
        guard scaleType == .float16, range.scale < min(0x1p-14, lastCode * 0x1p-25) else { return range }
        let unit = 1 / self.range(minimum: row.min() ?? 0, maximum: row.max() ?? 0).scale
        func error(_ range: Range) -> Float {
            var total: Float = 0
            for start in stride(from: 0, to: row.count, by: 256) {
                let run = Array(row[start..<min(start + 256, row.count)])
                total += zip(run, codes(run, range)).reduce(0) { sum, pair in
                    let product = Float(pair.1) * range.scale
                    let left = (pair.0 - (product + range.bias)) * unit
                    return sum + left * left
                }
            }
            return total
        }
        var best = range
        for scale in [range.scale + 0x1p-24, range.scale - 0x1p-24] where scale > 0 {
            let neighbour = Range(scale: scale, bias: range.bias)
            if error(neighbour) < error(best) { best = neighbour }
        }
        return best
    }

    /// `clamp(round((x - bias) / scale), 0, 2^bits - 1)`, halves to even; division by the inverse, as FBGEMM does.
    public func codes(_ row: [Float], _ range: Range) -> [Int] {
        let inverse = 1 / range.scale
        return row.map { value in
            let code = ((value - range.bias) * inverse).rounded(.toNearestOrEven)
            return Int(min(max(code, 0), lastCode))
        }
    }

    /// The row's squared error under a range.
    public func squaredError(_ row: [Float], _ range: Range) -> Double {
        var total = 0.0
        for (value, code) in zip(row, codes(row, range)) {
            let error = value - (Float(code) * range.scale + range.bias)
            total += Double(error * error)
        }
        return total
    }

    /// ASYM: from the smallest value to the largest.
    public func asym(_ row: [Float]) -> Range {
        bestNeighbour(row, range(minimum: row.min() ?? 0, maximum: row.max() ?? 0))
    }

    /// GREEDY, Algorithm 1 of arXiv 1911.02079: every range on the way is compared with the best one so far, on the
    /// errors of the parameters as stored.
    ///
    /// `margin` is the smallest relative difference between two errors that a decision rested on: where it is no more
    /// than rounding, another order of summing may take another way.
    public func greedy(_ row: [Float], b: Int = 200, r: Double = 0.16) -> (range: Range, margin: Double) {
        var margin = Double.infinity
        func isLess(_ left: Double, _ right: Double) -> Bool {
            // Nothing to choose between equal ranges, which give the same sum in any order.
            margin = min(margin, abs(left - right) / max(left, right, .leastNormalMagnitude))
            return left < right
        }
        var best = range(minimum: row.min() ?? 0, maximum: row.max() ?? 0)
        var bestError = squaredError(row, best)
        guard var low = row.min(), var high = row.max() else { return (best, margin) }
        let step = (high - low) / Float(b)
        let leastWidth = Float(b) * Float(1 - r) * step
        var steps = 0
        while low + leastWidth < high, steps < b {
            steps += 1
            let left = range(minimum: low + step, maximum: high)
            let right = range(minimum: low, maximum: high - step)
            let leftError = squaredError(row, left)
            let rightError = squaredError(row, right)
            let goesLeft = left == right ? false : isLess(leftError, rightError)
            let (candidate, error) = goesLeft ? (left, leftError) : (right, rightError)
            if candidate != best, isLess(error, bestError) { (best, bestError) = (candidate, error) }
            if goesLeft { low += step } else { high -= step }
        }
        let (plain, found) = (asym(row), bestNeighbour(row, best))
        return (squaredError(row, found) < squaredError(row, plain) ? found : plain, margin)
    }
}
