/// Tables that are looked up together: the case of a recommender, whose every sample has ids of many features.
///
/// Ids and offsets of a call are laid out as in FBGEMM's table-batched embeddings and torchrec's `KeyedJaggedTensor`:
/// the bags of the first feature, one for each sample of the batch, then those of the second, and so on. The output has
/// a row for each sample, in which the columns of a feature follow those of the features before it.
public struct TableSet: Sendable {
    public let tables: [Table]
    /// The table of each feature, as an index into `tables`.
    public let features: [Int]
    /// Columns of the output: the sum of the dimensions of the features' tables.
    public let dimension: Int
    /// Each feature's first column in the output.
    public let columns: [Int]

    /// - Parameter features: The table of each feature, as an index into `tables`; nil for one feature a table. Several
    ///   features may look up one table.
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for no features, or one without a table.
    public init(_ tables: [Table], features: [Int]? = nil) throws {
        let features = features ?? Array(tables.indices)
        if features.isEmpty { throw EmbedCompressError.invalidArgument("a table set needs at least one feature") }
        var columns: [Int] = []
        var dimension = 0
        for (feature, index) in features.enumerated() {
            guard tables.indices.contains(index) else {
                throw EmbedCompressError.invalidArgument(
                    "feature \(feature) has the table \(index), but there are \(tables.count) tables")
            }
            columns.append(dimension)
            guard let next = Checked.sum(dimension, tables[index].dimension) else {
                throw EmbedCompressError.invalidArgument("the features' dimensions add up to too many columns")
            }
            dimension = next
        }
        (self.tables, self.features, self.columns, self.dimension) = (tables, features, columns, dimension)
    }

    /// Pooled rows of every feature. With `batch` samples, the ids of feature `f` and sample `s` are
    /// `offsets[f * batch + s] ..< offsets[f * batch + s + 1]`. An empty bag gives zeros.
    ///
    /// - Parameters:
    ///   - offsets: `features.count * batch + 1` of them, the last being the number of ids.
    ///   - weights: One for each id; only with `.sum`.
    /// - Returns: `batch * dimension` floats.
    /// - Throws: ``EmbedCompressError/invalidFeatureID(feature:position:id:rows:)`` before anything is written, or
    ///   ``EmbedCompressError/invalidArgument(_:)`` for offsets that don't start at 0, decrease, don't end at the number
    ///   of ids, or are not as many as the features ask for.
    public func bag(
        _ ids: [Int], offsets: [Int], pooling: Pooling = .sum, weights: [Float]? = nil, onInvalid: InvalidIDs = .raise
    ) throws -> [Float] {
        try IDs.with(ids) { ids in
            try IDs.with(offsets) { offsets in
                try bag(ids, offsets: offsets, pooling: pooling, weights: weights, onInvalid: onInvalid)
            }
        }
    }

    /// The same, of ids and offsets of any integer types in any collections.
    @inlinable
    public func bag<Indices: Collection, Offsets: Collection>(
        _ ids: Indices, offsets: Offsets, pooling: Pooling = .sum, weights: [Float]? = nil,
        onInvalid: InvalidIDs = .raise
    ) throws -> [Float] where Indices.Element: BinaryInteger, Offsets.Element: BinaryInteger {
        try IDs.with(ids) { ids in
            try IDs.with(offsets) { offsets in
                try bag(ids, offsets: offsets, pooling: pooling, weights: weights, onInvalid: onInvalid)
            }
        }
    }

    @usableFromInline
    package func bag(
        _ ids: IDs, offsets: IDs, pooling: Pooling, weights: [Float]?, onInvalid: InvalidIDs
    ) throws -> [Float] {
        try Bags.with(
            ids, offsets: offsets, weights: weights, includesLastOffset: true, paddingID: nil, pooling: pooling,
            onInvalid: onInvalid
        ) { bags in
            try Table.floats(try batch(bags), dimension) { try bag(bags, into: $0) }
        }
    }

    /// The same in a caller's memory, for bags that include the last offset and have no padding.
    package func bag(_ bags: Bags, into output: UnsafeMutablePointer<Float>) throws {
        let batch = try batch(bags)
        try bags.check()
        try MappedFile.reading(tables.flatMap(\.root.storages)) { try pool(bags, batch: batch, into: output) }
    }

    private func pool(_ bags: Bags, batch: Int, into output: UnsafeMutablePointer<Float>) throws {
        let zeros = try checkIDs(bags, batch: batch)
        let parts = features.indices.map { feature in
            PooledFeature(
                table: tables[features[feature]], bags: bags.feature(feature, batch: batch),
                context: LookupContext(onInvalid: bags.onInvalid), output: output + columns[feature],
                outputStride: dimension)
        }
        parts.withUnsafeBufferPointer { PooledFeature.pool($0) }
        for (feature, part) in parts.enumerated() {
            part.table.countInvalid((zeros?[feature] ?? 0) + (try part.context.finish()))
        }
    }

    /// How many samples there are bags for.
    package func batch(_ bags: Bags) throws -> Int {
        if !bags.includesLastOffset || bags.paddingID >= 0 {
            throw EmbedCompressError.invalidArgument("bags of several tables include the last offset, and no padding")
        }
        guard bags.offsets.count > 0, bags.count % features.count == 0 else {
            throw EmbedCompressError.invalidArgument(
                "there must be as many offsets as features times samples, and one more; \(bags.offsets.count) do not "
                    + "go with \(features.count) features")
        }
        return bags.count / features.count
    }

    /// Invalid ids of each feature, which are an error unless the caller asked for zeros; nil for none at all.
    private func checkIDs(_ bags: Bags, batch: Int) throws -> [Int]? {
        func ids(_ feature: Int) -> Range<Int> {
            let start = bags.start(feature * batch)
            return start..<max(bags.start((feature + 1) * batch), start)
        }
        let found = AtomicInt()
        Parallel.forEach(count: bags.ids.count, grain: 16_384, leastChunks: leastParallelChunks) { chunk in
            for (feature, index) in features.enumerated() {
                let part = ids(feature).clamped(to: chunk)
                if !part.isEmpty, !bags.ids[part].areValid(rows: tables[index].rows) { found.value = 1 }
            }
        }
        if found.value == 0 { return nil }
        return try features.enumerated().map { feature, index in
            let (part, rows) = (ids(feature), tables[index].rows)
            guard let invalid = bags.ids[part].invalid(rows: rows) else { return 0 }
            let position = part.lowerBound + invalid.first
            if bags.onInvalid == .raise {
                throw EmbedCompressError.invalidFeatureID(
                    feature: feature, position: position, id: bags.ids[position], rows: rows)
            }
            return invalid.count
        }
    }
}

extension Bags {
    /// The bags of one feature out of those of all.
    fileprivate func feature(_ feature: Int, batch: Int) -> Bags {
        Bags(
            ids: ids, offsets: offsets[feature * batch..<(feature + 1) * batch + 1], weights: weights,
            includesLastOffset: true, paddingID: -1, pooling: pooling, onInvalid: onInvalid)
    }
}
