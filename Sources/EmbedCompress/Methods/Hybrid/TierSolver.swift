/// Divides rows, in the order of how much they count, into tiers of the least error within a budget.
///
/// Every two widths are tried. Of more, at a price for a byte, dynamic programming over groups of the order's rows finds the best,
/// and bisection the price at which they take the budget. What is left then goes to the rows next to where a tier ends.
struct TierSolver {
    /// Consecutive places of the order, and their step of the ladder.
    struct Tier {
        var places: Range<Int>
        let step: Int
    }

    private let ladder: TierLadder
    private let order: RowOrder
    /// The sum of the importance of all rows at places before each.
    private let sums: [Double]
    /// Where each group begins, and the end of the last one: small where rows count most.
    private let edges: [Int]
    private let most: Int
    /// Rows that bytes are counted for, over those of the order.
    private let scale: Double
    private let budget: Int
    private let watch: ProgressCounter

    private static let groups = 2048

    /// - Parameters:
    ///   - importance: Of each row, at least 0.
    ///   - rows: That bytes are counted for, other than those of the order if these are a sample.
    init(
        _ ladder: TierLadder, order: RowOrder, importance: [Double], most: Int, rows: Int, budget: Int,
        watch: ProgressCounter
    ) throws {
        (self.ladder, self.order, self.most, self.budget, self.watch) = (ladder, order, most, budget, watch)
        let count = order.ids.count
        scale = count > 0 ? Double(rows) / Double(count) : 1
        // Numbers of any size, so that their sum is one.
        let largest = importance.max() ?? 0
        try Allocation.require(Checked.product(count + 1, MemoryLayout<Double>.stride))
        var (sums, sum) = ([0.0], 0.0)
        sums.reserveCapacity(count + 1)
        for id in order.ids {
            sum += largest > 0 ? importance[id] / largest : 1
            sums.append(sum)
        }
        self.sums = sums
        var edges = [0]
        for group in 1...Self.groups {
            let share = Double(group) / Double(Self.groups)
            let edge = Int((share * share * Double(count)).rounded(.up))
            if edge > edges[edges.count - 1] { edges.append(edge) }
        }
        self.edges = edges
    }

    /// The tiers with the least error, and that error.
    ///
    /// - Throws: ``EmbedCompressError/budget(method:budgetBytes:floorBytes:)`` if not even the fewest bits for all rows fit.
    func solve() throws -> (error: Double, tiers: [Tier]) {
        let count = order.ids.count
        guard let least = ladder.steps.first else { return (0, []) }
        let one = [Tier(places: 0..<count, step: 0)]
        guard bytes(one) <= Double(budget) else {
            let floor = Checked.product(Int((Double(count) * scale).rounded()), least.rowBytes)
                .flatMap { Checked.sum($0, least.sharedBytes) }
            throw EmbedCompressError.budget(method: "tiers", budgetBytes: budget, floorBytes: floor ?? Int.max)
        }
        var best = (error: error(one), tiers: one)
        func consider(_ tiers: [Tier]) -> Bool {
            guard bytes(tiers) <= Double(budget) else { return false }
            let filled = filled(tiers)
            let error = error(filled)
            if error < best.error { best = (error, filled) }
            return true
        }
        // As many bits for all rows as there are bytes for, and every two widths.
        for step in ladder.steps.indices {
            _ = consider([Tier(places: 0..<count, step: step)])
            guard count > 1, most > 1 else { continue }
            for fewer in 0..<step { _ = consider(two(step, fewer)) }
        }
        guard count > 2, most > 2, sums[count] > 0 else { return best }
        // What tiers take whatever their rows are has no price: with one, numbers of bytes would be left out.
        for number in 3...most {
            // From where a byte costs more than all errors to where it is worth next to nothing.
            var (low, high) = (sums[count] * 0x1p-100, sums[count])
            while high / low > 1.0001 {
                try watch.report()
                let price = (low * high).squareRoot()
                if consider(cheapest(at: price, most: number)) { high = price } else { low = price }
            }
        }
        return best
    }

    /// As many rows with one width as there are bytes for, and all others with another.
    private func two(_ more: Int, _ fewer: Int) -> [Tier] {
        let count = order.ids.count
        let least = bytes([Tier(places: 0..<0, step: more), Tier(places: 0..<count, step: fewer)])
        let gap = Double(ladder.steps[more].rowBytes - ladder.steps[fewer].rowBytes) * scale
        let rows = Int(min(max((Double(budget) - least) / gap, 1), Double(count - 1)))
        return [Tier(places: 0..<rows, step: more), Tier(places: rows..<count, step: fewer)]
    }

