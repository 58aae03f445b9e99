/// k-means of numbers: the centers with the least weighted squared error.
///
/// Clusters of numbers are runs of the sorted numbers. For a run of weight `W` and weighted sum `S` the error of its
/// mean is the run's weighted sum of squares less `S^2 / W`, so the best division into k runs has the largest sum of
/// `S^2 / W`. That is a search by dynamic programming whose best divisions are monotone, in the end of the run and in
/// the number of runs: each layer is filled by divide and conquer between the bounds that its neighbours give, some
/// `n log n` sums for each of k layers and fewer where runs are short. Sums are of doubles, of distances from the mean.
///
/// Holds its working memory, so that one object serves many rows.
final class ScalarKMeans {
    private let capacity: Int
    private let mostClusters: Int
    private let keys: UnsafeMutablePointer<UInt64>
    private let sortSpace: UnsafeMutablePointer<UInt64>
    private let histogram: UnsafeMutablePointer<Int>
    /// Distinct points in ascending order; what is subtracted from them; weights and weighted sums of those before each.
    private let points: UnsafeMutablePointer<Double>
    private var origin = 0.0
    private let weightBefore: UnsafeMutablePointer<Double>
    private let sumBefore: UnsafeMutablePointer<Double>
    private(set) var count = 0
    /// Of the best division of the first points: its value, by layer; and the start of its last run, for all layers.
    private let last: UnsafeMutablePointer<Double>
    private let next: UnsafeMutablePointer<Double>
    private let starts: UnsafeMutablePointer<Int32>
    /// The result: `centerCount` centers in ascending order.
    let centers: UnsafeMutablePointer<Double>
    private(set) var centerCount = 0
    /// What all of these lie in.
    private let memory: Buffer<UInt64>

    /// - Parameters:
    ///   - capacity: Most numbers at once.
    ///   - clusters: Most centers.
    init(capacity: Int, clusters: Int) throws {
        self.capacity = capacity
        mostClusters = clusters
        guard let startCount = Checked.product(capacity, clusters),
            let words = Checked.sum(7 * capacity + 2, 4 * 256 + clusters, startCount / 2 + 1)
        else { throw EmbedCompressError.outOfMemory(bytes: Int.max) }
        memory = try Buffer(count: words)
        var next = UnsafeMutableRawPointer(memory.base)
        func take<Number>(_ count: Int) -> UnsafeMutablePointer<Number> {
            defer { next += count * MemoryLayout<Number>.stride }
            return next.assumingMemoryBound(to: Number.self)
        }
        keys = take(capacity)
        sortSpace = take(capacity)
        histogram = take(4 * 256)
        points = take(capacity)
        weightBefore = take(capacity + 1)
        sumBefore = take(capacity + 1)
        last = take(capacity)
        self.next = take(capacity)
        centers = take(clusters)
        starts = take(startCount)
    }

    var result: UnsafeBufferPointer<Double> { UnsafeBufferPointer(start: centers, count: centerCount) }

    // MARK: Points

    /// Takes `number` finite values, at least one and at most the capacity. Those of weight 0 take no part, unless all
    /// are.
    func load(_ values: UnsafePointer<Float>, weights: UnsafePointer<Float>?, count number: Int) {
        var kept = 0
        for index in 0..<number where weights.map({ $0[index] > 0 }) ?? true {
            keys[kept] = Self.key(values[index]) &<< 32 | UInt64(truncatingIfNeeded: index)
            kept &+= 1
        }
        if kept == 0 { return load(values, weights: nil, count: number) }
        sort(kept)
        begin()
        for index in 0..<kept {
            let column = Int(truncatingIfNeeded: keys[index] & 0xFFFF_FFFF)
            add(Double(values[column]), weight: weights.map { Double($0[column]) } ?? 1, isFirst: index == 0)
        }
        finish()
    }

    /// Starts taking points one by one, in ascending order.
    func begin() { count = 0 }

    /// A point that stands for values of this mean and this sum of weights, more than 0.
    @inline(__always)
    func add(_ value: Double, weight: Double, isFirst: Bool) {
        if isFirst || value != points[count &- 1] {
            points[count] = value
            weightBefore[count &+ 1] = weight
            count &+= 1
        } else {
            weightBefore[count] += weight
        }
    }

    func finish() {
        var weight = 0.0
        var sum = 0.0
        for index in 0..<count {
            weight += weightBefore[index &+ 1]
            sum += weightBefore[index &+ 1] * (points[index] - points[0])
        }
        origin = points[0] + sum / weight
        (weightBefore[0], sumBefore[0]) = (0, 0)
        for index in 0..<count {
            sumBefore[index &+ 1] = sumBefore[index] + weightBefore[index &+ 1] * (points[index] - origin)
            weightBefore[index &+ 1] += weightBefore[index]
        }
    }

    /// The order of floats as the order of integers; -0 counts as 0.
    @inline(__always)
    private static func key(_ value: Float) -> UInt64 {
        let bits = (value + 0).bitPattern
        return UInt64(bits & 0x8000_0000 == 0 ? bits | 0x8000_0000 : ~bits)
    }

