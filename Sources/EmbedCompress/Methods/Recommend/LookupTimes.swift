/// How long a row's lookup takes, on one thread.
enum LookupTimes {
    /// Ids of a lookup, lookups of a turn, and most turns that are measured.
    private static let (idCount, batches, turns) = (4000, 8, 9)
    /// Nanoseconds after which a turn of a table ends, and all turns end: what takes so long is measured well enough.
    private static let enough = 20_000_000

    /// Processor nanoseconds of a row, by table; they take turns.
    ///
    /// - Parameters:
    ///   - tables: Of the same shape.
    ///   - uses: Ids are drawn by them; all alike if nil.
    static func nanosecondsPerRow(_ tables: [Table], uses: RowUses?, seed: Int) throws -> [Double] {
        guard let first = tables.first else { return [] }
        var random = SeededRandom(seed: seed)
        let count = idCount * batches
        let rows = uses?.randomRows(count, &random) ?? (0..<count).map { _ in random.below(first.rows) }
        let ids = rows.map(Int64.init)
        let target = Bytes(try ByteStorage.allocate(idCount * first.dimension * MemoryLayout<Float>.size))
        let output = target.mutablePointer.assumingMemoryBound(to: Float.self)
        let threads = Parallel.threadCount
        Parallel.threadCount = 1
        defer { Parallel.threadCount = threads }
        var taken = [[Double]](repeating: [], count: tables.count)
        try ids.withUnsafeBytes { memory in
            func turn(_ table: Table) throws -> Double {
                let start = threadNanoseconds()
                var (elapsed, done) = (0, 0)
                while done < batches, elapsed < enough {
                    let place = memory.baseAddress.map { $0 + done * idCount * MemoryLayout<Int64>.size }
                    try table.lookup(IDs(base: place, count: idCount, width: 8), onInvalid: .raise, into: output)
                    done += 1
                    elapsed = threadNanoseconds() - start
                }
                return Double(elapsed) / Double(done * idCount)
            }
            // The first turn warms up.
            for table in tables { _ = try turn(table) }
            let start = threadNanoseconds()
            for _ in 0..<turns where threadNanoseconds() - start < tables.count * enough {
                for (index, table) in tables.enumerated() { taken[index].append(try turn(table)) }
            }
        }
        return withExtendedLifetime(target) { taken.map { $0.sorted()[$0.count / 2] } }
    }
}
