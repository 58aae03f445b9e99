/// MagPQ: rows in groups by their norm, and product codes for each group; the larger the norms, the more code bits.
///
/// The VLDB 2024 study's MagnitudeProductQuantizer (arXiv 2311.15578). Groups have equal sums of norms, so that those of
/// large norms have few rows, which more bits cost little for. A budget is shared out so that the expected squared error
/// of all groups together is the least; where fewer groups are expected to do better, there are fewer.
///
/// Bytes: those of `pq` for each group, and which group each row is in: log2(groups) / 8 bytes a row or a little more.
extension Method {
    static let magnitudeProduct = Method(
        name: "magpq", title: "MagPQ", family: .productQuantization,
        paper: "Zhang et al., VLDB 2024, arXiv 2311.15578",
        summary: "product codes for each group of rows of similar norm, with more bits where norms are larger",
        bytesPerRow: "those of pq with the group's parts and bits, and about log2(groups) / 8",
        cost: "a pass over the table, and that of pq for each group",
        options: [
            Option(
                "groups", .integer(1...64), default: .integer(4), "groups of rows; with a budget, the most of them"),
            Option(
                "parts", .integer(1...maximumDimension), default: .null,
                "parts of a row; if not given, as many as have 4 columns"),
            Option(
                "bits", .integer(Product.bitWidths), default: .integer(8),
                "bits of a code where norms are largest; each next group has one less"),
            entryOption,
            Option("rounds", .integer(1...100_000), default: .integer(25), "most rounds of k-means"),
            seedOption,
            Option(
                "budget", .budget, default: .null,
                "most bytes of the result; chooses each group's parts and bits"),
        ],
        takesWeights: false, passes: 5
    ) { input, options, progress in
        let (source, rows) = (input.source, input.source.rows)
        let steps = ProgressSteps(progress, units: Checked.product(rows, 4) ?? Int.max, shares: [1, 1, 10])
        let squares = try squaredNorms(of: source, progress: steps.next(total: rows))
        let norms = try SortedNorms(squares: squares)
        let watch = steps.next(total: rows)
        let plan = try ScaleChoice.withNumberType("entry_dtype", options, of: input) { element in
            try MagnitudePlan(source, options, norms, squares: squares, element: element, progress: watch)
        }
        let groups = plan.groups
        let made = ProgressSteps(
            steps.next(total: rows), units: rows,
            shares: (0..<groups.count).map { Double(groups.places($0).count + 1) })
        let tables = try plan.choices.enumerated().map { group, choice in
            let part = groups.count == 1 ? Table(source) : try Table(source).remapped(through: try groups.rows(group))
            return Table(
                try Method.pq.compress(
                    part,
                    [
                        "parts": .integer(choice.parts), "bits": .integer(choice.bits),
                        "entry_dtype": .string(plan.element.rawValue),
                        "rounds": .integer(try options.integer("rounds")),
                        "seed": .integer(try options.integer("seed")),
                    ],
                    progress: made.next(total: 2 * part.rows, reading: part.root)))
        }
        try steps.finish()
        guard groups.count > 1 else { return FinishedTable(node: tables[0].root) }
        return FinishedTable(node: try Partition(tables, assignment: try groups.assignment))
    }
}

/// The groups of rows, and the product codes of each.
private struct MagnitudePlan {
    let groups: NormGroups
    let choices: [(parts: Int, bits: Int)]
    /// Of entries of codebooks.
    let element: ScaleType

    init(
        _ source: any Node, _ options: OptionValues, _ norms: SortedNorms, squares: [Double], element: ScaleType,
        progress: ProgressCounter
    ) throws {
        self.element = element
        let dimension = source.dimension
        let most = try options.integer("groups")
        let bits = try options.integer("bits")
        let parts =
            try options.optionalInteger("parts", atMost: dimension, method: "magpq") ?? (dimension + 3) / 4
        guard let budget = try options.optionalInteger("budget") else {
            groups = NormGroups(norms, most: most)
            choices = (0..<groups.count).map { (parts, max(bits - $0, 1)) }
            return
        }
        if options.isGiven("parts") || options.isGiven("bits") {
            throw EmbedCompressError.invalidArgument("give magpq either parts and bits or a budget, not both")
        }
        let divisions = (1...most).map { NormGroups(norms, most: $0) }
        let energies = try GroupEnergies(source, divisions, squares: squares, progress: progress)
        var best: (error: Double, groups: NormGroups, choices: [ProductChoices.Choice])?
        for division in divisions {
            let shares = BudgetShares(
                energies: energies.energies(of: division), rows: (0..<division.count).map { division.places($0).count },
                dimension: dimension, element: element, room: budget - division.assignmentBytes)
            guard let found = shares.solve(), found.error < best?.error ?? .infinity else { continue }
            best = (found.error, division, found.choices)
        }
        guard let best else {
            let all = ProductChoices(rows: source.rows, dimension: dimension, element: element)
            throw EmbedCompressError.budget(method: "magpq", budgetBytes: budget, floorBytes: all.leastBytes)
        }
        groups = best.groups
        choices = best.choices.map { ($0.parts, $0.bits) }
    }
}

