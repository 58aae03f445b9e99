import EmbedCompress

/// Rows of `Codebook`, read bit by bit.
public struct CodebookReference {
    public let dimension: Int
    public let bits: Int
    public let entryType: ScaleType
    /// Codebooks that rows share, each row with the index of its own; nil where each row has its own codebook.
    public let clusters: Int?
    /// Whether there is one codebook for the table, and no index.
    public let isTable: Bool

    public init(
        dimension: Int, bits: Int, entryType: ScaleType = .float16, clusters: Int? = nil, isTable: Bool = false
    ) {
        (self.dimension, self.bits, self.entryType) = (dimension, bits, entryType)
        (self.clusters, self.isTable) = (isTable ? 1 : clusters, isTable)
    }

    public var entryCount: Int { 1 << bits }
    public var entryBytes: Int { entryType == .float16 ? 2 : 4 }
    public var codeBytes: Int { (dimension * bits + 7) / 8 }
    /// The fewest bytes that can tell `clusters` apart.
    public var indexBytes: Int {
        guard let clusters, !isTable else { return 0 }
        return clusters <= 256 ? 1 : clusters <= 65_536 ? 2 : clusters <= 16_777_216 ? 3 : 4
    }
    public var rowBytes: Int { codeBytes + indexBytes + (clusters == nil ? entryCount * entryBytes : 0) }
    public var scope: String { clusters == nil ? "row" : isTable ? "table" : "cluster" }

    /// The code of a column: bits `column * bits ..< column * bits + bits` of the row, low bits first.
    public func code(_ row: ArraySlice<UInt8>, column: Int) -> Int {
        var code = 0
        for bit in 0..<bits {
            let place = column * bits + bit
            if row[row.startIndex + place / 8] >> (place % 8) & 1 == 1 { code |= 1 << bit }
        }
        return code
    }

    /// Number `index` of an array of entries.
    public func entry(_ bytes: ArraySlice<UInt8>, _ index: Int) -> Float {
        var pattern: UInt32 = 0
        for byte in 0..<entryBytes {
            pattern |= UInt32(bytes[bytes.startIndex + index * entryBytes + byte]) << (8 * byte)
        }
        return entryType == .float16 ? Float(HalfReference.value(UInt16(pattern))) : Float(bitPattern: pattern)
    }

    /// The index of the row's cluster; 0 where there is none.
    public func cluster(_ row: ArraySlice<UInt8>) -> Int {
        (0..<indexBytes).reduce(0) { $0 | Int(row[row.startIndex + codeBytes + $1]) << (8 * $1) }
    }

    /// The entries that the row's codes stand for.
    public func decode(_ row: ArraySlice<UInt8>, codebooks: [UInt8]) -> [Float] {
        let own = clusters == nil
        let book =
            own ? row.dropFirst(codeBytes) : codebooks[...].dropFirst(cluster(row) * entryCount * entryBytes)
        return (0..<dimension).map { entry(book, code(row, column: $0)) }
    }

    /// The bytes of entries.
    public func bytes(_ entries: [Float]) -> [UInt8] {
        entries.flatMap { value -> [UInt8] in
            let pattern = entryType == .float16 ? UInt32(HalfReference.nearest(value)) : value.bitPattern
            return (0..<entryBytes).map { UInt8(truncatingIfNeeded: pattern >> (8 * $0)) }
        }
    }

    /// A row with these codes, and its own entries or the index of its cluster.
    public func encode(codes: [Int], entries: [Float] = [], cluster: Int = 0) -> [UInt8] {
        var row = [UInt8](repeating: 0, count: codeBytes)
        for (column, code) in codes.enumerated() {
            for bit in 0..<bits where code >> bit & 1 == 1 {
                let place = column * bits + bit
                row[place / 8] |= 1 << (place % 8)
            }
        }
        row += (0..<indexBytes).map { UInt8(truncatingIfNeeded: cluster >> (8 * $0)) }
        return row + bytes(entries)
    }

    /// Rows of random codes, and the codebooks that they share.
    public func random(rows: Int, using generator: inout SeededGenerator) -> (rows: [[UInt8]], codebooks: [UInt8]) {
        let stored = (0..<rows).map { _ in
            encode(
                codes: generator.integers(dimension, in: 0..<entryCount),
                entries: clusters == nil ? generator.normals(entryCount) : [],
                cluster: Int.random(in: 0..<(clusters ?? 1), using: &generator))
        }
        return (stored, clusters.map { bytes(generator.normals($0 * entryCount)) } ?? [])
    }
}
