import EmbedCompress

/// k-means of numbers, by definition.
public enum KMeansReference {
    /// The least weighted squared error of `clusters` centers: every division of the sorted numbers is compared, last
    /// run by last run, with the sums of each run made anew.
    public static func leastError(_ values: [Float], weights: [Float]? = nil, clusters: Int) -> Double {
        let points = zip(values, weights ?? values.map { _ in 1 }).map { (Double($0), Double($1)) }
            .sorted { $0.0 < $1.0 }
        var best = [0.0] + [Double](repeating: .infinity, count: points.count)
        for _ in 0..<clusters {
            var next = best
            for end in 1...points.count {
                for start in 0..<end where best[start] < .infinity {
                    next[end] = min(next[end], best[start] + error(points[start..<end]))
                }
            }
            best = next
        }
        return best[points.count]
    }

    private static func error(_ points: ArraySlice<(Double, Double)>) -> Double {
        let weight = points.reduce(0) { $0 + $1.1 }
        guard weight > 0 else { return 0 }
        let mean = points.reduce(0) { $0 + $1.0 * $1.1 } / weight
        return points.reduce(0) { $0 + $1.1 * ($1.0 - mean) * ($1.0 - mean) }
    }

    /// Lloyd's algorithm from the grid of ASYM, value by value.
    public static func lloyd(_ values: [Float], clusters: Int, rounds: Int) -> [Double] {
        guard let low = values.min(), let high = values.max() else { return [] }
        var centers = (0..<clusters).map {
            Double(low) + (Double(high) - Double(low)) * Double($0) / Double(max(clusters - 1, 1))
        }
        for _ in 0..<rounds {
            let codes = values.map { nearest(Double($0), centers) }
            for index in centers.indices {
                let members = zip(values, codes).filter { $0.1 == index }.map { Double($0.0) }
                if !members.isEmpty { centers[index] = members.reduce(0, +) / Double(members.count) }
            }
        }
        return centers
    }

    /// The weighted squared error of values that take the nearest of some entries.
    public static func error(_ values: [Float], weights: [Float]? = nil, entries: [Double]) -> Double {
        zip(values, weights ?? values.map { _ in 1 }).reduce(0) { sum, pair in
            let difference = Double(pair.0) - entries[nearest(Double(pair.0), entries)]
            return sum + Double(pair.1) * difference * difference
        }
    }

    private static func nearest(_ value: Double, _ entries: [Double]) -> Int {
        var best = 0
        for index in entries.indices where abs(value - entries[index]) < abs(value - entries[best]) { best = index }
        return best
    }

    /// The cluster of each row: the center at the least distance, after so many rounds from the given rows.
    public static func rowClusters(_ rows: [[Float]], centers start: [[Float]], rounds: Int) -> [[Double]] {
        var centers = start.map { $0.map(Double.init) }
        for _ in 0..<rounds {
            let clusters = rows.map { nearestRow($0, centers) }
            for index in centers.indices {
                let members = zip(rows, clusters).filter { $0.1 == index }.map(\.0)
                guard !members.isEmpty else { continue }
                for column in centers[index].indices {
                    centers[index][column] = members.reduce(0) { $0 + Double($1[column]) } / Double(members.count)
                }
            }
        }
        return centers
    }

    public static func nearestRow(_ row: [Float], _ centers: [[Double]]) -> Int {
        func distance(_ center: [Double]) -> Double {
            zip(row, center).reduce(0) { $0 + (Double($1.0) - $1.1) * (Double($1.0) - $1.1) }
        }
        return centers.indices.min { distance(centers[$0]) < distance(centers[$1]) } ?? 0
    }
}