/// Sums of squared distances of rows from the mean of their group, for several divisions of the rows into groups: one
/// pass over the rows, of the runs of the order that no division cuts.
private struct GroupEnergies {
    /// Where each run begins in the order.
    private let starts: [Int]
    /// The sum of the squares of each run's rows.
    private var squares: [Double]
    /// The sum of each run's rows.
    private var sums: [[Double]]

    init(
        _ source: any Node, _ divisions: [NormGroups], squares rowSquares: [Double], progress: ProgressCounter
    ) throws {
        let starts = Set(divisions.flatMap(\.starts)).sorted()
        var runs = try [Int](allocating: 0, count: source.rows)
        // An array of sums is as large as a row of doubles.
        try Allocation.require(Checked.product(starts.count + 1, source.dimension, MemoryLayout<Double>.stride))
        var squares = [Double](repeating: 0, count: starts.count)
        let order = divisions.first?.order ?? []
        for run in starts.indices {
            for place in starts[run]..<(run + 1 < starts.count ? starts[run + 1] : order.count) {
                runs[order[place]] = run
                squares[run] += rowSquares[order[place]]
            }
        }
        var sums = [[Double]](repeating: [Double](repeating: 0, count: source.dimension), count: starts.count)
        try RowRuns.forEach(of: source, progress: progress) { first, count, values in
            for index in 0..<count {
                let row = values.row(index)
                sums[runs[first + index]].withUnsafeMutableBufferPointer { sum in
                    for column in 0..<sum.count { sum[column] += Double(row[column]) }
                }
            }
        }
        (self.starts, self.squares, self.sums) = (starts, squares, sums)
    }

    /// Of each group.
    func energies(of division: NormGroups) -> [Double] {
        (0..<division.count).map { group in
            let places = division.places(group)
            var square = 0.0
            var sum = [Double](repeating: 0, count: sums.first?.count ?? 0)
            for run in starts.indices where places.contains(starts[run]) {
                square += squares[run]
                for column in sum.indices { sum[column] += sums[run][column] }
            }
            let mean = sum.reduce(0) { $0 + $1 * $1 } / Double(max(places.count, 1))
            return max(square - mean, 0)
        }
    }
}

/// Shares a number of bytes out among groups so that their errors together are the least.
private struct BudgetShares {
    let energies: [Double]
    let rows: [Int]
    let dimension: Int
    let element: ScaleType
    let room: Int

    /// A choice for each group; nil if nothing fits.
    func solve() -> (error: Double, choices: [ProductChoices.Choice])? {
        let all = rows.map { ProductChoices(rows: $0, dimension: dimension, element: element).all(within: room) }
        guard !all.contains(where: \.isEmpty) else { return nil }
        /// Each group's best choice where a byte costs so much error.
        func choices(_ price: Double) -> [ProductChoices.Choice] {
            zip(energies, all).map { energy, choices in
                func cost(_ choice: ProductChoices.Choice) -> Double {
                    energy * choice.error + price * Double(choice.storedBytes)
                }
                return choices.dropFirst().reduce(choices[0]) { cost($1) < cost($0) ? $1 : $0 }
            }
        }
        func bytes(_ choices: [ProductChoices.Choice]) -> Int {
            Checked.sum(of: choices.map(\.storedBytes)) ?? Int.max
        }
        var (low, high) = (0.0, 1 + energies.reduce(0, +))
        guard bytes(choices(high)) <= room else { return nil }
        for _ in 0..<60 {
            let price = low > 0 ? (low + high) / 2 : high / 1e3
            if bytes(choices(price)) > room { low = price } else { high = price }
            if low > 0, high / low < 1.0001 { break }
        }
        var chosen = choices(high)
        // What is left goes to whichever group gains most by it, as long as one does.
        while let step = bestStep(from: chosen, among: all, left: room - bytes(chosen)) {
            chosen[step.group] = step.choice
        }
        return (zip(energies, chosen).reduce(0) { $0 + $1.0 * $1.1.error }, chosen)
    }

    private func bestStep(
        from chosen: [ProductChoices.Choice], among all: [[ProductChoices.Choice]], left: Int
    ) -> (group: Int, choice: ProductChoices.Choice)? {
        var best: (gain: Double, group: Int, choice: ProductChoices.Choice)?
        for (group, now) in chosen.enumerated() {
            for other in all[group] where other.storedBytes - now.storedBytes <= left && other.error < now.error {
                let gain = energies[group] * (now.error - other.error)
                if gain > best?.gain ?? 0 { best = (gain, group, other) }
            }
        }
        return best.map { ($0.group, $0.choice) }
    }
}