    /// Sorts keys by their upper halves, a byte at a time.
    private func sort(_ number: Int) {
        histogram.update(repeating: 0, count: 4 * 256)
        for index in 0..<number {
            let key = keys[index] &>> 32
            for byte in 0..<4 { histogram[byte &* 256 &+ Int((key &>> UInt64(8 &* byte)) & 255)] &+= 1 }
        }
        var (source, target) = (keys, sortSpace)
        for byte in 0..<4 {
            let counts = histogram + byte &* 256
            var place = 0
            for digit in 0..<256 {
                let size = counts[digit]
                counts[digit] = place
                place &+= size
            }
            for index in 0..<number {
                let digit = Int((source[index] &>> UInt64(32 &+ 8 &* byte)) & 255)
                target[counts[digit]] = source[index]
                counts[digit] &+= 1
            }
            (source, target) = (target, source)
        }
    }

    // MARK: Exact

    /// Sets the centers to the best `clusters` there are; to the points themselves where there are no more of them.
    func solve(clusters: Int) {
        if takePoints(clusters) { return }
        for end in 0..<count { last[end] = value(0, end) }
        starts.update(repeating: 0, count: count)
        for layer in 1..<clusters {
            // Later layers need a point each, and the last layer is asked for its last point only.
            let end = count &- (clusters &- layer)
            fill(layer, layer == clusters &- 1 ? end : layer, end, from: layer, to: end)
            last.update(from: next, count: count)
            // A bound for the one end that only the next layer has.
            if end &+ 1 < count { starts[layer &* count &+ end &+ 1] = starts[layer &* count &+ end] }
        }
        var end = count
        for layer in stride(from: clusters - 1, through: 0, by: -1) {
            let start = Int(starts[layer &* count &+ end &- 1])
            centers[layer] = mean(start, end)
            end = start
        }
        centerCount = clusters
    }

    /// `S^2 / W` of the run from `start` to `end`, both included.
    @inline(__always)
    private func value(_ start: Int, _ end: Int) -> Double {
        let sum = sumBefore[end &+ 1] - sumBefore[start]
        return sum * sum / (weightBefore[end &+ 1] - weightBefore[start])
    }

    /// The last run's best start for the ends `first ... final` of a layer, which lies in `low ... high`.
    private func fill(_ layer: Int, _ first: Int, _ final: Int, from low: Int, to high: Int) {
        if first > final { return }
        let end = (first &+ final) &>> 1
        let most = min(end, high)
        let least = min(max(low, Int(starts[(layer &- 1) &* count &+ end])), most)
        let sum = sumBefore[end &+ 1]
        let weight = weightBefore[end &+ 1]
        var best = -Double.infinity
        var bestStart = least
        for start in least...most {
            let part = sum - sumBefore[start]
            let candidate = last[start &- 1] + part * part / (weight - weightBefore[start])
            if candidate > best { (best, bestStart) = (candidate, start) }
        }
        next[end] = best
        starts[layer &* count &+ end] = Int32(truncatingIfNeeded: bestStart)
        fill(layer, first, end &- 1, from: low, to: bestStart)
        fill(layer, end &+ 1, final, from: bestStart, to: high)
    }

    // MARK: Lloyd

    /// Lloyd's algorithm from equally spaced centers, until nothing changes or so many rounds are done.
    func iterate(clusters: Int, rounds: Int) {
        if takePoints(clusters) { return }
        let (low, high) = (points[0], points[count - 1])
        for index in 0..<clusters {
            centers[index] = low + (high - low) * (Double(index) / Double(max(clusters - 1, 1)))
        }
        centerCount = clusters
        for _ in 0..<rounds {
            var changed = false
            var start = 0
            for index in 0..<clusters {
                let middle = index + 1 < clusters ? (centers[index] + centers[index + 1]) / 2 : .infinity
                let end = firstPoint(above: middle, from: start)
                if end > start {
                    let center = mean(start, end)
                    if center != centers[index] {
                        centers[index] = center
                        changed = true
                    }
                }
                start = end
            }
            if !changed { break }
        }
    }

    private func firstPoint(above bound: Double, from start: Int) -> Int {
        var (low, high) = (start, count)
        while low < high {
            let middle = (low + high) / 2
            if points[middle] > bound { high = middle } else { low = middle + 1 }
        }
        return low
    }

    // MARK: Both

    private func takePoints(_ clusters: Int) -> Bool {
        guard count <= clusters else { return false }
        centers.update(from: points, count: count)
        centerCount = count
        return true
    }

    /// The mean of the points from `start` to just before `end`.
    @inline(__always)
    private func mean(_ start: Int, _ end: Int) -> Double {
        // One point is its own mean, without the rounding of sums.
        if end == start &+ 1 { return points[start] }
        return origin + (sumBefore[end] - sumBefore[start]) / (weightBefore[end] - weightBefore[start])
    }
}
