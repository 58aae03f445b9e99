/// How far apart the rows of a store lie: each starts at a multiple of an alignment from the first one, and zeros fill
/// what is left between them.
struct RowSpacing: Sendable {
    /// What rows can be aligned to: up to a cache line.
    static let alignments = [1, 2, 4, 8, 16, 32, cacheLine]
    static let cacheLine = 64

    /// Bytes of a row without padding.
    let unpaddedBytes: Int
    let alignment: Int
    /// From the start of one row to the start of the next.
    let rowBytes: Int

    init(unpaddedBytes: Int, alignment: Int) throws {
        guard Self.alignments.contains(alignment) else {
            throw EmbedCompressError.invalidArgument("row_alignment must be \(Self.choices), not \(alignment)")
        }
        self.unpaddedBytes = unpaddedBytes
        self.alignment = alignment
        rowBytes = (unpaddedBytes + alignment - 1) / alignment * alignment
    }

    /// For messages.
    static let choices =
        alignments.dropLast().map(String.init).joined(separator: ", ") + " or \(cacheLine)"

    /// The end of the summary of a store.
    var summary: String { alignment == 1 ? "" : ", rows aligned to \(alignment) bytes" }

    /// The mean number of cache lines that a row lies in, without its padding, where the first of `rows` rows is at
    /// `address`. 0 without rows.
    func linesPerRow(address: UInt, rows: Int) -> Double {
        guard rows > 0 else { return 0 }
        let line = Self.cacheLine
        let first = Int(address % UInt(line))
        func lines(_ rows: Range<Int>) -> Int {
            rows.reduce(0) { $0 + ((first + $1 * rowBytes) % line + unpaddedBytes + line - 1) / line }
        }
        // Places within a line repeat after as many rows as a line has bytes, at the latest.
        let whole = rows / line
        return (Double(whole) * Double(lines(0..<line)) + Double(lines(0..<rows % line))) / Double(rows)
    }
}

extension NodeEncoder {
    /// A file without the field means rows without padding.
    mutating func set(_ spacing: RowSpacing) {
        if spacing.alignment != 1 { set("row_alignment", spacing.alignment) }
    }
}

extension NodeDecoder {
    mutating func rowAlignment() throws -> Int {
        try integer("row_alignment", oneOf: RowSpacing.alignments, expected: RowSpacing.choices, default: 1)
    }
}
