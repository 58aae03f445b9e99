/// Finds the split of hot and cold rows that has the least error within a budget, on a sample.
struct HotColdSolver {
    private let order: RowOrder
    private let hot: InnerMethod
    private let cold: InnerMethod
    private let budget: Int
    /// Rows of the table, and those that bytes are counted for.
    private let tableRows: Int
    private let rows: Int
    private let dimension: Int
    /// Bytes that say which part each row is in.
    private let mapBytes: Int
    /// In the order of importance, so that the first rows stand for the hot ones, each for those up to the next.
    private let sample: Dense
    /// How much an error of each row of the sample counts.
    private let weights: [Double]
    private let watch: ProgressCounter

    private static let sampleRows = 4096
    /// Hot rows that are tried where the cold ones take whatever bytes are left.
    private static let shares = [0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5]
    /// Of codebooks that a sample's bytes have to be counted without.
    private static let bookBits = 8

    init(
        _ input: CompressionInput, budget: Int, order: RowOrder, counts: [Double]?, hot: InnerMethod,
        cold: InnerMethod, watch: ProgressCounter
    ) throws {
        (self.order, self.hot, self.cold, self.budget, self.watch) = (order, hot, cold, budget, watch)
        (tableRows, rows, dimension) = (input.source.rows, input.budgetRows, input.source.dimension)
        mapBytes = order.isByNumber || rows < 2 ? 0 : PartRanks.byteCount(ids: rows, parts: 2) ?? Int.max
        let count = min(Self.sampleRows, tableRows)
        let starts = (0..<count).map { Int(Double($0) * (Double(input.source.rows) / Double(count))) }
        sample = try Dense(
            try Table(input.source).lookup(starts.map { order.ids[$0] }), rows: count, dimension: dimension)
        input.source.discardPages()
        var weights = [Double](repeating: 0, count: count)
        for (index, start) in starts.enumerated() {
            let end = index + 1 < count ? starts[index + 1] : tableRows
            weights[index] =
                counts.map { counts in (start..<end).reduce(0) { $0 + counts[order.ids[$1]] } } ?? Double(end - start)
        }
        self.weights = weights.contains { $0 > 0 } ? weights : weights.map { _ in 1 }
    }

    /// Splits with their errors; several in case that the best one's parts are larger than was thought.
    func solve() throws -> [(error: Double, split: HotColdSplit)] {
        cold.hasFixedRows ? [try byBits()] : try byShare()
    }

    /// The sums of the weighted errors of the first rows of the sample, from none to all.
    private func errorSums(_ inner: InnerMethod, _ range: Range<Int>, budget: Int? = nil) throws -> [Double] {
        let values = try sample.sliced(range)
        let copies = try inner.compress(values, budget: budget, progress: watch)
        var errors = [Double](repeating: 0, count: range.count)
        try errors.withUnsafeMutableBufferPointer { errors in
            guard let base = errors.baseAddress else { return }
            let target = SharedPointer(base)
            try RowReader.forEachBlock(of: values, and: copies, progress: watch) { first, count, values, copies in
                guard let copies else { return }
                for index in 0..<count {
                    let (row, copy) = (values.row(index), copies.row(index))
                    var error = 0.0
                    for column in 0..<dimension {
                        let difference = Double(row[column]) - Double(copy[column])
                        error += difference * difference
                    }
                    target.base[first + index] = error
                }
            }
        }
        var sum = 0.0
        return [0]
            + errors.enumerated().map { index, error in
                sum += weights[range.lowerBound + index] * error
                return sum
            }
    }

    // MARK: - Where every row takes the same bytes

