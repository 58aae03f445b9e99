internal import CEmbedCompress.Shims

/// Kernels may read this many bytes past the last byte of a row, so that they need no special last step.
let rowOverread = 64

/// Rows of equal length in memory, addressable by checked ids.
///
/// The last rows of a buffer that ends without slack (a lent array) are kept in a small copy with slack after it, and id -1
/// is a row of zeros that all memories share: kernels then read any row the same way.
struct RowMemory: Sendable {
    let bytes: Bytes
    let rows: Int
    /// The last rows if they are copied.
    private let spare: Bytes
    /// Valid as long as this is.
    nonisolated(unsafe) let places: RowPlaces

    /// From the start of one row to the start of the next.
    var rowBytes: Int { places.rowBytes }

    /// Of the longest row: f32 numbers, or 16-bit codes and f32 scales of groups of 8, padded to a cache line.
    private static let maximumRowBytes = 4 * maximumDimension + RowSpacing.cacheLine
    private static let zeros: Bytes? = try? Bytes(ByteStorage.allocate(maximumRowBytes))

    /// `bytes` holds exactly `rows * rowBytes` bytes; the caller has checked that.
    init(_ bytes: Bytes, rows: Int, rowBytes: Int) throws {
        guard let zeros = Self.zeros, rowBytes <= zeros.count else {
            throw EmbedCompressError.outOfMemory(bytes: max(rowBytes, Self.maximumRowBytes))
        }
        self.bytes = bytes
        self.rows = rows
        var copied = 0
        if bytes.readableCount - bytes.count < rowOverread, rowBytes > 0 {
            copied = min(rows, (rowOverread + rowBytes - 1) / rowBytes)
        }
        let copiedFrom = rows - copied
        spare = Bytes(try ByteStorage.allocate(copied * rowBytes))
        spare.mutablePointer.copyMemory(
            from: bytes.pointer + copiedFrom * rowBytes, byteCount: copied * rowBytes)
        places = RowPlaces(
            start: bytes.pointer, rows: rows, rowBytes: rowBytes, byteCount: bytes.count, zeros: zeros.pointer,
            spare: spare.pointer, copiedFrom: copiedFrom)
    }

    /// Rows `range`, on the same memory.
    func sliced(_ range: Range<Int>) throws -> RowMemory {
        guard let part = bytes.range(range.lowerBound * rowBytes, range.count * rowBytes) else {
            throw EmbedCompressError.invalidArgument("rows \(range) are not within the \(rows) rows of the table")
        }
        return try RowMemory(part, rows: range.count, rowBytes: rowBytes)
    }
}

/// Where the rows of a memory are. Kernels take this rather than the memory itself, whose owners would be counted.
struct RowPlaces {
    let start: UnsafeRawPointer
    let rows: Int
    let rowBytes: Int
    /// Of all rows.
    let byteCount: Int
    /// A row of zeros.
    let zeros: UnsafeRawPointer
    /// Rows from `copiedFrom` on.
    let spare: UnsafeRawPointer
    let copiedFrom: Int

    /// The rows of a block of ids, and of those ahead: of zeros for any id outside `0 ..< rows`. Ids may change meanwhile;
    /// what is found is inside the memory.
    @inline(__always)
    func locate(_ ids: IDBlock, _ rows: UnsafeMutablePointer<UnsafeRawPointer>) {
        let count = ids.count &+ ids.ahead
        let last = Int64(copiedFrom) &- 1
        var outside: Int64 = 0
        for index in 0..<count {
            let id = ids.ids[index]
            outside |= id | (last &- id)
            rows[index] = start + Int(truncatingIfNeeded: id) &* rowBytes
        }
        // The sign says whether any id is outside, or one of the copied rows; most blocks have none.
        guard outside < 0 else { return }
        for index in 0..<count {
            let id = Int(truncatingIfNeeded: ids.ids[index])
            if id < 0 || id >= self.rows {
                rows[index] = zeros
            } else if id >= copiedFrom {
                rows[index] = spare + (id &- copiedFrom) &* rowBytes
            } else {
                rows[index] = start + id &* rowBytes
            }
        }
    }

    /// A row, `0 ..< rows`.
    @inline(__always)
    func row(_ index: Int) -> UnsafeRawPointer {
        index < copiedFrom ? start + index &* rowBytes : spare + (index &- copiedFrom) &* rowBytes
    }

    /// The row of an id that may be anything: of zeros for those outside `0 ..< rows`.
    @inline(__always)
    func row(anyID id: Int64) -> UnsafeRawPointer {
        UInt64(bitPattern: id) < UInt64(bitPattern: Int64(copiedFrom)) ? place(id) : otherRow(id)
    }

    @inline(never)
    private func otherRow(_ id: Int64) -> UnsafeRawPointer {
        id < 0 || id >= Int64(rows) ? zeros : row(Int(id))
    }

    /// Where the row of an id would be, if it is one of those that are not copied.
    @inline(__always)
    func place(_ id: Int64) -> UnsafeRawPointer { start + Int(truncatingIfNeeded: id) &* rowBytes }

    /// Whether rows are likely to come from beyond the second-level cache.
    @inline(__always)
    var isWorthPrefetching: Bool { byteCount > worthPrefetching }

    @inline(__always)
    var prefetching: Prefetching { Prefetching(isFar: byteCount > 4 << 20) }

    /// How many rows ahead of its use a row is prefetched.
    @inline(__always)
    var prefetchDistance: Int { prefetching.isFar ? 64 : 16 }

    /// Asks for every cache line of a row, and no other.
    @inline(__always)
    func prefetch(_ row: UnsafeRawPointer) { prefetch(row, bytes: rowBytes) }

    /// Asks for the cache lines of `bytes` bytes from the start of a row.
    @inline(__always)
    func prefetch(_ row: UnsafeRawPointer, bytes: Int) {
        let prefetching = prefetching
        prefetching.ask(row)
        var next = 64
        while next < bytes {
            prefetching.ask(row + next)
            next &+= 64
        }
        prefetching.ask(row + max(bytes &- 1, 0))
    }
}

/// Rows of fewer bytes than this, all together, are likely to be in the second-level cache.
let worthPrefetching = 512 << 10

/// How cache lines are asked for.
struct Prefetching {
    /// Whether rows are likely to come from memory. There, a prefetch into the second-level cache is twice as fast as one
    /// into the first (measured on a Zen 4).
    let isFar: Bool

    /// Asks for the cache line at `address`.
    @inline(__always)
    func ask(_ address: UnsafeRawPointer) {
        if isFar { ec_prefetch_far(address) } else { ec_prefetch(address) }
    }
}
