/// k-means of rows: Lloyd's algorithm from rows drawn at random, with weights.
///
/// `count * clusters * dimension` steps a round, over all cores. Sums are made in one order whatever the number of
/// threads, and nothing is fused, so that every instruction set finds the same clusters.
final class RowKMeans: @unchecked Sendable {
    let dimension: Int
    let clusters: Int
    /// Floats from one row or center to the next: whole vectors, zeros past the last column.
    let stride: Int
    private let centers: UnsafeMutablePointer<Float>
    /// Half of each center's squared length.
    private let halfNorms: UnsafeMutablePointer<Float>
    /// What both lie in.
    private let memory: Buffer<Float>

    static func stride(dimension: Int) -> Int { (dimension + 15) / 16 * 16 }

    /// - Parameters:
    ///   - data: Rows at multiples of the stride, zeros past the last column.
    ///   - rows: The rows that take part, at least as many as clusters.
    ///   - weights: One for each row of `data`; nil for all alike.
    ///   - assignments: Receives the cluster of each of `rows`.
    ///   - watch: Asked whether to stop.
    init(
        _ data: UnsafePointer<Float>, rows: UnsafeBufferPointer<Int>, weights: UnsafePointer<Float>?, dimension: Int,
        clusters: Int, rounds: Int, random: inout SeededRandom, assignments: UnsafeMutablePointer<Int32>,
        watch: ProgressCounter
    ) throws {
        self.dimension = dimension
        self.clusters = clusters
        stride = Self.stride(dimension: dimension)
        guard let floats = Checked.product(clusters, stride + 1) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        memory = try Buffer(count: floats)
        centers = memory.base
        halfNorms = centers + clusters * stride
        let drawn = try Self.draw(clusters, of: rows, random: &random)
        for (index, row) in drawn.enumerated() {
            (centers + index * stride).update(from: data + row * stride, count: stride)
        }
        assignments.update(repeating: -1, count: rows.count)
        for round in 0..<max(rounds, 1) {
            measure()
            let changed = AtomicInt()
            try Parallel.forEach(count: rows.count, grain: 128, progress: watch) { range in
                var moved = 0
                for index in range {
                    let nearest = Int32(truncatingIfNeeded: self.nearest(data + rows[index] * stride))
                    if assignments[index] != nearest { moved += 1 }
                    assignments[index] = nearest
                }
                changed.add(moved)
            }
            if changed.value == 0 || round == rounds - 1 { break }
            try update(data, rows, weights, assignments, watch: watch)
        }
    }

    /// The center nearest to a row; of several, the first.
    @inline(__always)
    func nearest(_ row: UnsafePointer<Float>) -> Int {
        var best = 0
        var bestScore = -Float.infinity
        for cluster in 0..<clusters {
            let center = centers + cluster &* stride
            var products = Floats16()
            var column = 0
            while column < stride {
                products += load16(row + column) * load16(center + column)
                column &+= 16
            }
            let score = total(products) - halfNorms[cluster]
            if score > bestScore { (best, bestScore) = (cluster, score) }
        }
        return best
    }

    /// Distinct positions of `rows`, at random.
    private static func draw(
        _ count: Int, of rows: UnsafeBufferPointer<Int>, random: inout SeededRandom
    ) throws -> [Int] {
        try Allocation.require(Checked.product(rows.count + count, MemoryLayout<Int>.stride))
        var left = Array(rows)
        for index in 0..<count { left.swapAt(index, index + random.below(left.count - index)) }
        return Array(left.prefix(count))
    }

    private func measure() {
        for cluster in 0..<clusters {
            let center = centers + cluster * stride
            var squares = Floats16()
            for column in Swift.stride(from: 0, to: stride, by: 16) {
                let part = load16(center + column)
                squares += part * part
            }
            halfNorms[cluster] = total(squares) / 2
        }
    }

    /// Moves each center to the weighted mean of its rows; one without rows or weight stays.
    private func update(
        _ data: UnsafePointer<Float>, _ rows: UnsafeBufferPointer<Int>, _ weights: UnsafePointer<Float>?,
        _ assignments: UnsafePointer<Int32>, watch: ProgressCounter
    ) throws {
        let members = try ClusterMembers(count: rows.count, clusters: clusters) { Int(assignments[$0]) }
        try Parallel.forEach(count: clusters, grain: max(1, 4096 / stride), progress: watch) { range in
            for cluster in range {
                let center = self.centers + cluster * self.stride
                var weight = 0.0
                members.forEach(of: cluster) { index in weight += weights.map { Double($0[rows[index]]) } ?? 1 }
                guard weight > 0 else { continue }
                let factor = Float(1 / weight)
                for column in Swift.stride(from: 0, to: self.stride, by: 16) {
                    var sum = Floats16()
                    members.forEach(of: cluster) { index in
                        let row = rows[index]
                        let part = load16(data + row &* self.stride + column)
                        sum += weights.map { part * $0[row] } ?? part
                    }
                    store16(sum * factor, to: center + column)
                }
            }
        }
    }
}

/// Positions by cluster, in order within each.
struct ClusterMembers: Sendable {
    private let starts: Buffer<Int>
    private let positions: Buffer<Int>

    /// - Parameter cluster: The cluster of each position below `count`.
    init(count: Int, clusters: Int, cluster: (Int) -> Int) throws {
        starts = try Buffer(repeating: 0, count: clusters + 1)
        positions = try Buffer(count: count)
        for position in 0..<count { starts[cluster(position) + 1] += 1 }
        for index in 0..<clusters { starts[index + 1] += starts[index] }
        let places = try Buffer<Int>(count: clusters)
        places.base.update(from: starts.base, count: clusters)
        for position in 0..<count {
            let index = cluster(position)
            positions[places[index]] = position
            places[index] += 1
        }
        starts.keep()
    }

    func count(of cluster: Int) -> Int { starts[cluster + 1] - starts[cluster] }

    /// Calls `body` with the positions of a cluster.
    func with<Result>(_ cluster: Int, _ body: (UnsafeBufferPointer<Int>) throws -> Result) rethrows -> Result {
        defer { positions.keep() }
        return try body(UnsafeBufferPointer(start: positions.base + starts[cluster], count: count(of: cluster)))
    }

    @inline(__always)
    func forEach(of cluster: Int, _ body: (Int) -> Void) {
        for place in starts[cluster]..<starts[cluster + 1] { body(positions[place]) }
    }
}
