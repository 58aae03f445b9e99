/// Chooses rank, bits and mixing of an SVD whose basis is known, on a sample of the rows.
struct LowRankChooser {
    /// Rows that bytes are counted for.
    let rows: Int
    /// Rows of the table for each of the sample.
    let scale: Double
    private let dimension: Int
    /// The sample's coordinates in the basis.
    private let coordinates: DoubleMatrix
    /// Sums of squares of the last coordinates, from each one on; the last is 0.
    private let tails: [Double]
    private let watch: ProgressCounter

    private static let sampleRows = 2048

    init(_ source: any Node, _ basis: PrincipalBasis, rows: Int, watch: ProgressCounter) throws {
        self.rows = rows
        self.watch = watch
        let dimension = source.dimension
        self.dimension = dimension
        let step = max(1, source.rows / Self.sampleRows)
        let chosen = Array(stride(from: 0, to: source.rows, by: step).prefix(Self.sampleRows))
        scale = Double(source.rows) / Double(max(chosen.count, 1))
        var sample = try DoubleMatrix(rows: chosen.count, columns: dimension)
        let values = try Table(source).lookup(chosen)
        source.discardPages()
        sample.withUnsafeMutableNumbers { numbers in
            for (index, value) in values.enumerated() {
                numbers[index] = Double(value) - basis.mean[index % basis.mean.count]
            }
        }
        let coordinates = try sample.multiplied(by: basis.directions) { try watch.report() }
        self.coordinates = coordinates
        var tails = [Double](repeating: 0, count: dimension + 1)
        coordinates.withUnsafeNumbers { numbers in
            for index in 0..<chosen.count * dimension { tails[index % dimension] += numbers[index] * numbers[index] }
        }
        for column in (0..<dimension).reversed() { tails[column] += tails[column + 1] }
        self.tails = tails
    }

    /// The sample's coordinates, of all ranks.
    func factor() throws -> Dense { try Self.table(coordinates) }

    private static func table(_ matrix: DoubleMatrix) throws -> Dense {
        let space = try RowBuffer(rows: matrix.rows, dimension: matrix.columns)
        matrix.withUnsafeNumbers { numbers in
            let target = space.block().base
            for index in 0..<matrix.rows * matrix.columns { target[index] = Float(numbers[index]) }
        }
        return try space.table()
    }

    /// The sample's squared error of the rank alone: what no inner method goes below.
    func lost(_ rank: Int) -> Double { tails[rank] }

    /// The largest rank within a budget; nil if there is none.
    private func rank(_ plan: LowRankPlan, budget: Int, _ ranks: ClosedRange<Int>) throws -> Int? {
        func fits(_ rank: Int) throws -> Bool {
            try plan.with(rank: rank).bytes(rows: rows, dimension: dimension) <= budget
        }
        return try fits(ranks.lowerBound) ? try lastWhere(ranks.lowerBound, ranks.upperBound, fits) : nil
    }

    /// The squared error of the sample, without fitting the matrix anew.
    func error(_ plan: LowRankPlan) throws -> Double {
        let (count, rank) = (coordinates.rows, plan.rank)
        let known = try coordinates.columns(Array(0..<rank))
        let mixing = try plan.mixing(watch)
        let factor = try mixing.map { try known.multiplied(by: $0) { try watch.report() } } ?? known
        let values = try Table(try plan.inner.compress(try Self.table(factor), progress: watch)).decode()
        var found = try DoubleMatrix(rows: count, columns: rank)
        found.withUnsafeMutableNumbers { numbers in
            for (index, value) in values.enumerated() { numbers[index] = Double(value) }
        }
        if let mixing {
            found = try found.multiplied(by: mixing, transposingOther: true) { try watch.report() }
        }
        // The basis is orthonormal: an error of coordinates is one of rows.
        var error = tails[rank]
        known.withUnsafeNumbers { known in
            found.withUnsafeNumbers { found in
                for index in 0..<count * rank { error += (known[index] - found[index]) * (known[index] - found[index]) }
            }
        }
        return error
    }

    /// The plan, with mixing where that lowers the error.
    func mixed(_ plan: LowRankPlan) throws -> LowRankPlan {
        let other = plan.likelyMixed
        guard other.mixes, coordinates.rows > 0 else { return plan }
        return try error(other) < error(plan) ? other : plan
    }

    /// The plan of the least error within a budget: its rank, and the bits of the inner method.
    ///
    /// - Parameter ranks: Those that may be chosen.
    func best(_ plan: LowRankPlan, budget: Int, _ ranks: ClosedRange<Int>, method: String) throws -> LowRankPlan {
        var found: [LowRankPlan] = []
        var floor = Int.max
        for inner in try plan.inner.choices() {
            let one = plan.with(inner)
            if let rank = try rank(one, budget: budget, ranks) {
                found.append(one.with(rank: rank).likelyMixed)
            } else {
                floor = min(floor, try one.with(rank: ranks.lowerBound).bytes(rows: rows, dimension: dimension))
            }
        }
        found.sort { lost($0.rank) < lost($1.rank) }
        guard var best = found.first else {
            throw EmbedCompressError.budget(method: method, budgetBytes: budget, floorBytes: floor)
        }
        var lowest = Double.infinity
        for one in found where found.count > 1 {
            if lost(one.rank) >= lowest { break }
            let error = try error(one)
            if error < lowest { (best, lowest) = (one, error) }
        }
        return try mixed(best.with(rank: best.rank))
    }
}
