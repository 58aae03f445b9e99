/// The nearest centroid of each part of each row, for methods that learn product codes outside of this library.
public enum NearestCodes {
    /// Rows of a range that a thread works through at a time.
    private static let grain = 1024

    /// Finds codes, on all threads.
    ///
    /// - Parameters:
    ///   - rows: `count` rows of `parts * width` numbers.
    ///   - centroids: Part after part, `entries` vectors of `width` numbers each.
    ///   - codes: For each row one for each part. Of several nearest centroids the first; 0 where a number is no number.
    public static func search(
        rows: UnsafePointer<Float>, count: Int, centroids: UnsafePointer<Float>, parts: Int, entries: Int, width: Int,
        codes: UnsafeMutablePointer<Int32>
    ) throws {
        guard count > 0, parts > 0 else { return }
        let searches = try (0..<parts).map { part in
            let search = try CenterSearch(count: entries, width: width)
            search.set(centroids + part * entries * width)
            return search
        }
        let dimension = parts * width
        Parallel.forEach(count: count, grain: grain) { range in
            Scratch.with(range.count, of: Int32.self) { found in
                Scratch.with(range.count, of: Float.self) { scores in
                    for (part, search) in searches.enumerated() {
                        search.nearest(
                            rows + (range.lowerBound * dimension + part * width), stride: dimension, count: range.count,
                            to: found, scores: scores)
                        let target = codes + (range.lowerBound * parts + part)
                        for index in 0..<range.count {
                            target[index &* parts] = min(max(found[index], 0), Int32(entries) - 1)
                        }
                    }
                }
            }
        }
        try Scratch.check()
    }
}
