/// Prune: the values of the largest magnitude in the whole table stay, all others become zeros.
///
/// Magnitude pruning as in DeepLight (Deng et al., WSDM 2021, arXiv 2002.06987) and the pruner of the VLDB study (arXiv
/// 2311.15578), which stores 8 bytes a value in CSR or 12 in COO. Here the threshold is exact, and a value has 1, 2 or 4
/// bytes for its column and 2 or 4 for itself; the smaller of CSR and COO is taken. With weights, a magnitude counts times
/// the square root of its weight, which leaves the least weighted squared error. Of equal magnitudes at the threshold
/// those of the first rows stay, as many as there is room for. Zeros are never stored.
///
/// Four passes over the table, and 16 bytes for each row of memory beside the result.
struct Pruning {
    let input: CompressionInput
    let progress: ProgressCounter

    private var rows: Int { input.source.rows }
    private var dimension: Int { input.source.dimension }

    /// - Parameters:
    ///   - type: nil: f16 if every value fits, f32 if not.
    ///   - most: How many values of a type may stay.
    func compress(type: ScaleType?, most: (ScaleType) throws -> Int) throws -> Sparse {
        let (counts, overflows) = try highBits(type)
        let element = type ?? (overflows ? .float32 : .float16)
        if type == nil, overflows { input.wideScales.add(.beyondHalves) }
        let kept = min(try most(element), counts.dropFirst().reduce(0, +))
        let threshold = try threshold(keeping: kept, counts)
        let layout = PruneSize(rows: rows, dimension: dimension, element: element).layout(nonzeros: kept)
        let builder = try SparseBuilder(layout, nonzeros: kept, rows: rows, dimension: dimension, element: element)
        try fill(builder, kept: kept, threshold)
        return try builder.sparse()
    }

    private func forEachBlock(
        _ body: (_ first: Int, _ count: Int, _ keys: PruneKeys) throws -> Void
    ) throws {
        let weightColumns = input.weights?.dimension ?? 0
        try RowReader.forEachBlock(of: input.source, and: input.weights, progress: progress) {
            first, count, values, weights in
            let keys = PruneKeys(
                values: values, weights: weights, dimension: dimension, areByRow: weightColumns != dimension)
            try body(first, count, keys)
        }
    }

    // MARK: - The threshold

    /// Values with keys above `key` stay, and the first `ties` of those with that key.
    private struct Threshold {
        let key: UInt32
        let ties: Int
    }

    /// How many keys have each value of their highest bits, of which 0 is that of zeros. Checks every value.
    private func highBits(_ type: ScaleType?) throws -> (counts: [Int], overflows: Bool) {
        let histogram = PruneHistogram(bins: PruneKeys.highCount)
        let overflows = AtomicInt()
        try forEachBlock { first, count, keys in
            for index in 0..<count {
                let row = RowValues(base: keys.values.row(index), count: dimension)
                guard let extent = row.extent() else { throw nonFinite(row, row: first + index) }
                guard max(-extent.minimum, extent.maximum) >= leastHalfOverflow else { continue }
                if type == .float16 { throw halfOverflow(row, row: first + index) }
                overflows.add(1)
            }
            try histogram.use { bins in keys.countHighBits(rows: count, in: bins) }
        }
        return (try histogram.total(), overflows.value > 0)
    }

    private func threshold(keeping kept: Int, _ counts: [Int]) throws -> Threshold {
        func select(_ counts: [Int], _ kept: Int) -> (bin: Int, above: Int) {
            var above = 0
            for bin in counts.indices.reversed() {
                if above + counts[bin] >= kept { return (bin, above) }
                above += counts[bin]
            }
            return (0, above)
        }
        guard kept > 0 else {
            // Nothing is above the largest key.
            try forEachBlock { _, _, _ in }
            return Threshold(key: .max, ties: 0)
        }
        let (high, above) = select(counts, kept)
        let histogram = PruneHistogram(bins: PruneKeys.lowCount)
        try forEachBlock { _, count, keys in
            try histogram.use { bins in keys.countLowBits(rows: count, high: UInt32(high), in: bins) }
        }
        let (low, aboveLow) = select(try histogram.total(), kept - above)
        return Threshold(key: PruneKeys.key(high: UInt32(high), low: UInt32(low)), ties: kept - above - aboveLow)
    }

    // MARK: - The result

