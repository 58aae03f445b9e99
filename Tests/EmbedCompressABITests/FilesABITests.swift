import CEmbedCompress.ABI
import EmbedCompressABI
import Foundation
import XCTest

final class FilesABITests: ABITestCase {
    private func save(
        _ tables: [OpaquePointer?], _ names: [String?], metadata: String? = nil, to name: String = "t",
        progress: ProgressCount? = nil
    ) -> ec_status {
        let copies = names.map { $0.map { strdup($0) } ?? nil }
        defer { for copy in copies { free(copy) } }
        let pointers = copies.map { UnsafePointer($0) }
        return ec_save(
            path(name), tables, pointers, Int64(tables.count), metadata, progress?.callback, progress?.context)
    }

    private func files() throws -> [String] { try FileManager.default.contentsOfDirectory(atPath: folder).sorted() }

    func testSavingAndLoading() throws {
        let one = try dense([1, 2, 3, 4], dimension: 2)
        let two = try make { ec_table_compress(one.table, nil, "asym", #"{"bits": 8}"#, nil, nil, $0) }
        let progress = ProgressCount()
        XCTAssertEqual(
            save([one.table, two.table], ["one", "zwei"], metadata: #"{"note": "hello"}"#, progress: progress), EC_OK,
            lastError)
        XCTAssertEqual(progress.calls.last?.done, 16 + 12)
        for map: Int32 in [0, 1] {
            XCTAssertEqual(decode(try make { ec_load(path("t"), "one", map, $0) }.table), [1, 2, 3, 4])
            XCTAssertEqual(decode(try make { ec_load(path("t"), "zwei", map, $0) }.table), decode(two.table))
            refuse(EC_FORMAT, "one") { ec_load(path("t"), nil, map, $0) }
            refuse(EC_FORMAT, "three") { ec_load(path("t"), "three", map, $0) }
        }
        let contents = try XCTUnwrap(json(string { ec_file_contents(path("t"), $0) }) as? [String: Any])
        XCTAssertEqual(contents["tables"] as? [String], ["one", "zwei"])
        XCTAssertEqual(contents["metadata"] as? [String: String], ["note": "hello"])
        XCTAssertEqual((contents["tensors"] as? [[String: Any]])?.count, 2)
        XCTAssertEqual(save([two.table], ["only"]), EC_OK, lastError)
        XCTAssertEqual(decode(try make { ec_load(path("t"), nil, 1, $0) }.table), decode(two.table))
        XCTAssertEqual(try files(), ["t"])
    }

    func testSavingWithBadArguments() throws {
        let table = try dense([1, 2, 3, 4], dimension: 2).table
        for (tables, names, metadata, text): ([OpaquePointer?], [String?], String?, String) in [
            ([nil], ["a"], nil, "table must not be null"), ([table], [nil], nil, "name must not be null"),
            ([table], ["a"], "[]", "metadata must be a JSON object"),
            ([table], ["a"], #"{"k": 1}"#, "metadata 'k' must be a string"), ([], [], nil, "no table to save"),
            ([table, table], ["a", "a"], nil, "two tables of the name 'a'"),
            ([table], ["a"], #"{"embedcompress.version": "9"}"#, "embedcompress.version"),
        ] {
            refuse(EC_INVALID_ARGUMENT, text, save(tables, names, metadata: metadata))
        }
        XCTAssertNotEqual(save([table], ["a"], metadata: "{"), EC_OK)
        let name = permanent([CChar](arrayLiteral: 97, 0)).assumingMemoryBound(to: CChar.self)
        refuse(EC_INVALID_ARGUMENT, "path must not", ec_save(nil, [table], [name], 1, nil, nil, nil))
        refuse(EC_INVALID_ARGUMENT, "names must not", ec_save(path("t"), [table], nil, 1, nil, nil, nil))
        refuse(EC_INVALID_ARGUMENT, "tables must not", ec_save(path("t"), nil, [nil], 1, nil, nil, nil))
        refuse(EC_INVALID_ARGUMENT, "negative", ec_save(path("t"), [table], [nil], -1, nil, nil, nil))
        refuse(EC_IO, "no/t", save([table], ["a"], to: "no/t"))
        XCTAssertEqual(ec_last_errno(), ENOENT)
        XCTAssertEqual(String(cString: ec_last_error_path()), path("no/t"))
        XCTAssertEqual(try files(), [])
    }

    func testACancelledSaveLeavesNothing() throws {
        let table = try dense([1, 2, 3, 4], dimension: 2).table
        refuse(EC_CANCELLED, "cancelled", save([table], ["a"], progress: ProgressCount(stopsAt: 1)))
        XCTAssertEqual(try files(), [])
    }

    func testLoadingWithBadArguments() throws {
        let table = try dense([1, 2, 3, 4], dimension: 2).table
        XCTAssertEqual(save([table], ["a"]), EC_OK)
        refuse(EC_INVALID_ARGUMENT, "path must not be null") { ec_load(nil, nil, 1, $0) }
        refuse(EC_INVALID_ARGUMENT, "out must not be null", ec_load(path("t"), nil, 1, nil))
        let invalidUTF8: [CChar] = [-1, 0]
        refuse(EC_INVALID_ARGUMENT, "path must be UTF-8") { ec_load(invalidUTF8, nil, 1, $0) }
        refuse(EC_INVALID_ARGUMENT, "name must be UTF-8") { ec_load(path("t"), invalidUTF8, 1, $0) }
        try Data([1, 2, 3]).write(to: URL(fileURLWithPath: path("short")))
        refuse(EC_FORMAT, "") { ec_load(path("short"), nil, 1, $0) }
        var text = ec_string(bytes: nil, count: 77)
        refuse(EC_FORMAT, "", ec_file_contents(path("short"), &text))
        refuse(EC_IO, "none", ec_file_contents(path("none"), &text))
        refuse(EC_INVALID_ARGUMENT, "path must not be null", ec_file_contents(nil, &text))
        XCTAssertEqual(text.count, 77)
        refuse(EC_INVALID_ARGUMENT, "out must not be null", ec_file_contents(path("t"), nil))
    }
}
