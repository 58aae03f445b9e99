#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// How often each row of a table is used, and what is drawn by it.
struct RowUses {
    let counts: [Double]
    let total: Double

    init(_ counts: [Double]) {
        self.counts = counts
        total = counts.reduce(0, +)
    }

    static func check(_ counts: [Double], rows: Int) throws {
        guard counts.count == rows else {
            throw EmbedCompressError.invalidArgument(
                "counts must be \(rows) numbers, one for each row, not \(counts.count)")
        }
        guard counts.allSatisfy({ $0 >= 0 && $0 < .infinity }), counts.contains(where: { $0 > 0 }) else {
            throw EmbedCompressError.invalidArgument(
                "counts must be finite and not negative, and not all of them zero")
        }
        // Copies of the counts, and the rows in their order.
        try Allocation.require(Checked.product(rows, 4, MemoryLayout<Double>.stride))
    }

    /// The counts as weights of rows.
    func weights() throws -> Table { Table(try Dense(counts.map(Float.init), rows: counts.count, dimension: 1)) }

    /// Up to so many different rows that are used, rising. One after the other is drawn by the uses of those that are left:
    /// these are the rows of the least `-log(u) / count` for random `u` (Efraimidis and Spirakis 2006).
    func distinctRows(_ most: Int, _ random: inout SeededRandom) -> [Int] {
        var kept: [(key: Double, row: Int)] = []
        for (row, count) in counts.enumerated() where count > 0 {
            let key = -log(random.unit()) / count
            if kept.count == most, let last = kept.last, key >= last.key { continue }
            let place = kept.firstIndex { key < $0.key } ?? kept.count
            kept.insert((key, row), at: place)
            if kept.count > most { kept.removeLast() }
        }
        return kept.map(\.row).sorted()
    }

    /// So many rows, each drawn by uses.
    func randomRows(_ count: Int, _ random: inout SeededRandom) -> [Int] {
        var sum = 0.0
        let ends = counts.map { (count: Double) -> Double in
            sum += count
            return sum
        }
        let last = counts.lastIndex { $0 > 0 } ?? 0
        return (0..<count).map { _ in
            // The first row whose end is beyond a random place.
            let place = random.unit() * sum
            return firstWhere(0, last) { ends[$0] > place }
        }
    }
}

extension SeededRandom {
    /// A number above 0 and up to 1.
    mutating func unit() -> Double { Double((next() >> 11) + 1) * 0x1p-53 }
}

/// The first number from `low` on for which it holds, found by halving; `high`, which is not asked, if it does for none
/// below.
private func firstWhere(_ low: Int, _ high: Int, _ holds: (Int) -> Bool) -> Int {
    var (low, high) = (low, high)
    while low < high {
        let middle = low + (high - low) / 2
        if holds(middle) { high = middle } else { low = middle + 1 }
    }
    return low
}

/// Rows that stand for all, rising, and how much each of them counts.
///
/// They are one at random of each stretch of rows that follow each other, by number, or by counts where there are any; a
/// row counts as much as its stretch.
struct RepresentativeRows {
    let rows: [Int]
    /// Nil without counts.
    let uses: RowUses?

    init(_ size: Int, of rows: Int, uses: RowUses?, seed: Int) {
        var random = SeededRandom(seed: seed)
        let order = uses.map { uses in
            uses.counts.indices.sorted { (-uses.counts[$0], $0) < (-uses.counts[$1], $1) }
        }
        let size = min(size, rows)
        func start(_ stretch: Int) -> Int {
            // At most `rows`, so that the division can't overflow.
            Int(UInt(size).dividingFullWidth(UInt(rows).multipliedFullWidth(by: UInt(stretch))).quotient)
        }
        let chosen = (0..<size).map { stretch -> (row: Int, sum: Double) in
            let (first, end) = (start(stretch), start(stretch + 1))
            let place = first + random.below(end - first)
            guard let order, let uses else { return (place, 0) }
            return (order[place], order[first..<end].reduce(0) { $0 + uses.counts[$1] })
        }.sorted { $0.row < $1.row }
        self.rows = chosen.map(\.row)
        self.uses = uses == nil ? nil : RowUses(chosen.map(\.sum))
    }
}
