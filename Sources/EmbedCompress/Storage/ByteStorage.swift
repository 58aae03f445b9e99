#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// The owner of a range of memory: allocated, mapped from a file, or lent by a caller.
///
/// Contents are immutable once a table is built on them. A lent or mapped range may change under us through its other
/// owner; readers therefore check every value that selects memory at the moment they use it.
final class ByteStorage: @unchecked Sendable {
    let base: UnsafeMutableRawPointer
    let count: Int
    /// How many bytes past `count` may be read.
    let slack: Int
    /// The mapping that this is, if it is one; its pages can be let go of at any time.
    let mapping: MappedFile?
    private let isLent: Bool
    private let release: () -> Void

    init(
        base: UnsafeMutableRawPointer, count: Int, slack: Int, mapping: MappedFile? = nil, isLent: Bool = false,
        release: @escaping () -> Void
    ) {
        (self.mapping, self.isLent) = (mapping, isLent)
        self.base = base
        self.count = count
        self.slack = slack
        self.release = release
    }

    deinit { release() }

    /// Whether somebody else may write to it, at any time.
    var mayChange: Bool { mapping != nil || isLent }

    /// Bytes past the end of an allocation that kernels may read (and ignore).
    static let allocationSlack = 64
    private static let hugePage = 2 << 20

    /// Memory, aligned to a cache line and zeroed unless its owner is to write all of it.
    ///
    /// What fills most of a huge page asks for huge pages: random row reads miss the TLB before they miss bandwidth, and
    /// hundreds of page faults cost as much as compressing the rows.
    static func allocate(_ count: Int, zeroed: Bool = true) throws -> ByteStorage {
        guard count >= 0, let padded = Checked.sum(count, allocationSlack),
            let span = Checked.sum(padded, 2 * hugePage)
        else { throw EmbedCompressError.outOfMemory(bytes: count) }
        // A last page of which less than half is used would waste more than it gives.
        let huge = (padded + hugePage / 2) & ~(hugePage - 1)
        if huge == 0 {
            guard let base = Allocation.heap(padded) else { throw EmbedCompressError.outOfMemory(bytes: count) }
            if zeroed { memset(base, 0, padded) } else { memset(base + count, 0, padded - count) }
            return ByteStorage(base: base, count: count, slack: allocationSlack) { free(base) }
        }
        guard let region = Allocation.pages(span) else { throw EmbedCompressError.outOfMemory(bytes: count) }
        let address = (UInt(bitPattern: region) + UInt(hugePage - 1)) & ~UInt(hugePage - 1)
        guard let base = UnsafeMutableRawPointer(bitPattern: address) else {
            munmap(region, span)
            throw EmbedCompressError.outOfMemory(bytes: count)
        }
        #if os(Linux)
            madvise(base, huge, 14)  // MADV_HUGEPAGE; refusal is harmless
        #endif
        return ByteStorage(base: base, count: count, slack: allocationSlack) { munmap(region, span) }
    }

    /// Memory that somebody else owns; `release` is called once, when the last table on it is gone.
    static func lent(_ base: UnsafeRawPointer, count: Int, release: @escaping () -> Void) -> ByteStorage {
        ByteStorage(
            base: UnsafeMutableRawPointer(mutating: base), count: count, slack: 0, isLent: true, release: release)
    }
}

#if canImport(Darwin)
    let mapAnonymous = MAP_ANON
#else
    let mapAnonymous = MAP_ANONYMOUS
#endif
/// What mmap returns where it maps nothing.
var mapFailed: UnsafeMutableRawPointer? { UnsafeMutableRawPointer(bitPattern: -1) }

/// A range of bytes within a ``ByteStorage``, which it keeps alive. Every offset is checked when a `Bytes` is made.
struct Bytes: @unchecked Sendable {
    let storage: ByteStorage
    let offset: Int
    let count: Int

    init(_ storage: ByteStorage) {
        self.storage = storage
        self.offset = 0
        self.count = storage.count
    }

    private init(storage: ByteStorage, offset: Int, count: Int) {
        self.storage = storage
        self.offset = offset
        self.count = count
    }

    /// A copy of `bytes`.
    init(copying bytes: UnsafeRawBufferPointer) throws {
        self.init(try ByteStorage.allocate(bytes.count))
        if let source = bytes.baseAddress, bytes.count > 0 {
            memcpy(storage.base, source, bytes.count)
        }
    }

    /// The start of the range. Valid as long as this value, or anything else that holds its storage, is alive.
    var pointer: UnsafeRawPointer { UnsafeRawPointer(storage.base) + offset }
    /// For the one who fills the range before a table is built on it.
    var mutablePointer: UnsafeMutableRawPointer { storage.base + offset }
    /// Bytes from the start of this range to the end of what may be read, at least `count`.
    var readableCount: Int { storage.count - offset + storage.slack }

    /// The sub-range, or nil when it does not lie within this one.
    func range(_ start: Int, _ length: Int) -> Bytes? {
        guard start >= 0, length >= 0, start <= count, length <= count - start else { return nil }
        return Bytes(storage: storage, offset: offset + start, count: length)
    }

    static let pageBytes = max(Int(getpagesize()), 1)

    /// Lets go of whole pages of a mapped file within this range.
    func discardPages() {
        guard storage.mapping != nil else { return }
        let page = UInt(Self.pageBytes)
        let start = (UInt(bitPattern: pointer) + page - 1) / page * page
        let end = UInt(bitPattern: pointer + count) / page * page
        guard start < end, let address = UnsafeMutableRawPointer(bitPattern: start) else { return }
        madvise(address, Int(end - start), MADV_DONTNEED)
    }

    /// Asks the system to read the pages of a mapped file that this range lies in, without waiting for them.
    func requestPages() {
        guard storage.mapping != nil, count > 0 else { return }
        let page = UInt(Self.pageBytes)
        let start = UInt(bitPattern: pointer) / page * page
        guard let address = UnsafeMutableRawPointer(bitPattern: start) else { return }
        madvise(address, Int(UInt(bitPattern: pointer + count) - start), MADV_WILLNEED)
    }

    var buffer: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: pointer, count: count) }
}
