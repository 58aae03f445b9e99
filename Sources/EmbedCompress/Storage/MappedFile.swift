internal import CEmbedCompress.MappedFiles

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// A file that is mapped into memory: pages are read when they are touched, and shared between processes.
///
/// Who writes into the file changes what is read here. Who shortens it, or a drive that fails, makes pages unreadable;
/// the call that meets one throws, and so does every later one (``reading(_:_:)``). Replacing the file by a rename, as
/// ``SafetensorsWriter`` does, is safe: this stands on the old one.
final class MappedFile: @unchecked Sendable {
    private let path: FilePath
    private let base: UnsafeMutableRawPointer
    private let count: Int
    /// Bytes of the file's pages and of the page of zeros after them.
    private let span: Int
    private var entry: UnsafeMutablePointer<ec_mapping>?
    private static let lock = Lock()
    /// A sum that nobody asks for.
    private static let touched = AtomicInt()

    fileprivate init(_ base: UnsafeMutableRawPointer, span: Int, of file: InputFile) throws {
        (self.base, count, self.span, path) = (base, file.byteCount, span, file.path)
        MappedFile.lock.withLock {
            ec_watch_mappings()
            entry = ec_mapping_add(base, Int64(count), Unmanaged.passUnretained(self).toOpaque())
        }
        if entry == nil { throw EmbedCompressError.outOfMemory(bytes: MemoryLayout<ec_mapping>.size) }
    }

    deinit {
        if let entry { MappedFile.lock.withLock { ec_mapping_remove(entry) } }
        munmap(base, span)
    }

    /// Lets others write to the memory; what they write stays with this process and never reaches the file.
    func allowWriting() throws {
        guard mprotect(base, count, PROT_READ | PROT_WRITE) == 0 else {
            throw EmbedCompressError.outOfMemory(bytes: count)
        }
    }

    // MARK: Calls that read

    /// Runs a call that reads memory which may be mapped from files, and throws if one of these files can't be read.
    /// Without this around it, a page that is gone ends the process.
    @inline(__always)
    static func reading<Result>(
        _ storages: @autoclosure () -> [ByteStorage], _ body: () throws -> Result
    ) throws -> Result {
        if ec_lost_mappings().pointee != 0 { try check(storages()) }
        let depth = ec_reading_depth()
        ec_set_reading_depth(depth, depth.pointee + 1)
        defer { ec_set_reading_depth(depth, depth.pointee - 1) }
        do {
            let result = try body()
            if ec_lost_mappings().pointee != 0 { try check(storages()) }
            return result
        } catch {
            // The system's functions refuse memory that can't be read, without a signal.
            if case EmbedCompressError.io(_, _, EFAULT) = error { touch(storages()) }
            if ec_lost_mappings().pointee != 0 { try check(storages()) }
            throw error
        }
    }

    /// Whether the calling thread is within such a call.
    static var isReading: Bool { ec_reading_depth().pointee > 0 }

    /// Runs a part of such a call on another thread.
    static func readingElsewhere(_ body: () -> Void) {
        let depth = ec_reading_depth()
        ec_set_reading_depth(depth, depth.pointee + 1)
        body()
        ec_set_reading_depth(depth, depth.pointee - 1)
    }

    /// Throws if memory lies in a mapping that is lost. That of a mapped table may be lent to others too.
    @inline(never)
    private static func check(_ storages: [ByteStorage]) throws {
        for storage in storages {
            guard let entry = ec_mapping_at(UInt(bitPattern: storage.base)), entry.pointee.is_lost != 0,
                let owner = entry.pointee.owner
            else { continue }
            let file = Unmanaged<MappedFile>.fromOpaque(owner).takeUnretainedValue()
            throw EmbedCompressError.io(operation: "read the mapped file", path: file.path.description, errno: EIO)
        }
    }

    /// Reads a byte of every page that is mapped.
    @inline(never)
    private static func touch(_ storages: [ByteStorage]) {
        for storage in storages where storage.mapping != nil { touched.add(Bytes(storage).sumOfPages()) }
    }
}

/// Bytes past the end of a mapped file that can be read, at least.
private let leastSlack = 256

extension ByteStorage {
    /// The contents of a file, mapped (``MappedFile``).
    static func mapped(_ file: InputFile) throws -> ByteStorage {
        let count = file.byteCount
        guard count > 0 else { return try allocate(0) }
        // The last page is mapped whole; what lies past the end of the file reads as zeros. Where that is little, so does a
        // page after it: kernels may read past the last row where it lies.
        let rest = (Bytes.pageBytes - count % Bytes.pageBytes) % Bytes.pageBytes
        let needsPage = rest < leastSlack
        let slack = needsPage ? rest + Bytes.pageBytes : rest
        guard let span = Checked.sum(count, slack) else { throw EmbedCompressError.outOfMemory(bytes: count) }
        // No memory is set aside for the copies of pages that a writer would make.
        let flags = MAP_PRIVATE | MAP_NORESERVE
        func map(_ place: UnsafeMutableRawPointer?, _ size: Int, _ flags: Int32, _ descriptor: Int32) throws
            -> UnsafeMutableRawPointer
        {
            guard let region = mmap(place, size, PROT_READ, flags, descriptor, 0), region != mapFailed else {
                throw EmbedCompressError.io(operation: "map", path: file.path.description, errno: currentErrno)
            }
            return region
        }
        let region = try map(nil, span, needsPage ? flags | mapAnonymous : flags, needsPage ? -1 : file.descriptor)
        if needsPage {
            do {
                _ = try map(region, count, flags | MAP_FIXED, file.descriptor)
            } catch {
                munmap(region, span)
                throw error
            }
        }
        let mapping = try MappedFile(region, span: span, of: file)
        return ByteStorage(base: region, count: count, slack: slack, mapping: mapping) {}
    }
}

extension Bytes {
    /// The sum of a byte of each page; whoever asks for it must use it, or no page is read.
    func sumOfPages() -> Int {
        withExtendedLifetime(storage) {
            let buffer = buffer
            var sum = Int(buffer.last ?? 0)
            for offset in stride(from: 0, to: count, by: Self.pageBytes) { sum &+= Int(buffer[offset]) }
            return sum
        }
    }
}

extension Node {
    /// The memory that this and everything in it stands on.
    var storages: [ByteStorage] { NodeEncoder.parts(of: self, prefix: "").arrays.map(\.bytes.storage) }
}

extension Table {
    /// Runs a call that reads this table, which may be mapped from a file; see ``MappedFile/reading(_:_:)``.
    @inline(__always)
    func reading<Result>(_ body: () throws -> Result) throws -> Result {
        try MappedFile.reading(root.storages, body)
    }
}
