/// Multipoint quantization: a row is a sum of vectors of few bits, its points, of as many as it needs.
///
/// Liu, Ye, Zhou and Liu, "Post-training Quantization with Multiple Points: Mixed Precision without Mixed Precision", 2021
/// (AAAI; arXiv 2002.09049). Points are found one after the other, each as the codes, scale and bias of the least squared
/// error that ``LeastSquares`` finds for what the points before leave. The paper gives points to rows until their error is
/// below a threshold; a budget goes, point by point, where a point takes most error away.
///
/// Rows are a partition by their number of points, and each of its members is a sum of uniform tables. Bytes: those of a
/// uniform row for each point, and of the partition, some `log2(numbers of points) / 8 + numbers of points / 128` a row.
/// In memory while it is made, for each row: its values as f32, all points that it may have, an error of 8 bytes for each
/// point and for none, and 24 bytes of its place in the result; with a budget, another 32 bytes for each point after the
/// first, which are put in order.
private struct Multipoint {
    let rows: Int
    let layout: Uniform.Layout
    /// Every row's points, the first first.
    let points: [Uniform]
    /// The error of every row with none of the points, with one, with two, …
    let errors: [Buffer<Double>]

    init(
        _ input: CompressionInput, layout: Uniform.Layout, points count: Int, progress steps: ProgressSteps
    ) throws {
        let (source, rows, dimension) = (input.source, input.source.rows, layout.dimension)
        (self.rows, self.layout) = (rows, layout)
        let left = try RowBuffer(rows: rows, dimension: dimension)
        try RowReader.forEachBlock(of: source, progress: steps.next(total: rows)) { first, count, values in
            try checkFinite(values, count, dimension, firstRow: input.firstRow + first)
            for index in 0..<count {
                left.block(from: first + index).base.update(from: values.row(index), count: dimension)
            }
        }
        let rest = try left.table()
        let compressor = UniformCompressor(layout: layout, search: LeastSquares(bins: 28, fits: 3), fallsBack: true)
        var (points, errors): ([Uniform], [Buffer<Double>]) = ([], [])
        errors.append(try Self.errors(of: rest, input.weights, steps.next(total: rows)))
        for _ in 0..<count {
            let found = try compressor.compress(
                CompressionInput(source: rest, weights: input.weights, firstRow: input.firstRow),
                tally: FallbackTally(), progress: steps.next(total: rows))
            guard let point = found as? Uniform else { preconditionFailure("a uniform compressor makes uniform rows") }
            try RowReader.forEachBlock(of: point, progress: steps.next(total: rows)) { first, count, values in
                for index in 0..<count {
                    let (target, value) = (left.block(from: first + index).base, values.row(index))
                    for column in 0..<dimension { target[column] -= value[column] }
                }
            }
            points.append(point)
            errors.append(try Self.errors(of: rest, input.weights, steps.next(total: rows)))
        }
        (self.points, self.errors) = (points, errors)
    }

    /// Those of ``init(_:layout:points:progress:)``.
    static func steps(_ progress: ProgressCounter, rows: Int, points: Int) -> ProgressSteps {
        ProgressSteps(progress, units: rows, shares: [1, 1] + (0..<points).flatMap { _ in [8.0, 1, 1] })
    }

    /// The squared norm of each row, weighted by its elements or as a whole.
    private static func errors(
        of left: Dense, _ weights: (any Node)?, _ progress: ProgressCounter
    ) throws -> Buffer<Double> {
        let found = try Buffer<Double>(count: left.rows)
        let isOfRows = weights?.dimension == 1
        try RowReader.forEachBlock(of: left, and: weights, progress: progress) { first, count, values, weights in
            for index in 0..<count {
                let (row, own) = (values.row(index), weights?.row(index))
                var sum = 0.0
                for column in 0..<left.dimension {
                    let weight = own.map { Double($0[isOfRows ? 0 : column]) } ?? 1
                    sum += weight * Double(row[column]) * Double(row[column])
                }
                found[first + index] = sum
            }
        }
        return found
    }

