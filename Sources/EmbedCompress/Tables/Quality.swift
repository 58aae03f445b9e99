#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// What a table costs against its source.
public struct Quality: Sendable, Equatable {
    /// `||X - Q(X)|| / ||X||`, Frobenius norms: the 4-bit paper's normalised l2 loss. 0 when X is zero and the copy is
    /// exact.
    public var normalizedL2 = 0.0
    /// Mean over rows of the cosine between a row and its copy. Rows that are zero in both count as 1, in one as 0.
    public var meanCosine = 1.0
    /// The largest over rows of `||x - q(x)|| / ||x||`.
    public var worstRowL2 = 0.0
    /// The row that has it.
    public var worstRow = 0
    /// Mean over all elements of the squared difference.
    public var meanSquaredError = 0.0
    /// Recall@k: the share of the `k` nearest neighbours of some rows that are kept. Nil if it was not asked for, or if
    /// no query has `k` other rows.
    public var recall: Double?
}

extension Table {
    /// Compares this table with `source`, row by row, and by the neighbours of some rows. Memory does not grow with the
    /// tables, and mapped files are not kept in it.
    ///
    /// Recall@k takes random rows of `source` as queries. The true neighbours of a query are the `k` other rows of the
    /// largest cosine with it; of equal cosines, as f32 has them, the row of the smaller number is nearer. Recall is the
    /// share of them among the query's `k` nearest in this table, in which the query itself stays exact.
    ///
    /// - Parameters:
    ///   - queries: How many rows to take as queries, all of them if there are no more; with 0, recall is left out.
    ///   - k: Neighbours of each query, at least 1. A table of up to `k` rows has no recall.
    ///   - seed: Of the choice of queries.
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` when the shapes differ, or for a row of either table that is
    ///   not finite: no error, norm or neighbour of such a row means anything.
    public func quality(
        against source: Table, queries: Int = 0, k: Int = 10, seed: Int = 0,
        progress callback: ProgressCallback? = nil
    ) throws -> Quality {
        guard rows == source.rows, dimension == source.dimension else {
            throw EmbedCompressError.invalidArgument(
                "a table of \(rows) x \(dimension) can't be compared with a source of \(source.rows) x \(source.dimension)"
            )
        }
        guard queries >= 0 else {
            throw EmbedCompressError.invalidArgument("queries must not be negative, not \(queries)")
        }
        guard k >= 1 else { throw EmbedCompressError.invalidArgument("k must be at least 1, not \(k)") }
        // Queries are drawn into a set, which takes up to so much for each.
        try Allocation.require(Checked.product(min(queries, rows), 6 * MemoryLayout<Int>.stride))
        return try MappedFile.reading(root.storages + source.root.storages) {
            try compared(with: source, queries: queries, k: k, seed: seed, progress: callback)
        }
    }

    private func compared(
        with source: Table, queries: Int, k: Int, seed: Int, progress callback: ProgressCallback?
    ) throws -> Quality {
        var random = SeededRandom(seed: seed)
        let chosen = rows > k ? random.distinct(min(queries, rows), below: rows) : []
        let readings = 1 + 2 * NeighbourSearch.passes(queries: chosen.count, dimension: dimension)
        let progress = ProgressCounter(total: Checked.product(rows, readings) ?? Int.max, callback: callback)
        let sums = try qualityRuns(against: source, progress: progress)
        try progress.report()
        var quality = Quality(sums, rows: rows, dimension: dimension)
        if !chosen.isEmpty {
            let exact = try NeighbourSearch(source, k: k).nearest(to: chosen, of: source, progress: progress)
            quality.recall = try recall(of: exact, queries: chosen, source: source, k: k, progress: progress)
        }
        return quality
    }

    /// The sums of a comparison with a table of the same shape, run by run, so that mapped files are not kept in memory.
    ///
    /// - Parameter weights: How often each row counts; once if nil.
    func qualityRuns(
        against source: Table, weights: [Double]? = nil, progress: ProgressCounter
    ) throws -> QualitySums {
        var sums = QualitySums()
        for range in RowReader.runs(of: root) {
            let (copies, originals) = (Table(try root.sliced(range)), Table(try source.root.sliced(range)))
            sums.add(
                try copies.qualitySums(
                    against: originals, firstRow: range.lowerBound, weights: weights?[range], progress: progress))
            copies.root.discardPages()
            originals.root.discardPages()
        }
        return sums
    }

    /// The share of the neighbours that queries have in `source` among those that they have here.
    ///
    /// - Parameters:
    ///   - exact: The neighbours in `source`, by query.
    ///   - queries: Rows of `source`.
    /// - Returns: Nil if there are no neighbours.
    func recall(
        of exact: [[Int]], queries: [Int], source: Table, k: Int,
        progress: ProgressCounter = ProgressCounter(total: 0, callback: nil)
    ) throws -> Double? {
        let found = try NeighbourSearch(self, k: k).nearest(to: queries, of: source, progress: progress)
        let kept = zip(exact, found).reduce(0) { $0 + Set($1.0).intersection($1.1).count }
        let all = exact.reduce(0) { $0 + $1.count }
        return all == 0 ? nil : Double(kept) / Double(all)
    }

    /// The `k` rows of the largest cosine with rows of `source`, by query and best first; see ``quality(against:queries:k:seed:progress:)``.
    ///
    /// - Parameter queries: Rows of `source`; a query's own row is left out.
    package func neighbours(
        of queries: [Int], in source: Table, k: Int, progress callback: ProgressCallback? = nil
    ) throws -> [[Int]] {
        guard dimension == source.dimension else {
            throw EmbedCompressError.invalidArgument(
                "rows of \(dimension) columns can't be compared with queries of \(source.dimension)")
        }
        guard k >= 1 else { throw EmbedCompressError.invalidArgument("k must be at least 1, not \(k)") }
        let passes = NeighbourSearch.passes(queries: queries.count, dimension: dimension)
        let progress = ProgressCounter(total: Checked.product(rows, passes) ?? Int.max, callback: callback)
        return try MappedFile.reading(root.storages + source.root.storages) {
            try NeighbourSearch(self, k: min(k, max(rows, 1))).nearest(to: queries, of: source, progress: progress)
        }
    }

    /// The sums of a comparison with a table of the same shape.
    ///
    /// - Parameters:
    ///   - firstRow: What the first row is called.
    ///   - weights: How often each row counts, by what it is called; once if nil.
    func qualitySums(
        against source: Table, firstRow: Int = 0, weights: ArraySlice<Double>? = nil,
        progress: ProgressCounter = ProgressCounter(total: 0, callback: nil)
    ) throws -> QualitySums {
        // Blocks are summed in order at the end, so that the result does not depend on threads.
        let lock = Lock()
        var partial: [Int: QualitySums] = [:]
        let dimension = dimension
        try RowReader.forEachBlock(of: source.root, and: root, progress: progress) { first, count, values, copies in
            guard let copies else { return }
            var sums = QualitySums()
            for index in 0..<count {
                let row = firstRow + first + index
                let isFinite = sums.add(
                    values.row(index), copies.row(index), count: dimension, row: row, weight: weights?[row] ?? 1)
                guard isFinite else { throw notComparable(values.row(index), copies.row(index), row: row) }
            }
            lock.withLock { partial[first] = sums }
        }
        return partial.keys.sorted().reduce(into: QualitySums()) { total, first in
            if let sums = partial[first] { total.add(sums) }
        }
    }
}

extension Table {
    /// What to say of a row that is not finite in the source, or as this table has it.
    private func notComparable(
        _ row: UnsafePointer<Float>, _ copy: UnsafePointer<Float>, row index: Int
    ) -> EmbedCompressError {
        for (values, name) in [(row, "the source"), (copy, "the table")] {
            for column in 0..<dimension where !values[column].isFinite {
                return .invalidArgument(
                    "row \(index) of \(name) has \(values[column]) in column \(column); only finite rows can be "
                        + "compared")
            }
        }
        return .invalidArgument("row \(index) is not finite")
    }
}

extension Quality {
    init(_ sums: QualitySums, rows: Int, dimension: Int) {
        guard rows > 0 else { return }
        normalizedL2 = relativeNorm(error: sums.error, norm: sums.norm)
        meanCosine = sums.cosine / Double(rows)
        (worstRowL2, worstRow) = (sums.worst, sums.worstRow)
        meanSquaredError = sums.error / (Double(rows) * Double(dimension))
    }
}

/// `||error|| / ||x||` of squared norms; infinite when only x is zero.
private func relativeNorm(error: Double, norm: Double) -> Double {
    error == 0 ? 0 : sqrt(error / norm)
}

/// Sums over rows that ``Quality`` is made of.
struct QualitySums {
    var error = 0.0
    var norm = 0.0
    var cosine = 0.0
    var worst = 0.0
    var worstRow = 0

    /// - Parameter weight: How often the row counts.
    /// - Returns: Whether both rows are finite.
    mutating func add(
        _ row: UnsafePointer<Float>, _ copy: UnsafePointer<Float>, count: Int, row index: Int, weight: Double
    ) -> Bool {
        var difference = SIMD8<Double>()
        var square = SIMD8<Double>()
        var copySquare = SIMD8<Double>()
        var product = SIMD8<Double>()
        var column = 0
        while column < count {
            var x = SIMD8<Double>()
            var y = SIMD8<Double>()
            for lane in 0..<min(8, count - column) {
                x[lane] = Double(row[column + lane])
                y[lane] = Double(copy[column + lane])
            }
            let delta = x - y
            difference += delta * delta
            square += x * x
            copySquare += y * y
            product += x * y
            column += 8
        }
        let (rowError, rowNorm, copyNorm) = (difference.sum(), square.sum(), copySquare.sum())
        error += weight * rowError
        norm += weight * rowNorm
        if rowNorm > 0, copyNorm > 0 {
            cosine += weight * (product.sum() / sqrt(rowNorm * copyNorm))
        } else if rowNorm == copyNorm {
            cosine += weight
        }
        let relative = relativeNorm(error: rowError, norm: rowNorm)
        if relative > worst { (worst, worstRow) = (relative, index) }
        // Squares of finite f32 numbers, and sums of them, are finite in f64.
        return rowError.isFinite
    }

    mutating func add(_ other: QualitySums) {
        error += other.error
        norm += other.norm
        cosine += other.cosine
        if other.worst > worst { (worst, worstRow) = (other.worst, other.worstRow) }
    }
}
