/// A store whose rows lie one after the other in one array.
protocol RowStore: Node {
    var memory: RowMemory { get }
    var spacing: RowSpacing { get }
    /// This store with its rows in `bytes`, which hold all of them with that spacing.
    func with(_ bytes: Bytes, spacing: RowSpacing) throws -> Self
}

extension RowStore {
    func discardPages() { memory.bytes.discardPages() }

    func aligned(to rowAlignment: Int, progress: ProgressCounter) throws -> any Node {
        let target = try RowSpacing(unpaddedBytes: spacing.unpaddedBytes, alignment: rowAlignment)
        let address = UInt(bitPattern: memory.bytes.pointer)
        if spacing.alignment == rowAlignment, address % UInt(RowSpacing.cacheLine) == 0 {
            progress.advance(by: rows)
            try progress.report()
            return self
        }
        guard let byteCount = Checked.product(rows, target.rowBytes) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        let bytes = Bytes(try ByteStorage.allocate(byteCount))
        let (source, copied) = (memory.bytes.pointer, spacing.unpaddedBytes)
        try withExtendedLifetime(memory) {
            try Parallel.forEach(count: rows, grain: max((1 << 20) / copied, 1), progress: progress) { range in
                for row in range {
                    (bytes.mutablePointer + row * target.rowBytes).copyMemory(
                        from: source + row * spacing.rowBytes, byteCount: copied)
                }
            }
        }
        return try with(bytes, spacing: target)
    }
}

extension Table {
    /// This table with each row at a multiple of `rowAlignment` bytes, and zeros between the end of a row and the start
    /// of the next: 64 makes a row lie in as few cache lines as its bytes allow, and 1 takes padding away. Rows are
    /// copied, into memory that starts at a cache line, unless they lie so already. Files keep the alignment.
    ///
    /// - Parameters:
    ///   - rowAlignment: 1, 2, 4, 8, 16, 32 or 64.
    ///   - progress: Told of rows.
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for another alignment.
    public func aligned(to rowAlignment: Int, progress callback: ProgressCallback? = nil) throws -> Table {
        let progress = ProgressCounter(total: root.storeRows, callback: callback)
        return try reading { Table(try root.aligned(to: rowAlignment, progress: progress)) }
    }
}

extension Node {
    /// Rows of every store.
    fileprivate var storeRows: Int {
        self is any RowStore
            ? rows : children.reduce(0) { $0 + (($1.expression as? any Node)?.storeRows ?? 0) }
    }
}
