/// Clusters of a table's rows: tier one of KMEANS-CLS.
///
/// Up to `flatClusters` are found by k-means. More are found in two steps: the square root of their number first, and
/// then each of those is divided by itself, into as many as its share of the rows. That takes `2 sqrt(K)` distances a row
/// and round, not K.
final class RowClusters: @unchecked Sendable {
    static let flatClusters = 64

    private let top: RowKMeans
    /// The division of each cluster of `top`, and the number of its first part; empty when `top` is all.
    private let parts: [RowKMeans?]
    private let firsts: [Int]

    /// - Parameters:
    ///   - data: `count` rows at multiples of the stride, zeros past the last column.
    ///   - clusters: At most `count`.
    ///   - watch: Asked whether to stop.
    init(
        _ data: UnsafePointer<Float>, count: Int, weights: UnsafePointer<Float>?, dimension: Int, clusters: Int,
        rounds: Int, seed: Int, watch: ProgressCounter
    ) throws {
        var random = SeededRandom(seed: seed)
        let isFlat = clusters <= Self.flatClusters
        let topClusters = isFlat ? clusters : Int(Double(clusters).squareRoot().rounded(.up))
        let assignments = try Buffer<Int32>(count: count)
        let rows = try Buffer<Int>(count: count)
        for row in 0..<count { rows[row] = row }
        top = try RowKMeans(
            data, rows: UnsafeBufferPointer(start: rows.base, count: count), weights: weights, dimension: dimension,
            clusters: topClusters, rounds: rounds, random: &random, assignments: assignments.base, watch: watch)
        rows.keep()
        guard !isFlat else {
            (parts, firsts) = ([], [])
            return
        }
        let members = try ClusterMembers(count: count, clusters: topClusters) { Int(assignments[$0]) }
        let sizes = Self.shares(of: clusters, sizes: (0..<topClusters).map { members.count(of: $0) })
        let seeds = (0..<topClusters).map { _ in Int(truncatingIfNeeded: random.next()) }
        let found = Lock()
        var parts = [RowKMeans?](repeating: nil, count: topClusters)
        try Parallel.forEach(count: topClusters, grain: 1, progress: watch) { range in
            for index in range where sizes[index] > 1 {
                let space = try Buffer<Int32>(count: members.count(of: index))
                defer { space.keep() }
                var random = SeededRandom(seed: seeds[index])
                let part = try members.with(index) {
                    try RowKMeans(
                        data, rows: $0, weights: weights, dimension: dimension, clusters: sizes[index],
                        rounds: rounds, random: &random, assignments: space.base, watch: watch)
                }
                found.withLock { parts[index] = part }
            }
        }
        self.parts = parts
        var firsts = [0]
        for size in sizes { firsts.append((firsts.last ?? 0) + size) }
        self.firsts = firsts
    }

    /// `total` parts over clusters in proportion to their sizes, at most a part for a row. Clusters without rows have
    /// one, for rows that are still to come.
    private static func shares(of total: Int, sizes: [Int]) -> [Int] {
        let rows = sizes.reduce(0, +)
        var shares = sizes.map { min(max($0, 1), max(1, $0 * total / rows)) }
        var left = total - shares.reduce(0, +)
        // What rounding left over, or took too much, goes round from the largest cluster on.
        let order = sizes.indices.sorted { (sizes[$0], $1) > (sizes[$1], $0) }
        while left != 0 {
            var isDone = true
            for index in order where left != 0 {
                if left > 0, shares[index] < sizes[index] {
                    (shares[index], left, isDone) = (shares[index] + 1, left - 1, false)
                } else if left < 0, shares[index] > 1 {
                    (shares[index], left, isDone) = (shares[index] - 1, left + 1, false)
                }
            }
            if isDone { break }
        }
        return shares
    }

    /// The cluster of a row: whole vectors, zeros past the last column.
    func cluster(of row: UnsafePointer<Float>) -> Int {
        let index = top.nearest(row)
        guard !parts.isEmpty else { return index }
        return firsts[index] + (parts[index]?.nearest(row) ?? 0)
    }
}