    /// For each row the least number of points with which its error is at most `threshold` times its norm. Where none is
    /// enough, as many as take error away.
    func counts(threshold: Double) throws -> [Int] {
        var counts = try [Int](allocating: points.count, count: rows)
        for row in 0..<rows {
            let most = threshold * threshold * errors[0][row]
            counts[row] =
                (1..<points.count).first { errors[$0][row] <= most || errors[$0 + 1][row] >= errors[$0][row] }
                ?? points.count
        }
        return counts
    }

    /// Numbers of points that together take no more bytes than a budget, which has room for one of each row.
    ///
    /// Points that take more error away come first, and those of a row in their order: of a row whose later point takes
    /// more away than the one before, each counts as the lesser.
    func counts(budget: Int) throws -> [Int] {
        guard let extras = Checked.product(rows, points.count - 1) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        var gains = try [Double](allocating: 0, count: extras)
        for row in 0..<rows {
            var least = Double.infinity
            for number in 1..<points.count {
                least = min(least, max(errors[number][row] - errors[number + 1][row], 0))
                gains[(number - 1) * rows + row] = least
            }
        }
        let order = try fallingOrder(gains)
        var counts = try [Int](allocating: 1, count: rows)
        var sizes = [Int](repeating: 0, count: points.count + 1)
        sizes[1] = rows
        func bytes(_ extra: Int) -> Int? {
            let classes = sizes.count { $0 > 0 }
            return Checked.sum(of: [
                Checked.product(rows + extra, layout.rowBytes),
                classes > 1 ? PartRanks.byteCount(ids: rows, parts: classes) : 0,
            ])
        }
        // The first points of the order that fit; more may fit again, once all rows have as many.
        var taken = 0
        for (index, place) in order.enumerated() {
            guard gains[place] > 0 else { break }
            let row = place % rows
            sizes[counts[row]] -= 1
            counts[row] += 1
            sizes[counts[row]] += 1
            if let bytes = bytes(index + 1), bytes <= budget { taken = index + 1 }
        }
        counts = try [Int](allocating: 1, count: rows)
        for place in order.prefix(taken) { counts[place % rows] += 1 }
        return try uniformCounts(budget: budget, betterThan: counts) ?? counts
    }

    /// As many points for every row, where that fits and has a smaller error than other numbers: small tables may have
    /// bytes for another point of each row, or for saying which rows have more, but not for both.
    private func uniformCounts(budget: Int, betterThan counts: [Int]) throws -> [Int]? {
        var least = 0.0
        for row in 0..<rows { least += errors[counts[row]][row] }
        var best: Int?
        for number in 1...points.count {
            guard let bytes = Checked.product(rows, number, layout.rowBytes), bytes <= budget else { break }
            var error = 0.0
            for row in 0..<rows { error += errors[number][row] }
            if error < least { (least, best) = (error, number) }
        }
        return try best.map { try [Int](allocating: $0, count: rows) }
    }

    /// The first points of each row, as many as it is to have.
    func node(_ counts: [Int]) throws -> any Node {
        let numbers = Set(counts).sorted()
        // A table without rows has the first points, of none.
        guard let last = numbers.last else { return points[0] }
        if numbers.count > 1 { try PartRanks.checkRows(rows) }
        var assignment = try [Int](allocating: 0, count: rows)
        var members: [[Int]] = []
        for (index, number) in numbers.enumerated() {
            members.append(try [Int](allocating: 0, count: counts.count { $0 == number }))
            var next = 0
            for row in 0..<rows where counts[row] == number {
                members[index][next] = row
                assignment[row] = index
                next += 1
            }
        }
        if numbers.count == 1 { return try sum(of: members[0], points: last) }
        let parts = try zip(members, numbers).map { Table(try sum(of: $0, points: $1)) }
        return try Partition(parts, assignment: assignment)
    }

