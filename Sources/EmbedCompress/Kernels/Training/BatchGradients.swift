/// The gradients of a batch: a row for each position, or for each bag of positions.
struct BatchGradients {
    /// `rows * dimension` numbers.
    let values: UnsafePointer<Float>
    let rows: Int
    /// The bag of each of `positions` positions, whose row it has; nil where position i has row i.
    private(set) var bagOfPosition: UnsafePointer<Int32>?
    private(set) var positions = 0
    /// What a position's gradient is multiplied with; nil for ones.
    private(set) var factors: UnsafePointer<Float>?

    init(values: UnsafePointer<Float>, rows: Int) { (self.values, self.rows) = (values, rows) }

    /// Calls `body` with gradients of sums or means, in this thread's scratch; not if that is refused.
    static func with(
        _ bags: Bags, values: UnsafePointer<Float>, _ body: (BatchGradients) throws -> Void
    ) throws {
        let total = bags.ids.count
        let isMean = bags.pooling == .mean
        try Scratch.with(total, of: Int32.self) { bagOfPosition in
            try Scratch.with(isMean ? total : 0, of: Float.self) { inverseLengths in
                var (place, gradients) = (0, BatchGradients(values: values, rows: bags.count))
                for bag in 0..<bags.count {
                    // Offsets may change during the call: places go up, and not beyond the ids.
                    let end = bag == bags.count - 1 ? total : max(bags.start(bag + 1), place)
                    bagOfPosition.advanced(by: place).update(
                        repeating: Int32(truncatingIfNeeded: bag), count: end - place)
                    if isMean {
                        inverseLengths.advanced(by: place).update(repeating: 1 / Float(end - place), count: end - place)
                    }
                    place = end
                }
                (gradients.bagOfPosition, gradients.positions) = (UnsafePointer(bagOfPosition), total)
                gradients.factors = isMean ? UnsafePointer(inverseLengths) : bags.weights
                try body(gradients)
            }
        }
    }

    /// The place of a position's gradient.
    @inline(__always)
    func row(_ position: Int) -> Int {
        guard let bagOfPosition else { return position }
        return Int(bagOfPosition[position])
    }

    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for a number that is not finite, but of a bag without ids: no row
    ///   moves against it.
    func checkFinite(dimension: Int, _ name: String) throws {
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
        guard bad.value != 0 else { return }
        for place in 0..<total where !values[place].isFinite && isUsed(place / dimension) {
            throw EmbedCompressError.invalidArgument(
                "\(name) must be finite, but the one at position \(place / dimension) has \(values[place]) in column "
                    + "\(place % dimension)")
        }
    }

    /// Whether a position has a row of gradients. Bags of positions rise.
    private func isUsed(_ row: Int) -> Bool {
        guard let bagOfPosition else { return true }
        var (low, high) = (0, positions)
        while low < high {
            let middle = (low + high) / 2
            if Int(bagOfPosition[middle]) < row { low = middle + 1 } else { high = middle }
        }
        return low < positions && Int(bagOfPosition[low]) == row
    }
}
