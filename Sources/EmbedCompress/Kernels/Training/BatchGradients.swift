/// The gradients of a batch: a row for each position, or for each bag of positions.
struct BatchGradients {
    /// `rows * dimension` numbers.
    let values: UnsafePointer<Float>
    let rows: Int
    /// The row of a position; nil where position i has row i.
    private(set) var bags: UnsafePointer<Int32>?
    /// What a position's gradient is multiplied with; nil for ones.
    private(set) var factors: UnsafePointer<Float>?

    init(values: UnsafePointer<Float>, rows: Int) { (self.values, self.rows) = (values, rows) }

    /// Calls `body` with gradients of sums or means, in this thread's scratch; not if that is refused.
    static func with(
        _ bags: Bags, values: UnsafePointer<Float>, _ body: (BatchGradients) throws -> Void
    ) throws {
        let total = bags.ids.count
        let isMean = bags.pooling == .mean
        try Scratch.with(total, of: Int32.self) { numbers in
            try Scratch.with(isMean ? total : 0, of: Float.self) { shares in
                var (place, gradients) = (0, BatchGradients(values: values, rows: bags.count))
                for bag in 0..<bags.count {
                    // Offsets may change during the call: places go up, and not beyond the ids.
                    let end = bag == bags.count - 1 ? total : max(bags.start(bag + 1), place)
                    numbers.advanced(by: place).update(repeating: Int32(truncatingIfNeeded: bag), count: end - place)
                    if isMean {
                        shares.advanced(by: place).update(repeating: 1 / Float(end - place), count: end - place)
                    }
                    place = end
                }
                gradients.bags = UnsafePointer(numbers)
                gradients.factors = isMean ? UnsafePointer(shares) : bags.weights
                try body(gradients)
            }
        }
    }

    /// The place of a position's gradient.
    @inline(__always)
    func row(_ position: Int) -> Int {
        guard let bags else { return position }
        return Int(bags[position])
    }

    /// What a position's gradient is multiplied with.
    @inline(__always)
    func factor(_ position: Int) -> Float {
        guard let factors else { return 1 }
        return factors[position]
    }

    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for a number that is not finite.
    func checkFinite(dimension: Int) throws {
        let total = rows * dimension
        let bad = AtomicInt(0)
        Parallel.forEach(count: total, grain: 1 << 15) { range in
            // 0 times a number that isn't finite is NaN, and stays it.
            var (zeros, place) = (Floats16(), range.lowerBound)
            while place &+ 16 <= range.upperBound {
                zeros += load16(values + place) * 0
                place &+= 16
            }
            var rest = zeros.sum()
            while place < range.upperBound {
                rest += values[place] * 0
                place &+= 1
            }
            if rest != 0 { bad.value = 1 }
        }
        guard bad.value != 0, let place = (0..<total).first(where: { !values[$0].isFinite }) else { return }
        throw EmbedCompressError.invalidArgument(
            "gradients must be finite, but the one at position \(place / dimension) has \(values[place]) in column "
                + "\(place % dimension)")
    }
}
