// Routes with one inner table, made by name; methods of `Table` make the same.

extension Rotate {
    /// The rows of a table, rotated at random, and then moved.
    ///
    /// - Parameters:
    ///   - seed: Of the rotation, at least 0.
    ///   - direction: `.inverse` turns rows back that the seed's rotation has turned.
    ///   - offset: What is then added to each row: `dimension` numbers; nil for nothing.
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for a negative seed, or an offset of another size.
    public init(_ table: Table, seed: Int, direction: Direction = .inverse, offset: [Float]? = nil) throws {
        guard seed >= 0 else { throw EmbedCompressError.invalidArgument("seed must not be negative, not \(seed)") }
        let bytes = try offset.map { try $0.withUnsafeBytes { try Bytes(copying: $0) } }
        try self.init(inner: table.root, seed: seed, direction: direction, offset: bytes)
    }
}

extension Normalize {
    /// The rows of a table, each divided by its norm.
    public init(_ table: Table) throws { try self.init(table.root) }
}

extension Remap {
    /// `rows` ids over a table: `id % modulus`.
    ///
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for a modulus below 1 or above the table's rows.
    public init(_ table: Table, rows: Int, modulo modulus: Int) throws {
        try self.init(.modulo(modulus: modulus, offset: 0), rows: rows, inner: table.root)
    }

    /// `rows` ids over a table: `id / divisor`.
    ///
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for a divisor below 1, or with which ids have no row.
    public init(_ table: Table, rows: Int, dividedBy divisor: Int) throws {
        try self.init(.quotient(divisor: divisor, offset: 0), rows: rows, inner: table.root)
    }

    /// `rows` ids over a table of at most 2^31 rows, each of which goes to a row that looks random; see
    /// ``Table/remapped(rows:hashedWith:)``.
    ///
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for a negative seed, or a table of other sizes.
    public init(_ table: Table, rows: Int, hashedWith seed: Int) throws {
        guard seed >= 0 else { throw EmbedCompressError.invalidArgument("seed must not be negative, not \(seed)") }
        try self.init(.hash(seed: seed, offset: 0), rows: rows, inner: table.root)
    }

    /// `rows` ids over a table: `map[id / blockRows] * blockRows + id % blockRows`, where an entry of -1 stands for
    /// zeros. The map is packed to the bits that it needs.
    ///
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for a map of another size, or an entry that is no row or block.
    public init(_ table: Table, rows: Int, through map: [Int], blockRows: Int = 1) throws {
        self = try map.withUnsafeBufferPointer {
            try Remap(map: IntegerArray($0), blockRows: blockRows, rows: rows, inner: table.root)
        }
    }
}
