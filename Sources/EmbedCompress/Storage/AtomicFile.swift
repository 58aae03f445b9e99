#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// A file that takes its name only when it is complete: what every file of this library is written through.
///
/// A file of that name stays as it is until then, and processes that have mapped it keep it. Only a regular file is
/// replaced, or nothing; of a link the target is, and the link stays. The new file has the owner, the group and the
/// permissions of the old one; other attributes, such as access lists, are not kept.
///
/// Where the system has files without a name, the bytes go to one, and a process that is killed leaves nothing behind.
/// Elsewhere, and for the moment between naming and renaming, there is a temporary file (``TemporaryNames``) in the same
/// folder; if its process is killed, the next one that writes to the target removes it. Not for several threads at once.
final class AtomicFile {
    let path: FilePath
    let descriptor: Int32
    private(set) var isOpen = true
    /// The path, or where links lead from there.
    private let target: FilePath
    /// What is replaced, if it is there.
    private var replaced: stat?
    private let names: TemporaryNames
    /// The name that the file has meanwhile; nil for none.
    private var temporary: FilePath?
    /// A forked child shares the temporary file's name and must not remove it.
    private let owner = getpid()

    init(path: FilePath) throws {
        self.path = path
        try path.check()
        replaced = try AtomicFile.regularFile(at: path, named: path)
        target = try AtomicFile.target(of: path)
        guard !target.name.isEmpty else {
            throw AtomicFile.error(path, path.isEmpty ? ENOENT : EISDIR)
        }
        names = TemporaryNames(of: target)
        names.removeAbandoned()
        // What replaces a private file is never more than that.
        let mode: mode_t = replaced == nil ? 0o666 : 0o600
        if let unnamed = try AtomicFile.openUnnamed(in: target.folder, mode: mode, named: path) {
            descriptor = unnamed
        } else {
            guard let (descriptor, temporary) = names.create(mode: mode) else {
                throw AtomicFile.error(path, currentErrno)
            }
            (self.descriptor, self.temporary) = (descriptor, temporary)
        }
    }

    deinit { abandon() }

    /// Writes at an offset, all of it or an error.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws {
        guard let source = bytes.baseAddress else { return }
        var done = 0
        while done < bytes.count {
            let result = pwrite(descriptor, source + done, min(bytes.count - done, 1 << 30), off_t(offset + done))
            if result < 0 && currentErrno == EINTR { continue }
            guard result > 0 else { throw error(result < 0 ? currentErrno : EIO) }
            done += result
        }
    }

    /// Makes the file durable and gives it its name.
    func commit() throws {
        guard isOpen else { throw EmbedCompressError.invalidArgument("the file '\(path)' is closed") }
        replaced = try AtomicFile.regularFile(at: target, named: path) ?? replaced
        try takePermissions()
        guard retrying({ fsync(descriptor) }) == 0 else { throw error(currentErrno) }
        guard let source = temporary ?? names.link(descriptor) else { throw error(currentErrno) }
        temporary = source
        guard source.withCString({ source in target.withCString { rename(source, $0) } }) == 0 else {
            throw error(currentErrno)
        }
        temporary = nil
        abandon()
        try synchronizeFolder()
    }

    /// Gives the file up unless it has its name; the target stays as it was.
    func abandon() {
        guard isOpen else { return }
        isOpen = false
        if getpid() == owner { _ = temporary?.withCString { unlink($0) } }
        // The lock on the temporary name ends here.
        close(descriptor)
    }

    // MARK: What is replaced

    /// The status of the regular file at a path, and nil for nothing there.
    private static func regularFile(at place: FilePath, named path: FilePath) throws -> stat? {
        var status = stat()
        guard place.withCString({ stat($0, &status) }) == 0 else {
            if currentErrno == ENOENT { return nil }
            throw error(path, currentErrno)
        }
        switch status.st_mode & S_IFMT {
        case S_IFREG: return status
        case S_IFDIR: throw error(path, EISDIR)
        default: throw EmbedCompressError.notRegularFile(operation: "write", path: path.description)
        }
    }

    /// The end of a chain of links.
    private static func target(of path: FilePath) throws -> FilePath {
        var target = path
        // As many as Linux follows.
        for _ in 0..<40 {
            guard let next = target.linkTarget else { return target }
            target = next
        }
        throw error(path, ELOOP)
    }

    /// Gives the file the owner, the group and the permissions of the one that it replaces.
    private func takePermissions() throws {
        guard let replaced else { return }
        var own = stat()
        guard fstat(descriptor, &own) == 0 else { throw error(currentErrno) }
        if own.st_uid != replaced.st_uid || own.st_gid != replaced.st_gid,
            fchown(descriptor, replaced.st_uid, replaced.st_gid) != 0
        {
            // Only the superuser gives files away; a group may be one of the process's own.
            _ = fchown(descriptor, uid_t.max, replaced.st_gid)
        }
        guard fstat(descriptor, &own) == 0 else { throw error(currentErrno) }
        var mode = replaced.st_mode & 0o7777
        if own.st_uid != replaced.st_uid { mode &= ~0o6000 }
        // Another group gets no more than everybody.
        if own.st_gid != replaced.st_gid { mode = mode & ~0o2070 | (mode & 0o007) << 3 & mode }
        guard own.st_mode & 0o7777 == mode || fchmod(descriptor, mode) == 0 else { throw error(currentErrno) }
    }

    // MARK: The system

    /// A file without a name; nil where the system, or the file system, has none.
    private static func openUnnamed(in folder: FilePath, mode: mode_t, named path: FilePath) throws -> Int32? {
        #if os(Linux)
            // Such a file is named by its entry there.
            guard access("/proc/self/fd", X_OK) == 0 else { return nil }
            var descriptor: Int32
            repeat {
                descriptor = folder.withCString { open($0, O_RDWR | O_CLOEXEC | O_DIRECTORY | 0o20_000_000, mode) }
            } while descriptor < 0 && currentErrno == EINTR
            if descriptor >= 0 { return descriptor }
            guard [EOPNOTSUPP, EISDIR, EINVAL].contains(currentErrno) else { throw error(path, currentErrno) }
        #endif
        return nil
    }

    /// Makes the rename durable. Folders that cannot be opened or synchronized are left to the system.
    private func synchronizeFolder() throws {
        let handle = target.folder.withCString { open($0, O_RDONLY | O_CLOEXEC) }
        guard handle >= 0 else { return }
        defer { close(handle) }
        if retrying({ fsync(handle) }) != 0, currentErrno == EIO { throw error(EIO) }
    }

    private func retrying(_ call: () -> Int32) -> Int32 {
        var result: Int32
        repeat { result = call() } while result != 0 && currentErrno == EINTR
        return result
    }

    private func error(_ code: Int32) -> EmbedCompressError { Self.error(path, code) }
    private static func error(_ path: FilePath, _ code: Int32) -> EmbedCompressError {
        .io(operation: "write", path: path.description, errno: code)
    }
}

/// Writes any file as this library writes its own (``AtomicFile``).
///
/// - Parameter fill: Writes to a descriptor of an empty file; what it throws leaves the target as it was.
package func writeFile(_ path: FilePath, _ fill: (Int32) throws -> Void) throws {
    let file = try AtomicFile(path: path)
    defer { file.abandon() }
    try fill(file.descriptor)
    try file.commit()
}
