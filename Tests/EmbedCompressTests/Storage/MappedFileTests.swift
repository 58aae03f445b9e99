import XCTest

@testable import EmbedCompress

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// Mapped files that become shorter: calls throw, and the process goes on.
final class MappedFileTests: TemporaryFolderTestCase {
    private let dimension = 64
    private var weight: [Float] { (0..<20_000 * dimension).map { Float($0 % 251) } }

    private func saved(_ name: String) throws -> Table {
        try Table(try Dense(weight, rows: 20_000, dimension: dimension)).save(to: path(name))
        return try Table(contentsOf: path(name))
    }

    private func expectLost(_ name: String, _ call: () throws -> Void, line: UInt = #line) {
        XCTAssertThrowsError(try call(), line: line) {
            XCTAssertEqual(
                $0 as? EmbedCompressError,
                .io(operation: "read the mapped file", path: path(name), errno: EIO), line: line)
        }
    }

    func testAFileThatBecomesShorter() throws {
        let (table, other) = (try saved("f"), try saved("g"))
        let before = try table.lookup([0, 19_999])
        XCTAssertEqual(truncate(path("f"), 4_096), 0)
        expectLost("f") { _ = try table.lookup([19_999]) }
        expectLost("f") { _ = try table.lookup([0]) }
        expectLost("f") { _ = try table.decode() }
        expectLost("f") { _ = try table.slice(0..<1).decode() }
        expectLost("f") { _ = try table.bag([1, 2], offsets: [0]) }
        expectLost("f") { _ = try table.warmUp() }
        expectLost("f") { _ = try table.compressed("asym") }
        expectLost("f") { _ = try other.quality(against: table) }
        expectLost("f") { _ = try TableSet([other, table]).bag([0, 1], offsets: [0, 1, 2]) }
        XCTAssertEqual(try other.lookup([0, 19_999]), before)
    }

    func testEveryThreadOfACall() throws {
        let table = try saved("f")
        XCTAssertEqual(truncate(path("f"), 1 << 20), 0)
        expectLost("f") { _ = try table.decode() }
    }

    func testWhatIsLostIsNeverSaved() throws {
        let table = try saved("f")
        try put([42], "copy")
        XCTAssertEqual(truncate(path("f"), 1 << 20), 0)
        expectLost("f") { try table.save(to: path("copy")) }
        expectLost("f") { _ = try TableFile.compress([CompressionJob("w", table)], method: "asym", to: path("copy")) }
        XCTAssertEqual(try contents("copy"), [42])
        XCTAssertEqual(try files(), ["copy", "f"])
    }

    func testAHandlerThatIsInstalledLater() throws {
        let table = try saved("f")
        // A handler installed later comes first; it calls ours as Python's faulthandler does.
        var ours = sigaction()
        var later = sigaction()
        sigemptyset(&later.sa_mask)
        #if canImport(Darwin)
            later.__sigaction_u.__sa_handler = passOn
        #else
            later.__sigaction_handler.sa_handler = passOn
        #endif
        XCTAssertEqual(sigaction(SIGBUS, &later, &ours), 0)
        earlier.initialize(to: ours)
        XCTAssertEqual(truncate(path("f"), 4_096), 0)
        expectLost("f") { _ = try table.lookup([19_999]) }
    }

    func testWritingStaysInTheProcess() throws {
        let table = try saved("f")
        let file = try contents("f")
        let array = try XCTUnwrap(table.lentArrays().first?.data)
        try table.allowWriting()
        UnsafeMutableRawPointer(mutating: array).storeBytes(of: 8.5, as: Float.self)
        XCTAssertEqual(try table.lookup([0])[0], 8.5)
        XCTAssertEqual(try contents("f"), file)
    }
}

/// What came before a handler, at a place of its own: of a global, AddressSanitizer guards the bytes that pad the structure.
nonisolated(unsafe) private let earlier = UnsafeMutablePointer<sigaction>.allocate(capacity: 1)

private func passOn(_ signal: Int32) {
    sigaction(signal, earlier, nil)
    raise(signal)
}
