// How large a table can be, whoever says so: a file, an option or an argument. Every piece is checked when it is made, so
// that whoever works with one adds and multiplies sizes without a thought of overflow.

/// Rows of the longest table; ids of a slice are counted from the first row of the whole.
let maximumRows = 1 << 48

/// Columns of the widest table. With at most 16 bits a code, every size of a row is far from overflow.
let maximumDimension = 1 << 20

/// Numbers of the largest table: 64 bytes for each are still far from overflow.
let maximumNumbers = 1 << 56

/// Bytes of all pieces of a table. A file is never so large, but its pieces can share arrays.
let maximumStoredBytes = 1 << 60

/// Pieces of all tables of a file: each takes some kilobytes of memory.
let maximumNodes = 1 << 15

/// Trees deeper than this are refused: nothing sensible needs them, and lookups recurse.
let maximumTreeDepth = 32

/// Checks the rows that a piece is to have, from row `offset` of the whole on; returns where they end.
@discardableResult
func checkRows(_ rows: Int, from offset: Int = 0) throws -> Int {
    guard rows >= 0, offset >= 0, let end = Checked.sum(offset, rows), end <= maximumRows else {
        let place = offset == 0 ? "" : " from row \(offset) on"
        throw EmbedCompressError.invalidArgument("a table has from 0 to 2^48 rows, not \(rows)\(place)")
    }
    return end
}

extension Node {
    /// For every piece, when it is made.
    func checkLimits() throws {
        try checkRows(rows)
        guard let numbers = Checked.product(rows, dimension), numbers <= maximumNumbers else {
            throw EmbedCompressError.invalidArgument("a table of \(rows) x \(dimension) has more than 2^56 numbers")
        }
        guard let bytes = Checked.sum(of: children.map(\.expression.bytesOfPieces) + [ownBytes]),
            bytes <= maximumStoredBytes
        else {
            throw EmbedCompressError.invalidArgument("the pieces of a table have more than 2^60 bytes together")
        }
        if depth > maximumTreeDepth { throw EmbedCompressError.format(.treeTooDeep(limit: maximumTreeDepth)) }
        if scratchBytes > Scratch.most {
            throw EmbedCompressError.format(
                .invalidParts(kind: Self.kind, reason: tooMuchScratch("\(scratchBytes)")))
        }
    }
}

/// Why a table is refused whose lookups would need so much scratch.
func tooMuchScratch(_ bytes: String) -> String {
    "a lookup would need \(bytes) bytes of scratch on each thread, and the most is \(Scratch.most)"
}