    /// Tries every pair of widths, each with as many hot rows as there are bytes for.
    private func byBits() throws -> (error: Double, split: HotColdSplit) {
        let (hots, colds) = (try hot.choices(), try cold.choices())
        var known: [String: [Double]] = [:]
        func sums(_ inner: InnerMethod) throws -> [Double] {
            if let sums = known[inner.description] { return sums }
            let sums = try errorSums(inner, 0..<sample.rows)
            known[inner.description] = sums
            return sums
        }
        var best: (error: Double, split: HotColdSplit)?
        for cold in colds {
            for hot in hots {
                guard let hotRows = try mostHotRows(hot, cold) else { continue }
                let share = Double(hotRows) / Double(max(rows, 1))
                let edge = Int((share * Double(sample.rows)).rounded(.toNearestOrEven))
                let (hotSums, coldSums) = (try sums(hot), try sums(cold))
                let error = hotSums[edge] + coldSums[sample.rows] - coldSums[edge]
                if error < best?.error ?? .infinity {
                    best = (error, split(hotRows, hot, cold, coldBytes: nil))
                }
            }
        }
        guard let best else {
            let floor = try colds.map { try $0.bytes(rows: rows, dimension: dimension) }.min() ?? 0
            throw EmbedCompressError.budget(method: "hot_cold", budgetBytes: budget, floorBytes: floor)
        }
        return best
    }

    /// The most hot rows; nil if not even cold rows fit.
    private func mostHotRows(_ hot: InnerMethod, _ cold: InnerMethod) throws -> Int? {
        if try hot.bytes(rows: rows, dimension: dimension) <= budget { return rows }
        guard try cold.bytes(rows: rows, dimension: dimension) <= budget else { return nil }
        return try lastWhere(0, rows) { hotRows in
            let parts = Checked.sum(
                try hot.bytes(rows: hotRows, dimension: dimension),
                try cold.bytes(rows: rows - hotRows, dimension: dimension), mapBytes)
            return parts.map { $0 <= budget } ?? false
        }
    }

    // MARK: - Where the cold rows take what is left

    /// Tries some shares of hot rows.
    private func byShare() throws -> [(error: Double, split: HotColdSplit)] {
        var found: [(error: Double, split: HotColdSplit)] = []
        for hot in try hot.choices([8, 6, 4]) {
            for share in Self.shares {
                let hotRows = Int((share * Double(rows)).rounded(.toNearestOrEven))
                let (hotBytes, overflow) = try hot.bytes(rows: hotRows, dimension: dimension)
                    .addingReportingOverflow(mapBytes)
                guard !overflow, hotBytes < budget else { continue }
                let error = try error(hot, share, coldBytes: budget - hotBytes)
                if error < .infinity {
                    found.append((error, split(hotRows, hot, cold, coldBytes: budget - hotBytes)))
                }
            }
        }
        let none = split(0, hot, cold, coldBytes: budget)
        return found + [(try error(hot, 0, coldBytes: budget), none)]
    }

    /// The sample's error where cold rows have so many bytes; infinity if they can't do with them.
    private func error(_ hot: InnerMethod, _ share: Double, coldBytes: Int) throws -> Double {
        let edge = Int((share * Double(sample.rows)).rounded(.toNearestOrEven))
        // Codebooks are as large for the sample as for the table.
        let books = min(4 * dimension << Self.bookBits, coldBytes / 2)
        let scaled = books + Int(Double(coldBytes - books) * Double(sample.rows) / Double(max(rows, 1)))
        do {
            let cold = try errorSums(cold, edge..<sample.rows, budget: scaled).last ?? 0
            return cold + (edge > 0 ? try errorSums(hot, 0..<edge).last ?? 0 : 0)
        } catch EmbedCompressError.budget {
            return .infinity
        }
    }

    private func split(_ hotRows: Int, _ hot: InnerMethod, _ cold: InnerMethod, coldBytes: Int?) -> HotColdSplit {
        let scaled = Double(hotRows) / (Double(rows) / Double(max(tableRows, 1)))
        return HotColdSplit(
            order: order,
            hotRows: rows == tableRows ? hotRows : min(tableRows, Int(scaled.rounded(.toNearestOrEven))), hot: hot,
            cold: cold, coldBytes: coldBytes)
    }
}
