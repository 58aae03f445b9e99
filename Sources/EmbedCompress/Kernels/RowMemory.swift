internal import CEmbedCompress.Shims

/// Kernels may read this many bytes past the last byte of a row, so that they need no special last step.
let rowOverread = 64

/// Rows of equal length in memory, addressable by checked ids.
///
/// The last rows of a buffer that ends without slack (a mapped file, a lent array) are kept in a small copy with slack
/// after it, and so is a row of zeros for id -1: kernels then read any row the same way.
struct RowMemory: Sendable {
    let bytes: Bytes
    let rows: Int
    /// From the start of one row to the start of the next.
    let rowBytes: Int
    /// A row of zeros, then rows `copiedFrom ..< rows`.
    private let spare: Bytes
    private let copiedFrom: Int

    /// `bytes` holds exactly `rows * rowBytes` bytes; the caller has checked that.
    init(_ bytes: Bytes, rows: Int, rowBytes: Int) throws {
        self.bytes = bytes
        self.rows = rows
        self.rowBytes = rowBytes
        var copied = 0
        if bytes.readableCount - bytes.count < rowOverread, rowBytes > 0 {
            copied = min(rows, (rowOverread + rowBytes - 1) / rowBytes)
        }
        copiedFrom = rows - copied
        spare = Bytes(try ByteStorage.allocate((copied + 1) * rowBytes))
        (spare.mutablePointer + rowBytes).copyMemory(
            from: bytes.pointer + copiedFrom * rowBytes, byteCount: copied * rowBytes)
    }

    /// The row of an id in `-1 ..< rows`.
    @inline(__always)
    func pointer(_ id: Int64) -> UnsafeRawPointer {
        let index = Int(truncatingIfNeeded: id)
        if UInt(bitPattern: index) < UInt(bitPattern: copiedFrom) { return bytes.pointer + index * rowBytes }
        return spare.pointer + (index < 0 ? 0 : index - copiedFrom + 1) * rowBytes
    }

    /// Asks for every cache line of a row, and no other.
    @inline(__always)
    func prefetch(_ id: Int64) {
        let row = pointer(id)
        ec_prefetch(row)
        var next = 64
        while next < rowBytes {
            ec_prefetch(row + next)
            next += 64
        }
        ec_prefetch(row + max(rowBytes - 1, 0))
    }

    /// Rows `range`, on the same memory.
    func sliced(_ range: Range<Int>) throws -> RowMemory {
        guard let part = bytes.range(range.lowerBound * rowBytes, range.count * rowBytes) else {
            throw EmbedCompressError.invalidArgument("rows \(range) are not within the \(rows) rows of the table")
        }
        return try RowMemory(part, rows: range.count, rowBytes: rowBytes)
    }
}
