#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// A file that takes its name only when it is complete.
///
/// Bytes go to a hidden temporary file in the same folder, which a rename puts in the target's place; until then a file
/// of that name stays as it is, and processes that have mapped the old one keep it. A link is replaced, not followed.
/// Limits: a process that is killed leaves its temporary file behind. Not for several threads at once.
final class AtomicFile {
    let path: String
    private let temporaryPath: String
    private var descriptor: Int32
    /// A forked child shares the temporary file's name and must not remove it.
    private let owner = getpid()

    init(path: String) throws {
        try checkPath(path)
        var status = stat()
        if stat(path, &status) == 0 {
            switch status.st_mode & S_IFMT {
            case S_IFREG: break
            case S_IFDIR: throw EmbedCompressError.io(operation: "write", path: path, errno: EISDIR)
            default: throw EmbedCompressError.invalidArgument("'\(path)' is not a regular file")
            }
        }
        let (folder, name) = AtomicFile.split(path)
        guard !name.isEmpty else {
            throw EmbedCompressError.io(operation: "write", path: path, errno: path.isEmpty ? ENOENT : EISDIR)
        }
        // Room for the random part within the 255 bytes that file systems allow.
        let stem = String(decoding: name.utf8.prefix(200), as: UTF8.self)
        var candidate = ""
        var descriptor: Int32 = -1
        var attempts = 0
        repeat {
            candidate = "\(folder).\(stem).\(String(UInt64.random(in: 0...UInt64.max), radix: 36)).tmp"
            descriptor = open(candidate, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
            attempts += 1
        } while descriptor < 0 && (currentErrno == EEXIST || currentErrno == EINTR) && attempts < 100
        guard descriptor >= 0 else {
            throw EmbedCompressError.io(operation: "write", path: path, errno: currentErrno)
        }
        self.path = path
        self.temporaryPath = candidate
        self.descriptor = descriptor
    }

    deinit { abandon() }

    var isOpen: Bool { descriptor >= 0 }

    /// The folder part of a path with its last slash, and the rest.
    private static func split(_ path: String) -> (folder: String, name: String) {
        guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return ("", path) }
        let end = path.utf8.index(after: slash)
        return (String(path[..<end]), String(path[end...]))
    }

    /// Writes at an offset, all of it or an error.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws {
        guard let source = bytes.baseAddress else { return }
        var done = 0
        while done < bytes.count {
            let result = pwrite(descriptor, source + done, min(bytes.count - done, 1 << 30), off_t(offset + done))
            if result < 0 && currentErrno == EINTR { continue }
            guard result > 0 else { throw error("write", result < 0 ? currentErrno : EIO) }
            done += result
        }
    }

    /// Makes the file durable and gives it its name.
    func commit() throws {
        guard isOpen else { throw EmbedCompressError.invalidArgument("the file '\(path)' is closed") }
        guard retrying({ fsync(descriptor) }) == 0 else { throw error("write", currentErrno) }
        let closed = close(descriptor)
        descriptor = -1
        // After EINTR the descriptor is gone and the bytes are safe already.
        guard closed == 0 || currentErrno == EINTR, rename(temporaryPath, path) == 0 else {
            let code = currentErrno
            unlink(temporaryPath)
            throw error("write", code)
        }
        try synchronizeFolder()
    }

    /// Removes the temporary file; the target stays as it was. Does nothing after `commit`.
    func abandon() {
        guard isOpen else { return }
        close(descriptor)
        descriptor = -1
        if getpid() == owner { unlink(temporaryPath) }
    }

    /// Makes the rename durable. Folders that cannot be opened or synchronized are left to the system.
    private func synchronizeFolder() throws {
        let folder = AtomicFile.split(path).folder
        let handle = open(folder.isEmpty ? "." : folder, O_RDONLY | O_CLOEXEC)
        guard handle >= 0 else { return }
        defer { close(handle) }
        if retrying({ fsync(handle) }) != 0, currentErrno == EIO { throw error("write", EIO) }
    }

    private func retrying(_ call: () -> Int32) -> Int32 {
        var result: Int32
        repeat { result = call() } while result != 0 && currentErrno == EINTR
        return result
    }

    private func error(_ operation: String, _ code: Int32) -> EmbedCompressError {
        .io(operation: operation, path: path, errno: code)
    }
}
