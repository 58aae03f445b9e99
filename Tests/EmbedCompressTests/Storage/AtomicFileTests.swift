import XCTest

@testable import EmbedCompress

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// What a file takes from the one that it replaces, and the names that it has meanwhile.
final class AtomicFileTests: TemporaryFolderTestCase {
    private func replace(_ name: String, by byte: UInt8 = 7) throws {
        try writeFile(FilePath(path(name))) { descriptor in
            XCTAssertEqual(withUnsafeBytes(of: byte) { write(descriptor, $0.baseAddress, 1) }, 1)
        }
    }

    private func status(_ name: String) throws -> stat {
        var status = stat()
        XCTAssertEqual(lstat(path(name), &status), 0)
        return status
    }

    func testPermissionsAreKept() throws {
        for mode: mode_t in [0o600, 0o400, 0o755, 0o2750] {
            try put([42], "f")
            XCTAssertEqual(chmod(path("f"), mode), 0)
            try replace("f")
            XCTAssertEqual(try status("f").st_mode & 0o7777, mode)
            XCTAssertEqual(try contents("f"), [7])
            XCTAssertEqual(unlink(path("f")), 0)
        }
    }

    func testOwnersAreKept() throws {
        try XCTSkipUnless(geteuid() == 0, "only the superuser gives files away")
        try put([42], "f")
        XCTAssertEqual(chown(path("f"), 12_345, 23_456), 0)
        try replace("f")
        XCTAssertEqual(try status("f").st_uid, 12_345)
        XCTAssertEqual(try status("f").st_gid, 23_456)
    }

    func testLinksAreFollowed() throws {
        try put([42], "f")
        XCTAssertEqual(symlink("f", path("one")), 0)
        XCTAssertEqual(symlink(path("one"), path("two")), 0)
        XCTAssertEqual(symlink("new", path("dangling")), 0)
        XCTAssertEqual(symlink("circle", path("circle")), 0)
        try replace("two")
        try replace("dangling", by: 8)
        XCTAssertEqual(try contents("f"), [7])
        XCTAssertEqual(try contents("new"), [8])
        XCTAssertEqual(try files(), ["circle", "dangling", "f", "new", "one", "two"])
        for name in ["one", "two", "dangling"] { XCTAssertEqual(try status(name).st_mode & S_IFMT, S_IFLNK) }
        XCTAssertThrowsError(try replace("circle")) {
            XCTAssertEqual($0 as? EmbedCompressError, .io(operation: "write", path: path("circle"), errno: ELOOP))
        }
    }

    func testOnlyFilesAreReplaced() throws {
        XCTAssertEqual(mkfifo(path("pipe"), 0o600), 0)
        XCTAssertThrowsError(try replace("pipe")) {
            XCTAssertEqual(
                $0 as? EmbedCompressError, .notRegularFile(operation: "write", path: path("pipe")))
        }
        XCTAssertEqual(try files(), ["pipe"])
        // What takes the place of the file meanwhile is not replaced either.
        let file = try AtomicFile(path: FilePath(path("f")))
        XCTAssertEqual(mkfifo(path("f"), 0o600), 0)
        XCTAssertThrowsError(try file.commit())
        file.abandon()
        XCTAssertEqual(try files(), ["f", "pipe"])
    }

    func testAbandonedNamesAreRemoved() throws {
        let names = TemporaryNames(of: FilePath(path("f")))
        let (descriptor, _) = try XCTUnwrap(names.create(mode: 0o600))
        let (other, _) = try XCTUnwrap(names.create(mode: 0o600))
        XCTAssertEqual(try files(), [".f.embedcompress-0", ".f.embedcompress-1"])
        names.removeAbandoned()
        XCTAssertEqual(try files().count, 2, "they are in use")
        close(descriptor)
        try replace("f")
        XCTAssertEqual(try files(), [".f.embedcompress-1", "f"])
        close(other)
        try replace("f")
        XCTAssertEqual(try files(), ["f"])
    }

    func testAFilesNameWithoutNamelessFiles() throws {
        // Where the system has no files without a name, one is created under the name; here, both ways are.
        let names = TemporaryNames(of: FilePath(path("f")))
        let (descriptor, name) = try XCTUnwrap(names.create(mode: 0o600))
        XCTAssertEqual(name.description, path(".f.embedcompress-0"))
        try replace("f")
        XCTAssertEqual(try files(), [".f.embedcompress-0", "f"], "another writer took the next name")
        close(descriptor)
    }

    func testPathsThatAreNotUTF8() throws {
        let bytes: [UInt8] = Array(path("").utf8) + [0x61, 0xff, 0xc3, 0xa9, 0xfe]
        let odd = (bytes.map { CChar(bitPattern: $0) } + [0]).withUnsafeBufferPointer { buffer in
            buffer.baseAddress.map { FilePath($0) }
        }
        let file = try XCTUnwrap(odd)
        XCTAssertEqual(file.description, path("") + #"a\xffé\xfe"#)
        #if os(Linux)
            try writeFile(file) { XCTAssertEqual(write($0, bytes, 3), 3) }
            XCTAssertEqual(try InputFile(path: file).byteCount, 3)
            XCTAssertEqual(file.withCString { unlink($0) }, 0)
        #endif
    }
}
