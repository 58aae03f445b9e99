extension Table {
    /// Reads a byte of every cache line that the rows of `ids` occupy, and does nothing else: with the ids checked, the
    /// rows asked for and the work shared out among threads as in a lookup, the time that no lookup goes below.
    ///
    /// Codebooks, scales and biases that rows share are left out: they stay in the caches.
    ///
    /// - Returns: The sum of the bytes at 0, 64, 128 and so on, and of the last one, of each row.
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` unless the table is a single store of rows, and
    ///   ``EmbedCompressError/invalidID(position:id:rows:)``.
    package func touch(_ ids: IDs) throws -> Int {
        let memory = try rowMemory()
        _ = try check(ids, .raise)
        let total = AtomicInt()
        let rows = rows
        try reading {
            forEachBlock(count: ids.count) { start, count, scratch in
                ids.copy(from: start, count: count, rows: rows, to: scratch)
                total.add(memory.places.touch(IDBlock(ids: scratch, count: count)))
            }
        }
        return total.value
    }

    private func rowMemory() throws -> RowMemory {
        guard let store = root as? any RowStore else {
            throw EmbedCompressError.invalidArgument(
                "only a table that is one store of rows (dense, uniform or codebook) can be touched, not \(root.summary)"
            )
        }
        return store.memory
    }
}
