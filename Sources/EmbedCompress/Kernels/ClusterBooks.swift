/// The codebook of each cluster of rows: tier two of KMEANS-CLS.
///
/// Up to `exactValues` values of a cluster are sorted and solved exactly. More are counted into `bins` bins of equal
/// width over the cluster's range, each with its exact mean; neighbouring bins are joined while they hold less than
/// 1/2048 of the weight and of the range. What is solved exactly then are those means, so that no value lies further from
/// its stand-in than 1/2048 of the range. Two more readings of each row, no sampling, and memory that does not grow.
struct ClusterBooks {
    let input: CompressionInput
    let layout: Codebook.Layout
    let members: ClusterMembers

    private static let exactValues = 4096
    private static let bins = 65_536
    private static let pieces = 2048

    /// Rows in a reading.
    private var blockRows: Int { max(1, min(blockCapacity, 16_384 / layout.dimension)) }

    /// Writes each cluster's entries and bounds to `books`, `2 * entryCount` floats each.
    func solve(to books: UnsafeMutablePointer<Float>, context: LookupContext, progress: ProgressCounter) throws {
        let count = layout.entryCount
        let grain = max(1, min(16, layout.clusters / 64))
        try Parallel.forEach(count: layout.clusters, grain: grain, progress: progress.watch) { range in
            let solver = try ScalarKMeans(capacity: 2 * Self.exactValues + 16, clusters: count)
            for cluster in range {
                try members.with(cluster) { try load($0, into: solver, context) }
                if solver.count > 0 { solver.solve(clusters: count) }
                let zero = [0.0]
                zero.withUnsafeBufferPointer { zero in
                    _ = SortedBook(
                        solver.count > 0 ? solver.result : zero, count: count, type: layout.entryType,
                        space: books + cluster * 2 * count)
                }
                progress.advance(by: members.count(of: cluster))
            }
        }
    }

    private func load(
        _ rows: UnsafeBufferPointer<Int>, into solver: ScalarKMeans, _ context: LookupContext
    ) throws {
        solver.begin()
        guard !rows.isEmpty else { return }
        let values = rows.count.multipliedReportingOverflow(by: layout.dimension)
        guard values.overflow || values.partialValue > Self.exactValues else {
            return try Scratch.with(2 * values.partialValue, of: Float.self) { base in
                let weights = base + values.partialValue
                var place = 0
                try forEachValue(rows, context) { value, weight in
                    (base[place], weights[place]) = (value, weight)
                    place &+= 1
                }
                solver.load(base, weights: input.weights == nil ? nil : UnsafePointer(weights), count: place)
            }
        }
        var low = Float.infinity
        var high = -Float.infinity
        var weighed = 0.0
        try forEachValue(rows, context) { value, weight in
            low = min(low, value)
            high = max(high, value)
            weighed += Double(weight)
        }
        // Rows that could not be read say nothing.
        guard low <= high else { return }
        // Without any weight all values count alike.
        let isWeighted = weighed > 0
        let width = (Double(high) - Double(low)) / Double(Self.bins)
        try Scratch.with(Self.bins, of: SIMD2<Double>.self) { bins in
            bins.initialize(repeating: SIMD2(), count: Self.bins)
            let scale = width > 0 ? 1 / width : 0
            try forEachValue(rows, context) { value, weight in
                let weight = isWeighted ? Double(weight) : 1
                // A value that has changed since the extent was found may lie outside of it.
                let place = Int(max(0, min((Double(value) - Double(low)) * scale, Double(Self.bins - 1))))
                bins[place] += SIMD2(weight, weight * Double(value))
            }
            join(bins, into: solver)
        }
    }

    private func join(_ bins: UnsafePointer<SIMD2<Double>>, into solver: ScalarKMeans) {
        var all = 0.0
        for bin in 0..<Self.bins { all += bins[bin][0] }
        let most = all / Double(Self.pieces)
        var sums = SIMD2<Double>()
        var first = 0
        var isFirst = true
        for bin in 0..<Self.bins {
            if sums[0] == 0 { first = bin }
            sums += bins[bin]
            let isFull = sums[0] >= most || bin - first + 1 >= Self.bins / Self.pieces || bin == Self.bins - 1
            if isFull, sums[0] > 0 {
                solver.add(sums[1] / sums[0], weight: sums[0], isFirst: isFirst)
                isFirst = false
                sums = SIMD2()
            }
        }
        solver.finish()
    }

    /// Every value of the rows with its weight, which is 1 unless weights were given. Both are checked in each reading, as
    /// the source may be written to between two.
    @inline(__always)
    private func forEachValue(
        _ rows: UnsafeBufferPointer<Int>, _ context: LookupContext, _ body: (Float, Float) -> Void
    ) throws {
        let dimension = layout.dimension
        let weightColumns = input.weights?.dimension ?? 0
        try Scratch.with(blockRows * (dimension + weightColumns), of: Float.self) { values in
            try Scratch.with(blockRows, of: Int64.self) { ids in
                let weights = values + blockRows * dimension
                for start in stride(from: 0, to: rows.count, by: blockRows) {
                    let count = min(blockRows, rows.count - start)
                    for index in 0..<count { ids[index] = Int64(rows[start + index]) }
                    let block = IDBlock(ids: ids, count: count)
                    input.source.gather(block, into: RowBlock(base: values, stride: dimension), context: context)
                    input.weights?.gather(
                        block, into: RowBlock(base: weights, stride: weightColumns), context: context)
                    for index in 0..<count {
                        for column in 0..<dimension {
                            let weight =
                                weightColumns == 0
                                ? 1 : weights[weightColumns == 1 ? index : index &* dimension &+ column]
                            let value = values[index &* dimension &+ column]
                            guard value.isFinite, weight >= 0, weight < .infinity else {
                                throw sourceChanged(rows[start + index])
                            }
                            body(value, weight)
                        }
                    }
                }
            }
        }
    }
}
