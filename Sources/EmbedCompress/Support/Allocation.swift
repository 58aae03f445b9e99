#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// The one place that asks the system for memory whose size others decide: a file, an option, the rows and columns of a
/// table, the number of threads. What is refused becomes ``EmbedCompressError/outOfMemory(bytes:)``.
///
/// Swift's own arrays end the process where memory is refused. So what grows with such a size is a ``ByteStorage``, a
/// ``Buffer`` or ``Scratch``, which all come here; an array that has to be one asks with ``require(_:)`` before it is made.
/// All other arrays are small, and there is room for them, because whatever leaves less than ``margin`` is refused.
///
/// What is trusted, and what has been checked when it is:
/// - *Sizes*: products and sums of sizes from files, options and arguments go through ``Checked``; what it can't count is
///   refused as out of memory, or as a broken rule of the format. After that a size is that of memory that exists, and
///   plain arithmetic on places within it can't overflow.
/// - *Rows and columns*: a table has at most ``maximumDimension`` columns from the moment its node is made, so that bytes
///   of a row are never checked again.
/// - *Trees*: no deeper than ``maximumTreeDepth``, and no lookup in them takes more than ``Scratch/most`` bytes of scratch,
///   from the moment their root is made (`checkLimits`). A lookup trusts both.
/// - *Ids*: within the table's rows after ``Table/check(_:_:)``; a block's copy is clamped again, because a caller's array
///   may change. Nodes that take ids as they are check each as they use it.
/// - *Contents of arrays in files* (maps, assignments, CSR pointers, columns, clusters): never trusted. Each entry is checked
///   where it is used, and answered with zeros, an error or both.
/// - *Values of a source*: finite after a method's first pass over them, unless the source is lent or mapped and changes.
/// - *Scratch*: whoever is refused any does nothing, and the call throws before its results are used; see
///   ``Scratch/check()``.
package enum Allocation {
    /// Bytes that must be left for small arrays after a large allocation.
    static let margin = 4 << 20
    /// Allocations of fewer bytes don't ask for the margin.
    static let large = 64 << 10

    /// How many allocations succeed until one is refused, for tests; negative for no end.
    private static let untilRefusal = AtomicInt(-1)

    /// Makes the allocation after the next `count` fail, once; a negative number takes that back.
    ///
    /// - Returns: How many were still to succeed: negative if the one that was to fail has failed, or none was to.
    package static func refuse(after count: Int) -> Int {
        let left = untilRefusal.value
        untilRefusal.value = count
        return left
    }

    private static var isRefused: Bool { untilRefusal.value >= 0 && untilRefusal.add(-1) == 0 }

    /// Memory aligned to a cache line, of undefined content, for `free`.
    static func heap(_ bytes: Int) -> UnsafeMutableRawPointer? {
        guard bytes >= 0, let rounded = Checked.sum(bytes, 63), !isRefused, bytes < large || hasRoom(for: bytes) else {
            return nil
        }
        return aligned_alloc(64, max(rounded & ~63, 64))
    }

    /// Whole pages of zeros, for `munmap`.
    static func pages(_ bytes: Int) -> UnsafeMutableRawPointer? {
        guard !isRefused, let memory = map(bytes) else { return nil }
        if !hasRoom(for: 0) {
            munmap(memory, bytes)
            return nil
        }
        return memory
    }

    /// Throws unless so many bytes could be had now: for arrays that are about to be made.
    package static func require(_ bytes: Int?) throws {
        guard let bytes else { throw EmbedCompressError.outOfMemory(bytes: Int.max) }
        if bytes < large { return }
        if isRefused || !hasRoom(for: bytes) { throw EmbedCompressError.outOfMemory(bytes: bytes) }
    }

    /// Whether there is room for a thread of its own stack and scratch.
    static var hasRoomForThread: Bool { !isRefused && hasRoom(for: threadStackBytes) }

    /// Whether so many bytes could be had now, and the margin beside them.
    private static func hasRoom(for bytes: Int) -> Bool {
        guard let needed = Checked.sum(bytes, margin), let trial = map(needed) else { return false }
        munmap(trial, needed)
        return true
    }

    private static func map(_ bytes: Int) -> UnsafeMutableRawPointer? {
        guard let memory = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | mapAnonymous, -1, 0),
            memory != mapFailed
        else { return nil }
        return memory
    }
}

extension Array {
    /// `count` times the same element; throws where there is no memory for them.
    init(allocating element: Element, count: Int) throws {
        try Allocation.require(Checked.product(count, MemoryLayout<Element>.stride))
        self.init(repeating: element, count: count)
    }
}
