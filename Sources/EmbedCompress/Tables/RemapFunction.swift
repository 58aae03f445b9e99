extension Remap {
    /// Where an id goes. `offset` is added to ids first: it is other than 0 in slices.
    enum Function: Sendable {
        /// `(id + offset) % modulus`
        case modulo(modulus: Int, offset: Int)
        /// `(id + offset) / divisor`
        case quotient(divisor: Int, offset: Int)
        /// A row of the inner table that looks random: see ``Remap/hash(_:seed:rows:)``.
        case hash(seed: Int, offset: Int)
        /// `map[(id + offset) / blockRows] * blockRows + (id + offset) % blockRows`. The entry after the last block of the
        /// inner table stands for rows of zeros.
        case map(PackedMap, blockRows: Int, offset: Int)
    }

    /// Hashes are made for inner tables of at most so many rows.
    static let maximumHashedRows = 1 << 31

    /// The row that an id is hashed to: the upper half of a 64-bit hash, SplitMix64's number `id` of a seed, is scaled to
    /// the rows. In 64-bit arithmetic without overflow checks, with shifts that bring in zeros:
    ///
    ///     h = seed + (id + 1) * 0x9E3779B97F4A7C15
    ///     h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9
    ///     h = (h ^ (h >> 27)) * 0x94D049BB133111EB
    ///     row = (((h ^ (h >> 31)) >> 32) * rows) >> 32
    @inline(__always)
    static func hash(_ id: UInt64, seed: UInt64, rows: UInt64) -> UInt64 {
        ((mixed(seed &+ (id &+ 1) &* mixStep) &>> 32) &* rows) &>> 32
    }
}

extension Remap {
    /// What files call functions.
    enum FunctionName: String, CaseIterable {
        case modulo, quotient, hash, map
    }
}

extension Remap.Function {
    private var name: Remap.FunctionName {
        switch self {
        case .modulo: return .modulo
        case .quotient: return .quotient
        case .hash: return .hash
        case .map: return .map
        }
    }

    /// A seed is a number of 8 bytes.
    static let seedBytes = 8

    var ownBytes: Int {
        switch self {
        case .modulo, .quotient: return 0
        case .hash: return Self.seedBytes
        case .map(let map, _, _): return map.bytes.count
        }
    }

    var summary: String {
        func shifted(_ offset: Int) -> String { offset == 0 ? "id" : "(id + \(offset))" }
        switch self {
        case .modulo(let modulus, let offset): return "\(shifted(offset)) % \(modulus)"
        case .quotient(let divisor, let offset): return "\(shifted(offset)) / \(divisor)"
        case .hash(let seed, let offset): return "hash of \(shifted(offset)), seed \(seed)"
        case .map(let map, 1, _): return "map[id], \(map.bits)-bit entries"
        case .map(let map, let blockRows, _): return "map of blocks of \(blockRows) rows, \(map.bits)-bit entries"
        }
    }

    /// Checks that every id of a computed function has an inner row, and that a map has an entry for each; entries are
    /// checked where they are used.
    func check(rows: Int, innerRows: Int) throws {
        switch self {
        case .modulo(let modulus, let offset):
            guard modulus > 0, modulus <= innerRows || (rows == 0 && innerRows == 0) else {
                throw EmbedCompressError.invalidArgument(
                    "modulus must be from 1 to the inner table's \(innerRows) rows, not \(modulus)")
            }
            try checkRows(rows, from: offset)
        case .quotient(let divisor, let offset):
            guard divisor > 0 else {
                throw EmbedCompressError.invalidArgument("divisor must be at least 1, not \(divisor)")
            }
            let end = try checkRows(rows, from: offset)
            guard rows == 0 || (end - 1) / divisor < innerRows else {
                throw EmbedCompressError.invalidArgument(
                    "the last id \(rows - 1) goes to inner row \((end - 1) / divisor), "
                        + "but the inner table has \(innerRows) rows")
            }
        case .hash(_, let offset):
            try checkRows(rows, from: offset)
            guard innerRows <= Remap.maximumHashedRows, innerRows > 0 || rows == 0 else {
                throw EmbedCompressError.invalidArgument(
                    "ids are hashed to 1 to \(Remap.maximumHashedRows) rows, not to \(innerRows)")
            }
        case .map(let map, let blockRows, let offset):
            guard blockRows > 0, offset < blockRows else {
                throw EmbedCompressError.invalidArgument(
                    "blocks need at least one row, and more than the \(offset) before the first id, not \(blockRows)")
            }
            let blocks = Self.blocks(try checkRows(rows, from: offset), of: blockRows)
            guard blocks == map.count else {
                throw EmbedCompressError.invalidArgument(
                    "\(rows) ids in blocks of \(blockRows) need a map of \(blocks) entries, not \(map.count)")
            }
        }
    }

