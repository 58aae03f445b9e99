#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

extension ByteStorage {
    /// The contents of a file, mapped read-only: pages are read when they are touched, and shared between processes.
    ///
    /// Limits: who writes into the file changes what is read here, and who shortens it makes the next touch of a lost
    /// page end the process (SIGBUS). Replacing the file by a rename, as ``SafetensorsWriter`` does, is safe.
    static func mapped(path: String) throws -> ByteStorage {
        try mapped(InputFile(path: path))
    }

    static func mapped(_ file: InputFile) throws -> ByteStorage {
        let count = file.byteCount
        guard count > 0 else { return try allocate(0) }
        guard let region = mmap(nil, count, PROT_READ, MAP_PRIVATE, file.descriptor, 0),
            UInt(bitPattern: region) != UInt.max
        else { throw EmbedCompressError.io(operation: "map", path: file.path, errno: currentErrno) }
        // The last page is mapped whole; what lies past the end of the file reads as zeros.
        let page = max(Int(getpagesize()), 1)
        let slack = (page - count % page) % page
        return ByteStorage(base: region, count: count, slack: slack, isMapped: true) { munmap(region, count) }
    }

    /// The contents of a file, read into memory of our own.
    static func read(path: String) throws -> ByteStorage {
        let file = try InputFile(path: path)
        let storage = try allocate(file.byteCount)
        try file.read(into: storage.base, count: file.byteCount, at: 0)
        return storage
    }
}
