#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// A regular file open for reading, with the size that it had when it was opened.
final class InputFile: Sendable {
    let path: String
    let byteCount: Int
    let descriptor: Int32

    /// Folders are an io error; pipes, devices and the like an invalid argument, without waiting for their other end.
    init(path: String) throws {
        try checkPath(path)
        var descriptor: Int32
        repeat {
            descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        } while descriptor < 0 && currentErrno == EINTR
        guard descriptor >= 0 else {
            throw EmbedCompressError.io(operation: "open", path: path, errno: currentErrno)
        }
        do {
            byteCount = try regularFileSize(of: descriptor, path: path)
        } catch {
            close(descriptor)
            throw error
        }
        self.path = path
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    /// Fills `count` bytes of `target` from `offset` on. A file that has become shorter is an io error.
    func read(into target: UnsafeMutableRawPointer, count: Int, at offset: Int) throws {
        var done = 0
        while done < count {
            let result = pread(descriptor, target + done, min(count - done, largestTransfer), off_t(offset + done))
            if result < 0 && currentErrno == EINTR { continue }
            guard result > 0 else {
                throw EmbedCompressError.io(operation: "read", path: path, errno: result < 0 ? currentErrno : EIO)
            }
            done += result
        }
    }
}

/// Systems refuse or cut single transfers of 2 GiB and more.
private let largestTransfer = 1 << 30

/// Refuses a path that the system would read only in part.
func checkPath(_ path: String) throws {
    if path.utf8.contains(0) { throw EmbedCompressError.invalidArgument("a path must not contain a zero byte") }
}

private func regularFileSize(of descriptor: Int32, path: String) throws -> Int {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
        throw EmbedCompressError.io(operation: "open", path: path, errno: currentErrno)
    }
    switch status.st_mode & S_IFMT {
    case S_IFREG: return Int(status.st_size)
    case S_IFDIR: throw EmbedCompressError.io(operation: "open", path: path, errno: EISDIR)
    default: throw EmbedCompressError.invalidArgument("'\(path)' is not a regular file")
    }
}
