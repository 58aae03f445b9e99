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
            path(name), tables, pointers, Int64(tables.count), nil, 0, metadata, progress?.callback, progress?.context,
            nil)
    }

    private func files() throws -> [String] { try FileManager.default.contentsOfDirectory(atPath: folder).sorted() }

    func testSavingAndLoading() throws {
        let one = try dense([1, 2, 3, 4], dimension: 2)
        let two = try make { ec_table_compress(one.table, nil, "asym", #"{"bits": 8}"#, nil, 0, -1, nil, nil, $0) }
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

    func testVerifying() throws {
        let table = try dense([1, 2, 3, 4], dimension: 2)
        XCTAssertEqual(
            save([table.table], ["a"], metadata: #"{"note": "hello", "embedcompress.digests": "sha256"}"#), EC_OK,
            lastError)
        let contents = try XCTUnwrap(json(string { ec_file_contents(path("t"), $0) }) as? [String: Any])
        XCTAssertEqual(contents["has_digests"] as? Bool, true)
        XCTAssertEqual(contents["metadata"] as? [String: String], ["note": "hello"])
        let progress = ProgressCount()
        XCTAssertEqual(ec_file_verify(path("t"), progress.callback, progress.context), EC_OK, lastError)
        XCTAssertEqual(progress.calls.last?.done, 32)
        let loaded = try make { ec_load_verified(path("t"), nil, 0, nil, nil, $0) }
        XCTAssertEqual(decode(loaded.table), [1, 2, 3, 4])

        var bytes = try Data(contentsOf: URL(fileURLWithPath: path("t")))
        bytes[bytes.count - 1] ^= 1
        try bytes.write(to: URL(fileURLWithPath: path("t")))
        refuse(EC_FORMAT, "tensor 'a.rows' has the digest sha256:", ec_file_verify(path("t"), nil, nil))
        refuse(EC_FORMAT, "tensor 'a.rows' has the digest sha256:") {
            ec_load_verified(path("t"), "a", 1, nil, nil, $0)
        }
        XCTAssertEqual(
            save([table.table], ["a"], metadata: #"{"embedcompress.digests": "md5"}"#), EC_INVALID_ARGUMENT)
        XCTAssertTrue(lastError.contains("must be 'sha256'"), lastError)
    }

    func testTensorsBesideTables() throws {
        let table = try dense([1, 2, 3, 4], dimension: 2)
        let names = (
            table: permanent("a".utf8CString.map { $0 }).assumingMemoryBound(to: CChar.self),
            tensor: permanent("flags".utf8CString.map { $0 }).assumingMemoryBound(to: CChar.self)
        )
        let (shape, flags): ([Int64], [UInt8]) = ([3, 1], [1, 0, 1])
        var written: Int64 = 0
        let status = shape.withUnsafeBufferPointer { shape in
            flags.withUnsafeBytes { flags in
                let tensor = ec_array(
                    name: names.tensor, dtype: EC_BOOL, rank: 2, shape: shape.baseAddress, data: flags.baseAddress)
                return ec_save(
                    path("t"), [table.table], [names.table], 1, [tensor], 1, nil, nil, nil, &written)
            }
        }
        XCTAssertEqual(status, EC_OK, lastError)
        XCTAssertEqual(written, 16 + 3)
        let contents = try XCTUnwrap(json(string { ec_file_contents(path("t"), $0) }) as? [String: Any])
        XCTAssertEqual(contents["tables"] as? [String], ["a"])
        XCTAssertEqual(contents["plain"] as? [String], ["flags"])
        var read: [UInt8] = [9, 9, 9]
        func readTensor(_ name: UnsafePointer<CChar>?, bytes: Int64) -> ec_status {
            read.withUnsafeMutableBytes { memory in
                ec_file_read(path("t"), [ec_read(name: name, data: memory.baseAddress, byte_count: bytes)], 1)
            }
        }
        XCTAssertEqual(readTensor(names.tensor, bytes: 3), EC_OK, lastError)
        XCTAssertEqual(read, flags)
        refuse(EC_INVALID_ARGUMENT, "tensor 'flags' has 3 bytes, not 2", readTensor(names.tensor, bytes: 2))
        refuse(EC_FORMAT, "a", readTensor(names.table, bytes: 3))
        refuse(EC_INVALID_ARGUMENT, "name must not be null", readTensor(nil, bytes: 3))
        refuse(EC_IO, "none", ec_file_read(path("none"), nil, 0))
    }

    func testCompressingToAFile() throws {
        let source = try dense([1, 2, 3, 4, 5, 6, 7, 8], dimension: 4)
        let weights = try dense([1, 0], dimension: 1)
        let name = permanent([CChar](arrayLiteral: 97, 0)).assumingMemoryBound(to: CChar.self)
        func compress(
            _ job: ec_job, _ method: String = "greedy", count: Int64 = 1, rowAlignment: Int64 = 1
        ) -> (ec_status, ec_report) {
            var report = ec_report()
            let status = ec_compress_to_file(path("c"), [job], count, method, rowAlignment, nil, nil, nil, &report)
            return (status, report)
        }
        let job = ec_job(
            name: name, source: source.table, weights: weights.table, options: nil, arrays: nil, array_count: 0)
        let (status, report) = compress(job)
        XCTAssertEqual(status, EC_OK, lastError)
        XCTAssertEqual(report.stored_bytes, 2 * (2 + 4))
        XCTAssertGreaterThanOrEqual(report.fallback_share, 0)
        XCTAssertLessThan(report.quality.normalized_l2, 0.1)
        XCTAssertEqual(decode(try make { ec_load(path("c"), "a", 1, $0) }.table).count, 8)
        refuse(EC_INVALID_ARGUMENT, "asym minimises no error", compress(job, "asym").0)
        let plain = ec_job(name: name, source: source.table, weights: nil, options: nil, arrays: nil, array_count: 0)
        XCTAssertEqual(compress(plain, "asym").1.fallback_share, -1)
        let asym = compress(plain, "asym").1
        XCTAssertEqual([asym.coarse_scale_share, asym.f16_loss, asym.f32_loss], [0, -1, -1])
        let tiny = try dense([1e-7, 2e-7, 3e-7, 5e-7], dimension: 4)
        let small = compress(
            ec_job(name: name, source: tiny.table, weights: nil, options: nil, arrays: nil, array_count: 0)
        ).1
        XCTAssertGreaterThan(small.f16_loss, small.f32_loss)
        XCTAssertGreaterThan(small.f32_loss, 0)
        XCTAssertNil(compress(plain, "asym").1.choices.bytes)
        let choices = compress(plain, "trellis").1.choices
        XCTAssertTrue(String(cString: try XCTUnwrap(choices.bytes)).hasPrefix(#"[{"option":"center","value":"none""#))
        ec_string_release(choices)
        refuse(
            EC_INVALID_ARGUMENT, "source must not be null",
            compress(ec_job(name: name, source: nil, weights: nil, options: nil, arrays: nil, array_count: 0)).0)
        refuse(
            EC_INVALID_ARGUMENT, "name must not be null",
            compress(ec_job(name: nil, source: source.table, weights: nil, options: nil, arrays: nil, array_count: 0)).0
        )
        refuse(EC_INVALID_ARGUMENT, "negative", compress(plain, count: -1).0)
        XCTAssertEqual(compress(plain, rowAlignment: 16).1.stored_bytes, 2 * 16)
        XCTAssertEqual(ec_table_stored_bytes(try make { ec_load(path("c"), "a", 1, $0) }.table), 2 * 16)
        for alignment: Int64 in [-1, 0, 3] {
            refuse(EC_INVALID_ARGUMENT, "row_alignment must", compress(plain, rowAlignment: alignment).0)
        }
        var report2 = ec_report()
        refuse(
            EC_INVALID_ARGUMENT, "jobs must",
            ec_compress_to_file(path("c"), nil, 1, "asym", 1, nil, nil, nil, &report2))
        refuse(
            EC_INVALID_ARGUMENT, "reports must",
            ec_compress_to_file(path("c"), [plain], 1, "asym", 1, nil, nil, nil, nil))
    }

    func testWarmingUp() throws {
        let table = try dense([1, 2, 3, 4], dimension: 2)
        XCTAssertEqual(save([table.table], ["t"]), EC_OK, lastError)
        let mapped = try make { ec_load(path("t"), "t", 1, $0) }
        var bytes: Int64 = -1
        let progress = ProgressCount()
        XCTAssertEqual(ec_table_warm_up(mapped.table, progress.callback, progress.context, &bytes), EC_OK, lastError)
        XCTAssertEqual(bytes, 16)
        XCTAssertEqual(progress.calls.last?.done, 16)
        bytes = -1
        refuse(EC_CANCELLED, "cancelled", ec_table_warm_up(mapped.table, { _, _, _ in 1 }, nil, &bytes))
        refuse(EC_INVALID_ARGUMENT, "table must not", ec_table_warm_up(nil, nil, nil, &bytes))
        XCTAssertEqual(bytes, -1)
        refuse(EC_INVALID_ARGUMENT, "bytes must not", ec_table_warm_up(mapped.table, nil, nil, nil))
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
        refuse(EC_INVALID_ARGUMENT, "path must not", ec_save(nil, [table], [name], 1, nil, 0, nil, nil, nil, nil))
        refuse(EC_INVALID_ARGUMENT, "names must not", ec_save(path("t"), [table], nil, 1, nil, 0, nil, nil, nil, nil))
        refuse(EC_INVALID_ARGUMENT, "tables must not", ec_save(path("t"), nil, [nil], 1, nil, 0, nil, nil, nil, nil))
        refuse(EC_INVALID_ARGUMENT, "negative", ec_save(path("t"), [table], [nil], -1, nil, 0, nil, nil, nil, nil))
        refuse(EC_IO, "no/t", save([table], ["a"], to: "no/t"))
        XCTAssertEqual(ec_last_error().pointee.system_errno, ENOENT)
        XCTAssertEqual(String(cString: ec_last_error().pointee.path), path("no/t"))
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
        refuse(EC_IO, #"cannot open '\xff'"#) { ec_load(invalidUTF8, nil, 1, $0) }
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
