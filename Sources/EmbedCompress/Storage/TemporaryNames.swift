#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// The names that files have on their way to a target: `.target.embedcompress-0` to `-63`, beside it.
///
/// Who has a file under such a name holds a lock on it. One without a lock is of a process that was killed, and may be
/// removed; only the holder of the lock removes or renames a file. There are few names, so that all of them can be
/// looked at without reading the folder.
struct TemporaryNames {
    private static let count = 64
    private let target: FilePath

    init(of target: FilePath) { self.target = target }

    private var all: some Sequence<FilePath> {
        // Room for the rest within the 255 bytes that file systems allow, and no character is cut.
        var stem = Array(target.name.prefix(200))
        while let end = stem.withUnsafeBytes({ firstInvalidUTF8(in: $0) }), end + 4 > stem.count { stem.removeLast() }
        return (0..<Self.count).lazy.map { target.sibling([UInt8(ascii: ".")] + stem + ".embedcompress-\($0)".utf8) }
    }

    /// Removes the files of processes that are gone.
    func removeAbandoned() {
        for name in all { removeIfAbandoned(name) }
    }

    private func removeIfAbandoned(_ name: FilePath) {
        let descriptor = name.withCString { open($0, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK) }
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        var (held, named) = (stat(), stat())
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0, fstat(descriptor, &held) == 0,
            name.withCString({ lstat($0, &named) }) == 0, held.st_ino == named.st_ino, held.st_dev == named.st_dev,
            held.st_mode & S_IFMT == S_IFREG
        else { return }
        _ = name.withCString { unlink($0) }
    }

    /// A new file under one of the names, locked; nil with `errno`.
    func create(mode: mode_t) -> (descriptor: Int32, name: FilePath)? {
        for name in all {
            let descriptor = name.withCString { open($0, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode) }
            if descriptor < 0 {
                if currentErrno == EEXIST || currentErrno == EINTR { continue }
                return nil
            }
            if lock(descriptor) { return (descriptor, name) }
            close(descriptor)
        }
        errno = EBUSY
        return nil
    }

    /// Gives a file without a name one of the names, locked; nil with `errno`.
    func link(_ descriptor: Int32) -> FilePath? {
        #if os(Linux)
            // Where there are no locks, nobody can take the file for abandoned.
            _ = flock(descriptor, LOCK_EX | LOCK_NB)
            // Whoever has a name keeps it for a moment only.
            for _ in 0..<1_000 {
                for name in all {
                    let result = name.withCString {
                        linkat(AT_FDCWD, "/proc/self/fd/\(descriptor)", AT_FDCWD, $0, AT_SYMLINK_FOLLOW)
                    }
                    if result == 0 { return name }
                    if currentErrno != EEXIST { return nil }
                }
                usleep(1_000)
            }
        #endif
        errno = EBUSY
        return nil
    }

    /// Locks a file that this process has just made. False if someone took it for abandoned before, and removed it.
    private func lock(_ descriptor: Int32) -> Bool {
        var status = stat()
        if flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
            return currentErrno != EWOULDBLOCK
        }
        return fstat(descriptor, &status) != 0 || status.st_nlink > 0
    }
}
