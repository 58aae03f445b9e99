internal import CEmbedCompress.Parts

/// For each of some queries, the `k` rows of the largest scores among those that were offered, best first; of equal
/// scores, the row of the smaller number first. The order in which rows are offered plays no part.
///
/// Scores that are NaN are never kept, nor is a query's own row.
struct NearestRows {
    private let queries: [Int]
    private let k: Int
    private let memory: ByteStorage
    /// `k` scores of each query, falling, and the rows that have them. Those not found yet are -infinity and `Int.max`.
    private let scores: UnsafeMutablePointer<Float>
    private let rows: UnsafeMutablePointer<Int>
    /// For each query what a score must reach to be kept, in whole sixteens of queries.
    private let limits: UnsafeMutablePointer<Float>

    /// - Parameter queries: Numbers of the queries' own rows.
    init(of queries: [Int], k: Int) throws {
        (self.queries, self.k) = (queries, k)
        let padded = Self.padded(queries.count)
        guard let entries = Checked.product(queries.count, k),
            let words = Checked.product(entries, MemoryLayout<Int>.size),
            let floats = Checked.sum(entries, padded).flatMap({ Checked.product($0, MemoryLayout<Float>.size) }),
            let bytes = Checked.sum(words, floats)
        else { throw EmbedCompressError.outOfMemory(bytes: Int.max) }
        memory = try ByteStorage.allocate(bytes, zeroed: false)
        rows = memory.base.assumingMemoryBound(to: Int.self)
        limits = (memory.base + words).assumingMemoryBound(to: Float.self)
        scores = limits + padded
        rows.update(repeating: .max, count: entries)
        scores.update(repeating: -.infinity, count: entries)
        limits.update(repeating: -.infinity, count: queries.count)
        (limits + queries.count).update(repeating: .infinity, count: padded - queries.count)
    }

    /// Queries in whole sixteens.
    static func padded(_ queries: Int) -> Int { (queries + 15) & ~15 }

    /// Scores that are below what another list has need not be kept in this one, which is to be merged with it.
    func takeLimits(of other: NearestRows) { limits.update(from: other.limits, count: queries.count) }

    /// Offers `count` rows from `first` on, with a line of scores of all queries for each; lines can be read in whole
    /// sixteens.
    func offer(_ lines: UnsafePointer<Float>, stride: Int, first: Int, count: Int) {
        var query = 0
        while query < queries.count {
            var limit = load16(limits + query)
            for index in 0..<count {
                let line = lines + (index &* stride &+ query)
                var found = ec_at_least16(load16(line), limit)
                if found == 0 { continue }
                while found != 0 {
                    let lane = found.trailingZeroBitCount
                    found &= found &- 1
                    if query &+ lane < queries.count { offer(first &+ index, line[lane], to: query &+ lane) }
                }
                limit = load16(limits + query)
            }
            query &+= 16
        }
    }

    /// Offers what another list of the same queries has.
    func merge(_ other: NearestRows) {
        for query in queries.indices {
            for place in query * other.k..<(query + 1) * other.k where other.rows[place] != .max {
                offer(other.rows[place], other.scores[place], to: query)
            }
        }
    }

    @inline(never)
    private func offer(_ row: Int, _ score: Float, to query: Int) {
        let (scores, rows) = (scores + query &* k, rows + query &* k)
        var place = k &- 1
        let isBetter = score > scores[place] || (score == scores[place] && row < rows[place])
        guard isBetter, row != queries[query] else { return }
        while place > 0, score > scores[place &- 1] || (score == scores[place &- 1] && row < rows[place &- 1]) {
            (scores[place], rows[place]) = (scores[place &- 1], rows[place &- 1])
            place &-= 1
        }
        (scores[place], rows[place]) = (score, row)
        limits[query] = max(limits[query], scores[k &- 1])
    }

    /// The rows of a query, best first: `k`, or fewer if there are no more.
    func rows(of query: Int) -> [Int] {
        (query * k..<(query + 1) * k).map { rows[$0] }.filter { $0 != .max }
    }
}