    private func fill(_ builder: SparseBuilder, kept: Int, _ threshold: Threshold) throws {
        guard let bytes = Checked.product(rows, 16).flatMap({ Checked.sum($0, 8) }) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        let memory = try ByteStorage.allocate(bytes)
        let starts = memory.base.assumingMemoryBound(to: Int.self)
        let ties = starts + (rows + 1)
        try forEachBlock { first, count, keys in
            for index in 0..<count {
                (starts[first + index], ties[first + index]) = keys.counts(index, above: threshold.key)
            }
        }
        // From counts to where a row starts, and how many ties it keeps.
        var (position, left) = (0, threshold.ties)
        for row in 0..<rows {
            let count = min(ties[row], left)
            let above = starts[row]
            (starts[row], ties[row]) = (position, count)
            position += above + count
            left -= count
        }
        guard position == kept else { throw sourceChanged(nil) }
        starts[rows] = kept
        try forEachBlock { first, count, keys in
            try checkFinite(keys.values, count, dimension, firstRow: first)
            for index in 0..<count {
                let row = first + index
                builder.startRow(row, at: starts[row])
                let positions = starts[row]..<starts[row + 1]
                guard
                    keys.put(index, above: threshold.key, ties: ties[row], of: row, at: positions, in: builder)
                else { throw sourceChanged(row) }
            }
        }
        builder.startRow(rows, at: kept)
        withExtendedLifetime(memory) {}
    }
}

/// What pruned tables of a shape need.
struct PruneSize {
    let rows: Int
    let dimension: Int
    let element: ScaleType

    func bytes(_ nonzeros: Int, _ layout: Sparse.Layout) -> Int {
        Sparse.bytes(nonzeros: nonzeros, rows: rows, dimension: dimension, layout: layout, element: element) ?? Int.max
    }

    /// The layout of fewer bytes.
    func layout(nonzeros: Int) -> Sparse.Layout {
        bytes(nonzeros, .compressedRows) <= bytes(nonzeros, .coordinates) ? .compressedRows : .coordinates
    }

    /// The most values that so many bytes have room for.
    func most(budget: Int) -> Int {
        // One more value never needs fewer bytes, so the bound can be found by halving.
        func most(_ layout: Sparse.Layout) -> Int {
            var (low, high) = (0, (Checked.product(rows, dimension) ?? Int.max - 1) + 1)
            while high - low > 1 {
                let middle = low + (high - low) / 2
                if bytes(middle, layout) <= budget { low = middle } else { high = middle }
            }
            return low
        }
        return max(most(.compressedRows), most(.coordinates))
    }
}

extension Method {
    static let prune = Method(
        name: "prune", title: "Prune", family: .pruning, paper: "Deng et al. 2021, arXiv 2002.06987",
        summary: "the values of the largest magnitude, and zeros for all others",
        bytesPerRow: "kept * (column bytes + 2 for f16, 4 for f32) + 4 in CSR, or kept * (4 more) in COO",
        cost: "four passes over the table",
        options: [
            Option("density", .number(0...1), default: .number(0.1), "share of values that stay"),
            Option(
                "value_dtype", .choice(["auto"] + ScaleType.allCases.map(\.rawValue)), default: .string("auto"),
                "type of values; auto is f16 unless a value is too large for it, or that loses more than a 64th of the rows' "
                    + "norm"),
            Option(
                "budget", .budget, default: .null, "most bytes of the result; chooses how many stay"),
        ],
        takesWeights: true, passes: 4
    ) { input, options, progress in
        let (rows, dimension) = (input.source.rows, input.source.dimension)
        let budget = try options.optionalInteger("budget")
        if budget != nil, options.isGiven("density") {
            throw EmbedCompressError.invalidArgument("give prune either a density or a budget, not both")
        }
        let density = try options.number("density")
        func most(_ element: ScaleType) throws -> Int {
            guard let budget else { return Int((density * Double(rows) * Double(dimension)).rounded()) }
            let size = PruneSize(rows: rows, dimension: dimension, element: element)
            let most = size.most(budget: budget)
            if most == 0, rows > 0 {
                let least = min(size.bytes(1, .compressedRows), size.bytes(1, .coordinates))
                throw EmbedCompressError.budget(method: "prune", budgetBytes: budget, floorBytes: least)
            }
            return most
        }
        let given = ScaleType(rawValue: try options.string("value_dtype"))
        let chosen = try ScaleChoice.withNumberType("value_dtype", options, of: input) { element in
            _ = try most(element)
            return element
        }
        // f16 that was not asked for still gives way to f32 where a row that was not looked at has larger values.
        let type = given ?? (chosen == .float32 ? chosen : nil)
        return FinishedTable(node: try Pruning(input: input, progress: progress).compress(type: type, most: most))
    }
}
