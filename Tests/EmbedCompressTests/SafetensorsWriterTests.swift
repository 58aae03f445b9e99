import Foundation
import TestSupport
import XCTest

@testable import EmbedCompress

final class SafetensorsWriterTests: TemporaryFolderTestCase {
    private let tensors: [SafetensorsWriter.Tensor] = [("codes", .u8, [3]), ("scale", .f32, [1])]

    private func write(_ bytes: [UInt8], to writer: SafetensorsWriter) throws {
        try bytes.withUnsafeBytes { try writer.write($0) }
    }

    private func write(_ bytes: [UInt8], to writer: SafetensorsWriter, tensor: Int, at offset: Int) throws {
        try bytes.withUnsafeBytes { try writer.write($0, tensor: tensor, at: offset) }
    }

    // MARK: Contents

    func testGoldenBytes() throws {
        let writer = try SafetensorsWriter(path: path("f"), tensors: tensors, metadata: [("format", "x")])
        try write([1, 2, 3, 9, 8], to: writer)
        try write([7, 6], to: writer)
        try writer.finish()
        let header =
            #"{"__metadata__":{"format":"x"},"#
            + #""scale":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"#
            + #""codes":{"dtype":"U8","shape":[3],"data_offsets":[4,7]}}"#
        XCTAssertEqual(header.utf8.count, 144)
        XCTAssertEqual(
            try contents("f"),
            [184, 0, 0, 0, 0, 0, 0, 0] + Array(header.utf8) + Array(repeating: 0x20, count: 40) + [9, 8, 7, 6, 1, 2, 3])
        XCTAssertEqual(try files(), ["f"])
    }

    func testGoldenBytesOfAnEmptyFile() throws {
        try SafetensorsWriter(path: path("f"), tensors: []).finish()
        XCTAssertEqual(
            try contents("f"), [56, 0, 0, 0, 0, 0, 0, 0, 0x7B, 0x7D] + Array(repeating: 0x20, count: 54))
    }