    private func sum(of rows: [Int], points number: Int) throws -> any Node {
        let chosen = try points.prefix(number).map { point in
            guard let byteCount = Checked.product(rows.count, layout.rowBytes) else {
                throw EmbedCompressError.outOfMemory(bytes: Int.max)
            }
            let bytes = Bytes(try ByteStorage.allocate(byteCount, zeroed: false))
            for (place, row) in rows.enumerated() {
                (bytes.mutablePointer + place * layout.rowBytes).copyMemory(
                    from: point.memory.bytes.pointer + row * layout.rowBytes, byteCount: layout.rowBytes)
            }
            return try Uniform(bytes, rows: rows.count, layout: layout)
        }
        return chosen.count == 1 ? chosen[0] : try Combination(chosen, operation: .sum)
    }
}

/// All points of every row, whose scales are as small as they get.
private struct AllPoints: RowCompressor {
    let layout: Uniform.Layout
    let points: Int

    func compress(_ input: CompressionInput, tally: FallbackTally, progress: ProgressCounter) throws -> any Node {
        let rows = input.source.rows
        let steps = Multipoint.steps(progress, rows: rows, points: points)
        return try Multipoint(input, layout: layout, points: points, progress: steps)
            .node([Int](allocating: points, count: rows))
    }
}

extension Method {
    static let multipoint = Method(
        name: "multipoint", title: "Multipoint", family: .uniformQuantization,
        paper: "Liu et al. 2021, arXiv 2002.09049",
        summary: "a sum of rows of few bits, of more of them where they take more error away",
        bytesPerRow:
            "points * (ceil(d * bits / 8) + 2 * (2 for f16, 4 for f32)), and log2(numbers) / 8 + numbers / 128 where "
            + "numbers of points differ",
        cost: "least squares for each point; in memory the table as f32, all points, and 8 bytes for each, or "
            + "40 with a budget",
        options: [
            Option("bits", .integerFrom(paperWidths), default: .integer(2), "bits of a point's codes"),
            Option("points", .integer(1...16), default: .integer(4), "the most points of a row"),
            Option(
                "threshold", .number(0...1), default: .number(0.1),
                "without a budget, a row has the fewest points with which its error is at most so much of its norm"),
            Option(
                "scale_dtype", .choice(["auto"] + ScaleType.allCases.map(\.rawValue)), default: .string("auto"),
                "type of scale and bias; auto is f16, or f32 where f16 costs more than a tenth of all points' error and for "
                    + "values beyond it"),
            Option(
                "budget", .budget, default: .null,
                "most bytes of the result, spent on the points that take most error away"),
        ],
        takesWeights: true, passes: 2
    ) { input, options, progress in
        let budget = try options.optionalInteger("budget")
        if budget != nil, options.isGiven("threshold") {
            throw EmbedCompressError.invalidArgument("give multipoint either threshold or a budget, not both")
        }
        let (bits, points) = (try options.integer("bits"), try options.integer("points"))
        let (source, rows) = (input.source, input.source.rows)
        func layout(_ type: ScaleType) throws -> Uniform.Layout {
            let layout = try Uniform.Layout(dimension: source.dimension, bits: bits, group: nil, scaleType: type)
            if let budget {
                let floor = layout.byteCount(rows: rows) ?? Int.max
                guard floor <= budget else {
                    throw EmbedCompressError.budget(method: "multipoint", budgetBytes: budget, floorBytes: floor)
                }
            }
            return layout
        }
        let given = ScaleType(rawValue: try options.string("scale_dtype"))
        var chosen = try layout(given ?? .float16)
        if given == nil {
            chosen = try ScaleChoice.better(
                chosen, of: input, wide: { try layout(.float32) }, steps: 1 << min(bits * points, 60), visible: 0,
                compressor: { AllPoints(layout: $0, points: points) })
        }
        let steps = Multipoint.steps(progress, rows: rows, points: points)
        let found = try Multipoint(input, layout: chosen, points: points, progress: steps)
        let counts: [Int]
        if let budget {
            counts = try found.counts(budget: budget)
        } else {
            counts = try found.counts(threshold: try options.number("threshold"))
        }
        let node = try found.node(counts)
        try steps.finish()
        return FinishedTable(node: node, mayOverflow: true)
    }
}
