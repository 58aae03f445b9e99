import CEmbedCompress.ABI
import EmbedCompressABI
import Foundation
import XCTest

/// A table that is released by hand, or when its test ends.
final class Owned {
    let table: OpaquePointer
    private var isReleased = false
    init(_ table: OpaquePointer) { self.table = table }

    func release() {
        if !isReleased { ec_table_release(table) }
        isReleased = true
    }
}

/// How often a lent buffer was given back.
final class ReleaseCount {
    var count = 0
    var context: UnsafeMutableRawPointer { Unmanaged.passUnretained(self).toOpaque() }
    let callback: ec_release = { context in
        if let context { Unmanaged<ReleaseCount>.fromOpaque(context).takeUnretainedValue().count += 1 }
    }
}

/// A progress callback that says stop once it was called `stopsAt` times.
final class ProgressCount {
    var calls: [(done: Int64, total: Int64)] = []
    let stopsAt: Int
    init(stopsAt: Int = .max) { self.stopsAt = stopsAt }
    var context: UnsafeMutableRawPointer { Unmanaged.passUnretained(self).toOpaque() }
    let callback: ec_progress = { done, total, context in
        guard let context else { return 0 }
        let count = Unmanaged<ProgressCount>.fromOpaque(context).takeUnretainedValue()
        count.calls.append((done, total))
        return count.calls.count >= count.stopsAt ? 7 : 0
    }
}

class ABITestCase: XCTestCase {
    /// A value that no function writes: outputs must still hold it after a failure.
    let untouched = OpaquePointer(bitPattern: 0x1234_5678)
    private(set) var folder = ""
    private var owned: [Owned] = []

    override func setUpWithError() throws {
        folder = NSTemporaryDirectory() + "/embedcompress-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    }

    override func tearDownWithError() throws {
        for table in owned { table.release() }
        owned = []
        try FileManager.default.removeItem(atPath: folder)
    }

    func path(_ name: String) -> String { folder + "/" + name }

    var lastError: String { String(cString: ec_last_error().pointee.message) }

    /// An array that lives as long as the test process.
    func array<Element: BitwiseCopyable>(_ name: String, _ type: ec_dtype, _ shape: [Int64], _ values: [Element])
        -> ec_array
    {
        let characters = permanent(name.utf8CString.map { $0 }).assumingMemoryBound(to: CChar.self)
        let sizes = permanent(shape).assumingMemoryBound(to: Int64.self)
        return ec_array(
            name: characters, dtype: type, rank: Int32(shape.count), shape: sizes, data: permanent(values))
    }

    /// ec_table_compose of lent memory that is never given back.
    func compose(
        _ kind: String, _ fields: String?, _ arrays: [ec_array] = [], _ children: [OpaquePointer?],
        _ out: UnsafeMutablePointer<OpaquePointer?>?
    ) -> ec_status {
        ec_table_compose(
            kind, fields, arrays, Int64(arrays.count), children, Int64(children.count), nil, nil, out)
    }

    /// Memory that lives as long as the test process, for tables on lent memory.
    func permanent<Element: BitwiseCopyable>(_ values: [Element]) -> UnsafeRawPointer {
        let memory = UnsafeMutableRawPointer.allocate(
            byteCount: max(values.count * MemoryLayout<Element>.stride, 1), alignment: 16)
        values.withUnsafeBytes { if let base = $0.baseAddress { memory.copyMemory(from: base, byteCount: $0.count) } }
        return UnsafeRawPointer(memory)
    }

    func dense(_ values: [Float], dimension: Int64, file: StaticString = #filePath, line: UInt = #line) throws -> Owned
    {
        try make(file: file, line: line) {
            ec_table_dense(permanent(values), EC_F32, Int64(values.count) / dimension, dimension, nil, nil, $0)
        }
    }

    /// The table that `body` hands out.
    func make(
        file: StaticString = #filePath, line: UInt = #line,
        _ body: (UnsafeMutablePointer<OpaquePointer?>) -> ec_status
    ) throws -> Owned {
        var table: OpaquePointer?
        XCTAssertEqual(body(&table), EC_OK, lastError, file: file, line: line)
        let result = Owned(try XCTUnwrap(table, file: file, line: line))
        owned.append(result)
        return result
    }

    /// Checks that `body` fails with that status and message, and writes no output.
    func refuse(
        _ status: ec_status, _ text: String, file: StaticString = #filePath, line: UInt = #line,
        _ body: (UnsafeMutablePointer<OpaquePointer?>) -> ec_status
    ) {
        var table = untouched
        XCTAssertEqual(body(&table), status, file: file, line: line)
        XCTAssertEqual(table, untouched, file: file, line: line)
        XCTAssertTrue(
            text.isEmpty || lastError.contains(text), "'\(lastError)' lacks '\(text)'", file: file, line: line)
    }

    /// The same, for functions without a table as their output.
    func refuse(
        _ status: ec_status, _ text: String, _ result: ec_status, file: StaticString = #filePath, line: UInt = #line
    ) {
        XCTAssertEqual(result, status, file: file, line: line)
        XCTAssertTrue(
            text.isEmpty || lastError.contains(text), "'\(lastError)' lacks '\(text)'", file: file, line: line)
    }

    /// The text that `body` hands out, released.
    func string(_ body: (UnsafeMutablePointer<ec_string>) -> ec_status) throws -> String {
        var text = ec_string()
        XCTAssertEqual(body(&text), EC_OK, lastError)
        defer { ec_string_release(text) }
        let bytes = try XCTUnwrap(text.bytes)
        XCTAssertEqual(strlen(bytes), Int(text.count))
        return String(cString: bytes)
    }

    func json(_ text: String) throws -> Any { try JSONSerialization.jsonObject(with: Data(text.utf8)) }

    func decode(_ table: OpaquePointer) -> [Float] {
        let (rows, dimension) = (ec_table_rows(table), ec_table_dimension(table))
        var values = [Float](repeating: -99, count: Int(rows * dimension))
        XCTAssertEqual(ec_table_decode(table, 0, rows, &values), EC_OK, lastError)
        return values
    }
}