    func testTensorsCanBeFilledInAnyOrder() throws {
        let writer = try SafetensorsWriter(path: path("f"), tensors: [("a", .u8, [10]), ("b", .u16, [4])])
        XCTAssertEqual(writer.index(of: "b"), 1)
        for row in [2, 0, 3, 1] {
            try write([UInt8(row), 100 + UInt8(row)], to: writer, tensor: 1, at: 2 * row)
        }
        try write([5, 6, 7, 8, 9], to: writer, tensor: 0, at: 5)
        XCTAssertThrowsError(try writer.finish(), "half of a tensor is missing")
        try write([0, 1, 2, 3, 4], to: writer)
        try writer.finish()
        XCTAssertEqual(try contents("f").suffix(18), [0, 100, 1, 101, 2, 102, 3, 103, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    }

    func testWrittenRangesAgreeWithASet() {
        var generator = SeededGenerator(seed: 6)
        for _ in 0..<300 {
            var ranges = WrittenRanges()
            var reference = Set<Int>()
            for _ in 0..<20 {
                let start = Int.random(in: 0..<60, using: &generator)
                let range = start..<start + Int.random(in: 0...8, using: &generator)
                ranges.insert(range)
                reference.formUnion(range)
                XCTAssertEqual(ranges.firstGap(below: 68), (0..<68).first { !reference.contains($0) })
                XCTAssertEqual(ranges.ranges.flatMap { Array($0) }, reference.sorted())
            }
        }
    }

    // MARK: Atomicity

    private func assertUntouched(_ body: () throws -> Void, file: StaticString = #filePath, line: UInt = #line) throws {
        try put([42], "f")
        try body()
        XCTAssertEqual(try contents("f"), [42], file: file, line: line)
        XCTAssertEqual(try files(), ["f"], "no temporary file is left", file: file, line: line)
    }

    func testTargetAppearsOnlyAtTheEnd() throws {
        try put([42], "f")
        let writer = try SafetensorsWriter(path: path("f"), tensors: tensors)
        let names = try files()
        XCTAssertTrue(Set(names).isSubset(of: ["f", ".f.embedcompress-0"]), "\(names)")
        try write(Array(repeating: 1, count: 7), to: writer)
        XCTAssertEqual(try contents("f"), [42])
        let old = try ByteStorage.mapped(path: path("f"))
        try writer.finish()
        XCTAssertNoThrow(try SafetensorsFile(path: path("f")))
        XCTAssertEqual(try files(), ["f"])
        XCTAssertEqual(Array(Bytes(old).buffer), [42], "who has mapped the old file keeps it")
    }

    func testAbandonLeavesTheTarget() throws {
        try assertUntouched {
            let writer = try SafetensorsWriter(path: path("f"), tensors: tensors)
            try write([1, 2], to: writer)
            writer.abandon()
            XCTAssertThrowsError(try write([1], to: writer))
            XCTAssertThrowsError(try writer.finish())
        }
    }

    func testReleaseLeavesTheTarget() throws {
        try assertUntouched { try write([1, 2], to: SafetensorsWriter(path: path("f"), tensors: tensors)) }
    }

    func testIncompleteFileIsRefused() throws {
        try assertUntouched {
            let writer = try SafetensorsWriter(path: path("f"), tensors: tensors)
            try write([1, 2], to: writer)
            XCTAssertThrowsError(try writer.finish()) {
                XCTAssertEqual(
                    $0 as? EmbedCompressError,
                    .invalidArgument("tensor 'codes' is incomplete: byte 2 of 3 was never written"))
            }
        }
    }

    func testStoppingBetweenPieces() throws {
        let count = SafetensorsWriter.largestPiece + 10
        try assertUntouched {
            let writer = try SafetensorsWriter(path: path("f"), tensors: [("a", .u8, [count])])
            var reports: [Int] = []
            let bytes = try ByteStorage.allocate(count)
            XCTAssertThrowsError(
                try writer.write(Bytes(bytes).buffer) { done in
                    reports.append(done)
                    throw EmbedCompressError.cancelled
                }
            ) { XCTAssertEqual($0 as? EmbedCompressError, .cancelled) }
            XCTAssertEqual(reports, [SafetensorsWriter.largestPiece])
        }
    }

    func testAFullDiskLeavesTheTarget() throws {
        let previousHandler = signal(SIGXFSZ, SIG_IGN)
        defer { signal(SIGXFSZ, previousHandler) }
        try assertUntouched {
            let writer = try SafetensorsWriter(path: path("f"), tensors: [("a", .u8, [1 << 20])])
            #if canImport(Glibc)
                let resource = __rlimit_resource_t(RLIMIT_FSIZE.rawValue)
            #else
                let resource = RLIMIT_FSIZE
            #endif
            var limit = rlimit()
            XCTAssertEqual(getrlimit(resource, &limit), 0)
            let unlimited = limit
            limit.rlim_cur = 100_000
            XCTAssertEqual(setrlimit(resource, &limit), 0)
            var thrown: Error?
            do { try write(Array(repeating: 1, count: 1 << 20), to: writer) } catch { thrown = error }
            limit = unlimited
            XCTAssertEqual(setrlimit(resource, &limit), 0)
            XCTAssertEqual(thrown as? EmbedCompressError, .io(operation: "write", path: path("f"), errno: EFBIG))
        }
    }

    func testPermissionsFollowTheUmask() throws {
        let previous = umask(0o027)
        defer { umask(previous) }
        try SafetensorsWriter(path: path("f"), tensors: []).finish()
        let attributes = try FileManager.default.attributesOfItem(atPath: path("f"))
        XCTAssertEqual(attributes[.posixPermissions] as? Int, 0o640)
    }

    // MARK: Refused targets and arguments

    func testTargetsThatCannotBeWritten() throws {
        let cases: [(String, Int32)] = [
            (folder, EISDIR), (folder + "/", EISDIR), (path("none/f"), ENOENT), ("", ENOENT), (path("."), EISDIR),
        ]
        for (target, code) in cases {
            XCTAssertThrowsError(try SafetensorsWriter(path: target, tensors: [])) {
                XCTAssertEqual($0 as? EmbedCompressError, .io(operation: "write", path: target, errno: code))
            }
        }
        XCTAssertThrowsError(try SafetensorsWriter(path: "/dev/null", tensors: [])) {
            XCTAssertEqual($0 as? EmbedCompressError, .notRegularFile(operation: "write", path: "/dev/null"))
        }
        XCTAssertThrowsError(try SafetensorsWriter(path: path("a\0b"), tensors: []))
        XCTAssertEqual(try files(), [])
    }

    func testLongNamesAndRelativePaths() throws {
        let name = String(repeating: "n", count: 255)
        try SafetensorsWriter(path: path(name), tensors: []).finish()
        XCTAssertEqual(try files(), [name])
        let previous = FileManager.default.currentDirectoryPath
        XCTAssertTrue(FileManager.default.changeCurrentDirectoryPath(folder))
        defer { XCTAssertTrue(FileManager.default.changeCurrentDirectoryPath(previous)) }
        try SafetensorsWriter(path: "relative", tensors: []).finish()
        XCTAssertEqual(try files(), [name, "relative"])
    }

    func testArgumentsThatAreRefused() throws {
        let refused: [[SafetensorsWriter.Tensor]] = [
            [("a", .u8, [1]), ("a", .u8, [1])],
            [("__metadata__", .u8, [1])],
            [("a", .u8, [-1])],
            [("a", .u8, [.max, 2])],
            [("a", .f64, [.max / 2, 0])],
            [("a", .u8, [.max])],
            [("a", .u8, [.max / 2]), ("b", .u8, [.max / 2])],
        ]
        for tensors in refused {
            XCTAssertThrowsError(try SafetensorsWriter(path: path("f"), tensors: tensors), "\(tensors)") {
                guard case .invalidArgument? = $0 as? EmbedCompressError else { return XCTFail("\($0)") }
            }
        }
        XCTAssertThrowsError(try SafetensorsWriter(path: path("f"), tensors: [], metadata: [("a", "b"), ("a", "b")]))

        let writer = try SafetensorsWriter(path: path("f"), tensors: tensors)
        for (tensor, offset, count) in [
            (2, 0, 1), (-1, 0, 1), (0, -1, 1), (0, 3, 1), (0, 4, 0), (0, .max, 1), (1, 0, 5),
        ] {
            XCTAssertThrowsError(try write(Array(repeating: 0, count: count), to: writer, tensor: tensor, at: offset))
        }
        XCTAssertThrowsError(try write(Array(repeating: 0, count: 8), to: writer), "one byte too many")
        try writer.finish()
    }

    func testHeaderTooLargeOnWrite() throws {
        let bytes = [UInt8](repeating: 0x78, count: SafetensorsHeader.largestHeader + 1)
        let text = String(decoding: bytes, as: UTF8.self)
        XCTAssertThrowsError(try SafetensorsWriter(path: path("f"), tensors: [], metadata: [("k", text)])) {
            guard case .format(.headerTooLarge(let bytes, let limit), _)? = $0 as? EmbedCompressError else {
                return XCTFail("\($0)")
            }
            XCTAssertEqual(limit, 100_000_000)
            XCTAssertGreaterThan(bytes, 100_000_000)
        }
        XCTAssertEqual(try files(), [])
    }
}
