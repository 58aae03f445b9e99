/// KMEANS-CLS: rows in clusters, and a codebook for each cluster.
///
/// Guan et al. 2019: tier one is k-means of rows, tier two k-means of the values of a cluster's rows, so that a row costs
/// its codes and the index of its cluster. Unless told otherwise there are as many clusters as make the table no larger
/// than the uniform methods' with scales of the type of the entries, and at most 65,536. Tier one is Lloyd's algorithm on
/// up to 256 MiB of rows, evenly spaced in the table, in two steps where there are many clusters; tier two is exact for
/// clusters of up to 4096 values, and else for some thousands of means that stand for them.
///
/// Bytes: `rows * (ceil(d * bits / 8) + index bytes) + clusters * 2^bits * (2 or 4)`.
struct KMeansClusters: RowCompressor {
    let layout: Codebook.Layout
    /// The cluster of each row of the table, UInt32.
    private let assignments: Bytes
    /// Each cluster's entries and bounds, as ``SortedBook`` has them.
    private let books: Bytes
    private let codebooks: Bytes

    /// Decides clusters and codebooks; reads each row three times.
    init(_ input: CompressionInput, layout: Codebook.Layout, rounds: Int, seed: Int, progress: ProgressCounter) throws {
        self.layout = layout
        let rows = input.source.rows
        let count = layout.entryCount
        guard let assignmentBytes = Checked.product(rows, 4),
            let bookBytes = Checked.product(layout.clusters, 2, count, 4)
        else { throw EmbedCompressError.outOfMemory(bytes: Int.max) }
        assignments = Bytes(try ByteStorage.allocate(assignmentBytes))
        books = Bytes(try ByteStorage.allocate(bookBytes))
        codebooks = Bytes(try ByteStorage.allocate(Checked.product(layout.clusters, layout.bookBytes) ?? Int.max))
        guard rows > 0 else { return }
        let clusters = try Self.clusters(input, layout, rounds: rounds, seed: seed, progress: progress)
        let indices = assignments.mutablePointer.assumingMemoryBound(to: UInt32.self)
        try RowReader.forEachBlock(of: input.source, progress: progress) { first, rows, values in
            let columns = RowKMeans.stride(dimension: layout.dimension)
            Scratch.with(columns, of: Float.self) { row in
                row.update(repeating: 0, count: columns)
                for index in 0..<rows {
                    row.update(from: values.row(index), count: layout.dimension)
                    indices[first + index] = UInt32(truncatingIfNeeded: clusters.cluster(of: row))
                }
            }
        }
        let context = LookupContext(onInvalid: .raise)
        let members = try ClusterMembers(count: rows, clusters: layout.clusters) { Int(indices[$0]) }
        let floats = books.mutablePointer.assumingMemoryBound(to: Float.self)
        try ClusterBooks(input: input, layout: layout, members: members).solve(
            to: floats, context: context, progress: progress)
        _ = try context.finish()
        try progress.report()
        for cluster in 0..<layout.clusters {
            SortedBook(stored: floats + cluster * 2 * count, count: count).store(
                layout.entryType, to: codebooks.mutablePointer + cluster * layout.bookBytes)
        }
    }

    /// Checks every row, and divides those that fit in memory into clusters.
    private static func clusters(
        _ input: CompressionInput, _ layout: Codebook.Layout, rounds: Int, seed: Int, progress: ProgressCounter
    ) throws -> RowClusters {
        let rows = input.source.rows
        let columns = RowKMeans.stride(dimension: layout.dimension)
        let sampled = min(rows, max(mostFloats / columns, 16 * layout.clusters))
        guard let sampleBytes = Checked.product(sampled, columns + 1, 4) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        let sample = try ByteStorage.allocate(sampleBytes)
        let data = sample.base.assumingMemoryBound(to: Float.self)
        let rowWeights = data + sampled * columns
        let encoder = CodebookRows(layout: layout, firstRow: input.firstRow)
        // Row r is number r * sampled / rows of the sample, where that is more than its neighbour's.
        func place(_ row: Int) -> Int { rows.dividingFullWidth(row.multipliedFullWidth(by: sampled)).quotient }
        try RowReader.forEachBlock(of: input.source, and: input.weights, progress: progress) {
            first, count, values, weights in
            for index in 0..<count {
                let row = RowValues(base: values.row(index), count: layout.dimension)
                try encoder.check(row, index: first + index)
                let target = place(first + index)
                guard first + index == 0 || target != place(first + index - 1) else { continue }
                (data + target * columns).update(from: row.base, count: layout.dimension)
                guard let weights, let source = input.weights else { continue }
                var sum: Float = 0
                for column in 0..<source.dimension { sum += weights.row(index)[column] }
                rowWeights[target] = sum
            }
        }
        return try withExtendedLifetime(sample) {
            try RowClusters(
                data, count: sampled, weights: input.weights == nil ? nil : UnsafePointer(rowWeights),
                dimension: layout.dimension, clusters: layout.clusters, rounds: rounds, seed: seed,
                watch: progress.watch)
        }
    }

    private static let mostFloats = 1 << 26

    func compress(_ input: CompressionInput, tally: FallbackTally, progress: ProgressCounter) throws -> any Node {
        let rows = input.source.rows
        guard let byteCount = Checked.product(rows, layout.rowBytes) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        let bytes = Bytes(try ByteStorage.allocate(byteCount))
        let target = bytes.mutablePointer
        let encoder = CodebookRows(layout: layout, firstRow: input.firstRow)
        let count = layout.entryCount
        try withExtendedLifetime((assignments.storage, books.storage)) {
            let clusters = assignments.pointer.assumingMemoryBound(to: UInt32.self) + input.firstRow
            let floats = books.pointer.assumingMemoryBound(to: Float.self)
            try RowReader.forEachBlock(of: input.source, progress: progress) { first, rows, values in
                for index in 0..<rows {
                    let cluster = Int(clusters[first + index])
                    let row = RowValues(base: values.row(index), count: layout.dimension)
                    let place = target + (first + index) * layout.rowBytes
                    encoder.encode(
                        row, SortedBook(stored: floats + cluster * 2 * count, count: count), to: place)
                    encoder.store(cluster: cluster, to: place)
                }
            }
        }
        return try Codebook(bytes, rows: rows, layout: layout, codebooks: codebooks)
    }
}
