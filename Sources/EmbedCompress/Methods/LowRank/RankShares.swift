#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// Rows of similar norm, and the directions in which they vary.
struct RankGroup {
    let source: any Node
    /// Rows that bytes are counted for.
    let rows: Int
    let basis: PrincipalBasis
    let chooser: LowRankChooser

    /// Of the rows of a group, in the study's law of ranks.
    static let exponent = -0.3

    static func power(_ base: Double, _ exponent: Double) -> Double { pow(base, exponent) }

    init(_ source: any Node, rows: Int, center: Bool, progress: ProgressCounter) throws {
        (self.source, self.rows) = (source, rows)
        basis = try PrincipalBasis(of: source, center: center, progress: progress)
        chooser = try LowRankChooser(source, basis, rows: rows, watch: progress.watch)
    }

    /// The largest rank that is of use.
    var highestRank: Int { max(1, min(source.rows, source.dimension)) }

    /// The rank that the study's law gives.
    func lawfulRank(_ law: Double) -> Int {
        let rank = (law * Self.power(Double(max(source.rows, 1)), Self.exponent)).rounded(.toNearestOrEven)
        return Int(min(max(rank, 1), Double(highestRank)))
    }

    func bytes(_ plan: LowRankPlan, rank: Int) throws -> Int {
        try plan.with(rank: rank).bytes(rows: rows, dimension: source.dimension)
    }
}

/// Shares a budget out among groups of rows: a rank for each, and the inner method's bits.
struct RankShares {
    let groups: [RankGroup]
    let plan: LowRankPlan
    let budget: Int
    /// What it takes to say which group each row is in.
    let assignmentBytes: Int

    /// The groups' plans of the least error.
    func solve() throws -> [LowRankPlan] {
        var found: [(lost: Double, plans: [LowRankPlan])] = []
        var floor = Int.max
        for inner in try plan.inner.choices() {
            let one = plan.with(inner)
            let least = Checked.sum(of: [assignmentBytes] + (try groups.map { try $0.bytes(one, rank: 1) }))
            floor = min(floor, least ?? Int.max)
            guard let least, least <= budget else { continue }
            let ranks = try ranks(one)
            let lost = zip(groups, ranks).reduce(0) { $0 + $1.0.chooser.lost($1.1) * $1.0.chooser.scale }
            found.append((lost, ranks.map { one.with(rank: $0) }))
        }
        found.sort { $0.lost < $1.lost }
        guard var best = found.first?.plans else {
            throw EmbedCompressError.budget(method: "magsvd", budgetBytes: budget, floorBytes: floor)
        }
        var least = Double.infinity
        for (lost, plans) in found where found.count > 1 {
            if lost >= least { break }
            let error = try zip(groups, plans).reduce(0) {
                $0 + (try $1.0.chooser.error($1.1.likelyMixed)) * $1.0.chooser.scale
            }
            if error < least { (best, least) = (plans, error) }
        }
        return try zip(groups, best).map { try $0.chooser.mixed($1) }
    }

    /// Ranks by the study's law, as high as bytes allow, and then what the rest of the bytes buys.
    private func ranks(_ plan: LowRankPlan) throws -> [Int] {
        let room = budget - assignmentBytes
        func bytes(_ ranks: [Int]) throws -> Int {
            Checked.sum(of: try zip(groups, ranks).map { try $0.bytes(plan, rank: $1) }) ?? Int.max
        }
        func lawful(_ law: Double) -> [Int] { groups.map { $0.lawfulRank(law) } }
        var low = 0.0
        var high = 1.0
        for group in groups {
            let rows = Double(max(group.source.rows, 1))
            high = max(high, Double(group.highestRank) * RankGroup.power(rows, -RankGroup.exponent) + 1)
        }
        for _ in 0..<50 {
            let middle = (low + high) / 2
            if try bytes(lawful(middle)) <= room { low = middle } else { high = middle }
        }
        var ranks = lawful(low)
        var spent = try bytes(ranks)
        while let step = try bestStep(from: ranks, plan, left: room - spent) {
            ranks[step.group] += 1
            spent += step.bytes
        }
        return ranks
    }

    /// The group in which one more rank lowers the error most for its bytes; nil if there is room for none.
    private func bestStep(
        from ranks: [Int], _ plan: LowRankPlan, left: Int
    ) throws -> (group: Int, bytes: Int)? {
        var best: (gain: Double, group: Int, bytes: Int)?
        for (index, group) in groups.enumerated() where ranks[index] < group.highestRank {
            let bytes = try group.bytes(plan, rank: ranks[index] + 1) - group.bytes(plan, rank: ranks[index])
            let gain = group.basis.energies[ranks[index]] / Double(max(bytes, 1))
            if bytes <= left, gain > best?.gain ?? -1 { best = (gain, index, bytes) }
        }
        return best.map { ($0.group, $0.bytes) }
    }
}