    /// Of all rows, what they share, and what says which tier a row is in.
    private func bytes(_ tiers: [Tier]) -> Double {
        tiers.reduce(mapBytes(tiers.count)) { sum, tier in
            let step = ladder.steps[tier.step]
            return sum + (Double(tier.places.count) * scale).rounded() * Double(step.rowBytes)
                + Double(step.sharedBytes)
        }
    }

    private func mapBytes(_ count: Int) -> Double {
        if order.isByNumber || count < 2 { return 0 }
        let rows = Int((Double(order.ids.count) * scale).rounded())
        return Double(PartRanks.byteCount(ids: rows, parts: count) ?? Int.max)
    }

    private func error(_ tiers: [Tier]) -> Double {
        tiers.reduce(0) {
            $0 + (sums[$1.places.upperBound] - sums[$1.places.lowerBound]) * ladder.steps[$1.step].error
        }
    }

    /// At most so many tiers, whose error, and rows' bytes at a price, are least together.
    private func cheapest(at price: Double, most: Int) -> [Tier] {
        let (groups, steps) = (edges.count - 1, ladder.steps.count)
        let (errors, rowCosts) = (ladder.steps.map(\.error), ladder.steps.map { price * Double($0.rowBytes) })
        // The cost of the groups so far with the last one at a step, for each number of tiers.
        var costs = [Double](repeating: .infinity, count: most * steps)
        costs.replaceSubrange(0..<steps, with: repeatElement(0, count: steps))
        // The step that a group's tier came after, where it begins one; -1 where it goes on.
        var starts = [Int16](repeating: -1, count: groups * most * steps)
        costs.withUnsafeMutableBufferPointer { costs in
            starts.withUnsafeMutableBufferPointer { starts in
                for group in 0..<groups {
                    let weight = sums[edges[group + 1]] - sums[edges[group]]
                    let rows = Double(edges[group + 1] - edges[group]) * scale
                    // The last number of tiers first: it comes from the one before as it was.
                    for number in (0..<most).reversed() {
                        var (before, least) = (-1, Double.infinity)
                        if number > 0, group > 0 {
                            for step in 0..<steps where costs[(number - 1) * steps + step] < least {
                                (before, least) = (step, costs[(number - 1) * steps + step])
                            }
                        }
                        for step in 0..<steps {
                            let place = number * steps + step
                            if least < costs[place] {
                                costs[place] = least
                                starts[group * most * steps + place] = Int16(before)
                            }
                            costs[place] += weight * errors[step] + rows * rowCosts[step]
                        }
                    }
                }
            }
        }
        var (number, step, least) = (0, 0, Double.infinity)
        for candidate in 0..<most {
            for other in 0..<steps {
                let cost = costs[candidate * steps + other]
                if cost < least { (number, step, least) = (candidate, other, cost) }
            }
        }
        var tiers: [Tier] = []
        var end = edges[groups]
        for group in (0..<groups).reversed() {
            let before = Int(starts[(group * most + number) * steps + step])
            guard before >= 0 || group == 0 else { continue }
            tiers.append(Tier(places: edges[group]..<end, step: step))
            end = edges[group]
            if before >= 0 { (number, step) = (number - 1, before) }
        }
        return tiers.reversed()
    }

    /// The same tiers, with bytes that are left spent on rows next to the ends of tiers: those that gain most first.
    private func filled(_ tiers: [Tier]) -> [Tier] {
        var tiers = tiers
        var left = Double(budget) - bytes(tiers)
        var ends = Set(tiers.indices.dropLast())
        while !ends.isEmpty {
            func gain(_ end: Int) -> (error: Double, bytes: Double) {
                let place = tiers[end].places.upperBound
                let (here, next) = (ladder.steps[tiers[end].step], ladder.steps[tiers[end + 1].step])
                return (
                    (sums[place + 1] - sums[place]) * (next.error - here.error),
                    Double(here.rowBytes - next.rowBytes) * scale
                )
            }
            // Only ends where the earlier tier has more bytes move, and no tier is used up.
            ends = ends.filter { gain($0).bytes > 0 && tiers[$0 + 1].places.count > 1 }
            guard let end = ends.max(by: { gain($0).error / gain($0).bytes < gain($1).error / gain($1).bytes }) else {
                break
            }
            let rows = Int(min(left / gain(end).bytes, Double(tiers[end + 1].places.count - 1)))
            let place = tiers[end].places.upperBound + rows
            left -= Double(rows) * gain(end).bytes
            tiers[end].places = tiers[end].places.lowerBound..<place
            tiers[end + 1].places = place..<tiers[end + 1].places.upperBound
            ends.remove(end)
        }
        return tiers
    }
}
