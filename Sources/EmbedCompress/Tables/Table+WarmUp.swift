extension Table {
    /// Reads a byte of every page of the table's arrays, on all threads: lookups in a table that is mapped from a file
    /// then wait for no disk, as long as the system keeps the pages in memory.
    ///
    /// - Parameter progress: Told of bytes.
    /// - Returns: The bytes of the pages' arrays, which are those of the table.
    @discardableResult
    public func warmUp(progress callback: ProgressCallback? = nil) throws -> Int {
        let arrays = parts().arrays.map(\.bytes)
        let total = arrays.reduce(0) { $0 + $1.count }
        let progress = ProgressCounter(total: total, callback: callback)
        try reading { for bytes in arrays { try bytes.readPages(progress: progress) } }
        return total
    }
}

extension Bytes {
    /// Between two pieces of this size a long reading can be stopped.
    private static let piece = 4 << 20

    fileprivate func readPages(progress: ProgressCounter) throws {
        let sum = AtomicInt()
        try Parallel.forEach(count: count, grain: Self.piece, progress: progress) { part in
            guard let bytes = range(part.lowerBound, part.count) else { return }
            bytes.requestPages()
            sum.add(bytes.sumOfPages())
        }
    }
}
