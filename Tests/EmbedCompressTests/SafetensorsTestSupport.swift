import Foundation
import XCTest

@testable import EmbedCompress

/// A safetensors file put together by hand, so that it can break any rule.
func safetensorsBytes(_ header: String, data: [UInt8] = [], headerBytes: UInt64? = nil) -> [UInt8] {
    safetensorsBytes(Array(header.utf8), data: data, headerBytes: headerBytes)
}

func safetensorsBytes(_ header: [UInt8], data: [UInt8] = [], headerBytes: UInt64? = nil) -> [UInt8] {
    withUnsafeBytes(of: (headerBytes ?? UInt64(header.count)).littleEndian, Array.init) + header + data
}

func parseHeader(_ bytes: [UInt8]) throws -> SafetensorsHeader {
    try bytes.withUnsafeBytes { try SafetensorsHeader.parse($0) }
}

func assertFormatError(
    _ expected: FormatError, file: StaticString = #filePath, line: UInt = #line, _ body: () throws -> Void
) {
    XCTAssertThrowsError(try body(), file: file, line: line) { error in
        guard case .format(let found, _)? = error as? EmbedCompressError else {
            return XCTFail("\(error)", file: file, line: line)
        }
        XCTAssertEqual(found, expected, file: file, line: line)
    }
    XCTAssertFalse(expected.description.isEmpty, file: file, line: line)
}

/// A folder of its own for each test.
class TemporaryFolderTestCase: XCTestCase {
    private(set) var folder = ""

    override func setUpWithError() throws {
        folder = NSTemporaryDirectory() + "/embedcompress-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    }

    override func tearDownWithError() throws {
        try FileManager.default.removeItem(atPath: folder)
    }

    func path(_ name: String) -> String { folder + "/" + name }

    func contents(_ name: String) throws -> [UInt8] {
        [UInt8](try Data(contentsOf: URL(fileURLWithPath: path(name))))
    }

    func put(_ bytes: [UInt8], _ name: String) throws {
        try Data(bytes).write(to: URL(fileURLWithPath: path(name)))
    }

    func files() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
    }
}

// MARK: - Files by the text of their paths

extension ByteStorage {
    static func mapped(path: String) throws -> ByteStorage { try mapped(InputFile(path: FilePath(path))) }

    static func read(path: String) throws -> ByteStorage {
        let file = try InputFile(path: FilePath(path))
        let storage = try allocate(file.byteCount)
        try file.read(into: storage.base, count: file.byteCount, at: 0)
        return storage
    }
}

extension SafetensorsFile {
    convenience init(path: String) throws { try self.init(path: FilePath(path)) }
}

extension SafetensorsWriter {
    convenience init(path: String, tensors: [Tensor], metadata: [(String, String)] = []) throws {
        try self.init(path: FilePath(path), tensors: tensors, metadata: metadata)
    }
}
