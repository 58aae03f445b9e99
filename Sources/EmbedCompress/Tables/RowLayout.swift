/// Where the rows of a store lie among cache lines of 64 bytes, and where they would lie at other alignments.
public struct RowLayout: Sendable, Equatable {
    /// The fields that lead to the store, with dots between them: "" for the whole table, "inner", "inner.inner".
    public let path: String
    public let rows: Int
    /// Bytes of a row without padding.
    public let unpaddedRowBytes: Int
    /// What the rows have where they are, at the address at which they are.
    public let current: Placement
    /// What ``Table/aligned(to:progress:)`` would give, for 1, 16, 32 and 64 bytes.
    public let choices: [Placement]

    /// What an alignment means.
    public struct Placement: Sendable, Equatable {
        public let rowAlignment: Int
        /// From the start of one row to the start of the next.
        public let rowBytes: Int
        /// The mean number of cache lines that a row lies in, its padding left out; 0 without rows.
        public let linesPerRow: Double
        /// Bytes of the store.
        public let storedBytes: Int
    }

    init(_ store: some RowStore, path: String) throws {
        let bytes = store.spacing.unpaddedBytes
        func placement(_ spacing: RowSpacing, address: UInt) throws -> Placement {
            guard let padded = Checked.product(store.rows, spacing.rowBytes),
                let stored = Checked.sum(store.ownBytes - store.memory.bytes.count, padded)
            else { throw EmbedCompressError.outOfMemory(bytes: Int.max) }
            return Placement(
                rowAlignment: spacing.alignment, rowBytes: spacing.rowBytes,
                linesPerRow: spacing.linesPerRow(address: address, rows: store.rows), storedBytes: stored)
        }
        self.path = path
        rows = store.rows
        unpaddedRowBytes = bytes
        current = try placement(store.spacing, address: UInt(bitPattern: store.memory.bytes.pointer))
        choices = try [1, 16, 32, 64].map {
            try placement(RowSpacing(unpaddedBytes: bytes, alignment: $0), address: 0)
        }
    }
}

extension Table {
    /// Where the rows of each store lie among cache lines, from the outermost store to the innermost.
    public func rowLayouts() throws -> [RowLayout] { try root.rowLayouts(path: "") }
}

extension TableExpression {
    fileprivate func rowLayouts(path: String) throws -> [RowLayout] {
        if let store = self as? any RowStore { return [try RowLayout(store, path: path)] }
        return try children.flatMap { child in
            try child.expression.rowLayouts(path: path.isEmpty ? child.name : path + "." + child.name)
        }
    }
}
