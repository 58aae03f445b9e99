#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// A regular file open for reading, with the size that it had when it was opened.
final class InputFile: Sendable {
    let path: FilePath
    let byteCount: Int
    let descriptor: Int32

    /// Refuses folders, pipes, devices and the like, without waiting for their other end.
    init(path: FilePath) throws {
        try path.check()
        var descriptor: Int32
        repeat {
            descriptor = path.withCString { open($0, O_RDONLY | O_CLOEXEC | O_NONBLOCK) }
        } while descriptor < 0 && currentErrno == EINTR
        guard descriptor >= 0 else {
            let code = currentErrno
            throw EmbedCompressError.io(operation: "open", path: path.description, errno: code)
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
                let code = result < 0 ? currentErrno : EIO
                throw EmbedCompressError.io(operation: "read", path: path.description, errno: code)
            }
            done += result
        }
    }
}

/// Systems refuse or cut single transfers of 2 GiB and more.
private let largestTransfer = 1 << 30

private func regularFileSize(of descriptor: Int32, path: FilePath) throws -> Int {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
        let code = currentErrno
        throw EmbedCompressError.io(operation: "open", path: path.description, errno: code)
    }
    switch status.st_mode & S_IFMT {
    case S_IFREG: return Int(status.st_size)
    case S_IFDIR: throw EmbedCompressError.io(operation: "open", path: path.description, errno: EISDIR)
    default: throw EmbedCompressError.notRegularFile(operation: "open", path: path.description)
    }
}
