/// A set of byte positions, kept as sorted ranges that neither touch nor overlap.
///
/// Adding costs a binary search, and a move of the ranges behind when it opens a new one: cheap for writers that fill
/// a few areas in order.
struct WrittenRanges {
    private(set) var ranges: [Range<Int>] = []

    mutating func insert(_ range: Range<Int>) {
        guard !range.isEmpty else { return }
        let first = firstIndex { $0.upperBound >= range.lowerBound }
        let end = firstIndex { $0.lowerBound > range.upperBound }
        guard first < end else {
            ranges.insert(range, at: first)
            return
        }
        let lower = min(range.lowerBound, ranges[first].lowerBound)
        let upper = max(range.upperBound, ranges[end - 1].upperBound)
        ranges.replaceSubrange(first..<end, with: CollectionOfOne(lower..<upper))
    }

    /// The first position below `count` that was never added, or nil.
    func firstGap(below count: Int) -> Int? {
        guard let first = ranges.first, first.lowerBound == 0 else { return count > 0 ? 0 : nil }
        return first.upperBound < count ? first.upperBound : nil
    }

    /// The first range for which `isPast` holds; it must hold for all ranges behind that one.
    private func firstIndex(where isPast: (Range<Int>) -> Bool) -> Int {
        var low = 0
        var high = ranges.count
        while low < high {
            let middle = low + (high - low) / 2
            if isPast(ranges[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