    /// Blocks that so many rows make, the last of which may be shorter.
    static func blocks(_ rows: Int, of blockRows: Int) -> Int { rows / blockRows + (rows % blockRows == 0 ? 0 : 1) }

    func sliced(_ range: Range<Int>) throws -> Self {
        switch self {
        case .modulo(let modulus, let offset): return .modulo(modulus: modulus, offset: offset + range.lowerBound)
        case .quotient(let divisor, let offset): return .quotient(divisor: divisor, offset: offset + range.lowerBound)
        case .hash(let seed, let offset): return .hash(seed: seed, offset: offset + range.lowerBound)
        case .map(let map, let blockRows, let offset):
            let first = offset + range.lowerBound
            let last = Self.blocks(offset + range.upperBound, of: blockRows)
            let start = min(first / blockRows, last)
            return .map(try map.sliced(start..<last), blockRows: blockRows, offset: first - start * blockRows)
        }
    }

    // MARK: - Files

    init(from decoder: inout NodeDecoder) throws {
        switch try decoder.choice("function", Remap.FunctionName.self) {
        case .modulo:
            self = .modulo(
                modulus: try decoder.integer("modulus", 1...Int.max),
                offset: try decoder.integer("offset", 0...maximumRows)
            )
        case .quotient:
            self = .quotient(
                divisor: try decoder.integer("divisor", 1...Int.max),
                offset: try decoder.integer("offset", 0...maximumRows)
            )
        case .hash:
            self = .hash(
                seed: try decoder.integer("seed", 0...Int.max), offset: try decoder.integer("offset", 0...maximumRows))
        case .map:
            let bits = try decoder.integer("bits", PackedMap.bitWidths)
            let blockRows = try decoder.integer("block_rows", 1...Int.max)
            let offset = try decoder.integer("offset", 0...min(blockRows - 1, maximumRows))
            let shift = try decoder.integer("shift", 0...7)
            let count = Self.blocks(try checkRows(decoder.rows, from: offset), of: blockRows)
            guard let bytes = PackedMap.byteCount(bits: bits, shift: shift, count: count) else {
                throw EmbedCompressError.invalidArgument("a map of \(count) entries of \(bits) bits is too large")
            }
            self = .map(
                try PackedMap(
                    try decoder.tensor("map", type: .u8, shape: [bytes]), bits: bits, shift: shift, count: count),
                blockRows: blockRows, offset: offset)
        }
    }

    func encode(into encoder: inout NodeEncoder) {
        encoder.set("function", name.rawValue)
        switch self {
        case .modulo(let modulus, let offset):
            encoder.set("modulus", modulus)
            encoder.set("offset", offset)
        case .quotient(let divisor, let offset):
            encoder.set("divisor", divisor)
            encoder.set("offset", offset)
        case .hash(let seed, let offset):
            encoder.set("seed", seed)
            encoder.set("offset", offset)
        case .map(let map, let blockRows, let offset):
            encoder.set("bits", map.bits)
            encoder.set("block_rows", blockRows)
            encoder.set("offset", offset)
            encoder.set("shift", map.shift)
            encoder.add("map", type: .u8, shape: [map.bytes.count], bytes: map.bytes)
        }
    }
}
