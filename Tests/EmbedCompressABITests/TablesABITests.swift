import CEmbedCompress.ABI
import EmbedCompressABI
import Foundation
import XCTest

final class TablesABITests: ABITestCase {
    // MARK: Dense

    func testDenseTablesOfEachType() throws {
        let halves: [UInt16] = [0x3C00, 0x4000]
        for (data, type, expected): (UnsafeRawPointer, ec_dtype, [Float]) in [
            (permanent([Float(1), 2]), EC_F32, [1, 2]), (permanent(halves), EC_F16, [1, 2]),
            (permanent([UInt16](arrayLiteral: 0x3F80, 0x4000)), EC_BF16, [1, 2]),
        ] {
            let owned = try make { ec_table_dense(data, type, 1, 2, nil, nil, $0) }
            XCTAssertEqual(decode(owned.table), expected)
            XCTAssertEqual(ec_table_rows(owned.table), 1)
            XCTAssertEqual(ec_table_dimension(owned.table), 2)
            XCTAssertEqual(ec_table_stored_bytes(owned.table), type == EC_F32 ? 8 : 4)
            XCTAssertEqual(ec_table_invalid_count(owned.table), 0)
        }
    }

    func testDenseArgumentsThatCannotBe() {
        let data = permanent([Float(1), 2])
        let releases = ReleaseCount()
        for (data, type, rows, dimension, text): (UnsafeRawPointer?, ec_dtype, Int64, Int64, String) in [
            (data, EC_F32, -1, 2, "rows must not be negative"), (data, EC_F32, 1, -2, "dimension must not be negative"),
            (data, EC_F32, 1, 0, "columns"), (data, EC_F64, 1, 2, "f32, f16 or bf16"),
            (data, ec_dtype(rawValue: 99), 1, 2, "f32, f16 or bf16"), (nil, EC_F32, 1, 2, "has no memory"),
            (data, EC_F32, .max, .max, "cannot have the shape"), (data, EC_F32, .min, 1, "rows must not be negative"),
            (data, EC_F32, .max, 4, "cannot have the shape"),
        ] {
            refuse(EC_INVALID_ARGUMENT, text) {
                ec_table_dense(data, type, rows, dimension, releases.callback, releases.context, $0)
            }
        }
        refuse(
            EC_INVALID_ARGUMENT, "out must not be null",
            ec_table_dense(data, EC_F32, 1, 2, releases.callback, releases.context, nil))
        XCTAssertEqual(releases.count, 0, "memory that was not taken is not given back")
    }

    func testMemoryIsGivenBackOnceWhenTheLastTableIsGone() throws {
        let releases = ReleaseCount()
        let data = permanent([Float](repeating: 2, count: 400))
        let table = try make { ec_table_dense(data, EC_F32, 100, 4, releases.callback, releases.context, $0) }
        let slice = try make { ec_table_slice(table.table, 10, 20, $0) }
        let route = try make { compose("remap", #"{"modulo": 10, "rows": 50}"#, [], [slice.table], $0) }
        let copy = try make { ec_table_compress(route.table, nil, "asym", nil, nil, 0, -1, nil, nil, $0) }
        table.release()
        slice.release()
        XCTAssertEqual(releases.count, 0)
        XCTAssertEqual(decode(route.table), [Float](repeating: 2, count: 200))
        route.release()
        XCTAssertEqual(releases.count, 1, "compressing keeps nothing of its source")
        XCTAssertEqual(decode(copy.table), [Float](repeating: 2, count: 200))
        copy.release()
        XCTAssertEqual(releases.count, 1)
        try make { ec_table_dense(nil, EC_F32, 0, 4, releases.callback, releases.context, $0) }.release()
        XCTAssertEqual(releases.count, 2)
    }

    // MARK: Compressing

    func testCompressing() throws {
        let source = try dense((0..<640).map { Float($0 % 37) }, dimension: 64)
        let progress = ProgressCount()
        let copy = try make {
            ec_table_compress(
                source.table, nil, "greedy", #"{"bits": 8}"#, nil, 0, -1, progress.callback, progress.context, $0)
        }
        XCTAssertEqual(ec_table_stored_bytes(copy.table), 680)
        XCTAssertEqual(progress.calls.last?.done, 10)
        XCTAssertEqual(progress.calls.last?.total, 10)
        var quality = ec_quality()
        XCTAssertEqual(ec_table_evaluate(copy.table, source.table, 0, 10, 0, nil, nil, &quality), EC_OK)
        XCTAssertLessThan(quality.normalized_l2, 0.01)
        XCTAssertGreaterThan(quality.mean_cosine, 0.999)
    }

    func testCompressingWithBadArguments() throws {
        let source = try dense([1, 2, .nan, 4], dimension: 2)
        let good = try dense([1, 2, 3, 4], dimension: 2)
        for (method, options, status, text): (String?, String?, ec_status, String) in [
            ("nope", nil, EC_INVALID_ARGUMENT, "there is no method 'nope'"),
            (nil, nil, EC_INVALID_ARGUMENT, "method must not be null"),
            ("asym", "[]", EC_INVALID_ARGUMENT, "options must be a JSON object"),
            ("asym", #"{"bits": [4]}"#, EC_INVALID_ARGUMENT, "option 'bits' must be"),
            ("asym", #"{"bits": 12}"#, EC_INVALID_ARGUMENT, "not 12"),
            ("asym", #"{"x": 1}"#, EC_INVALID_ARGUMENT, "no option 'x'"),
            ("asym", #"{"budget": 1}"#, EC_BUDGET, "the least it can reach is 10 bytes"),
        ] {
            refuse(status, text) { ec_table_compress(good.table, nil, method, options, nil, 0, -1, nil, nil, $0) }
        }
        var table = untouched
        for text in ["{", "", "{]", #"{"bits":}"#, "{} {}"] {
            XCTAssertNotEqual(ec_table_compress(good.table, nil, "asym", text, nil, 0, -1, nil, nil, &table), EC_OK)
            XCTAssertEqual(table, untouched)
            XCTAssertFalse(lastError.isEmpty)
        }
        refuse(EC_INVALID_ARGUMENT, "row 1 has nan") {
            ec_table_compress(source.table, nil, "asym", nil, nil, 0, -1, nil, nil, $0)
        }
        refuse(EC_INVALID_ARGUMENT, "source must not be null") {
            ec_table_compress(nil, nil, "asym", nil, nil, 0, -1, nil, nil, $0)
        }
        refuse(
            EC_INVALID_ARGUMENT, "out must", ec_table_compress(good.table, nil, "asym", nil, nil, 0, -1, nil, nil, nil))
        let invalidUTF8: [CChar] = [-1, 0]
        refuse(EC_INVALID_ARGUMENT, "method must be UTF-8") {
            ec_table_compress(good.table, nil, invalidUTF8, nil, nil, 0, -1, nil, nil, $0)
        }
    }

    func testCancelling() throws {
        let source = try dense([Float](repeating: 1, count: 80_000), dimension: 8)
        let progress = ProgressCount(stopsAt: 1)
        refuse(EC_CANCELLED, "cancelled") {
            ec_table_compress(source.table, nil, "asym", nil, nil, 0, -1, progress.callback, progress.context, $0)
        }
        XCTAssertEqual(progress.calls.count, 1)
        var quality = ec_quality()
        quality.mean_cosine = -7
        let again = ProgressCount(stopsAt: 1)
        refuse(
            EC_CANCELLED, "cancelled",
            ec_table_evaluate(source.table, source.table, 0, 10, 0, again.callback, again.context, &quality))
        XCTAssertEqual(quality.mean_cosine, -7)
    }

    // MARK: Slices

    func testSlices() throws {
        let table = try dense([0, 1, 2, 3], dimension: 1)
        XCTAssertEqual(decode(try make { ec_table_slice(table.table, 1, 3, $0) }.table), [1, 2])
        XCTAssertEqual(decode(try make { ec_table_slice(table.table, 4, 4, $0) }.table), [])
    }

    func testAlignedRows() throws {
        let table = try dense([0, 1, 2, 3], dimension: 2)
        let progress = ProgressCount()
        let aligned = try make { ec_table_align(table.table, 64, progress.callback, progress.context, $0) }
        XCTAssertEqual(progress.calls.last?.done, 2)
        XCTAssertEqual(decode(aligned.table), [0, 1, 2, 3])
        XCTAssertEqual(ec_table_stored_bytes(aligned.table), 128)
        let layouts = try json(string { ec_table_row_layouts(aligned.table, $0) }) as? [[String: Any]]
        let layout = try XCTUnwrap(layouts?.first)
        XCTAssertEqual(layout["path"] as? String, "")
        XCTAssertEqual(layout["unpadded_row_bytes"] as? Int, 8)
        XCTAssertEqual((layout["choices"] as? [[String: Any]])?.count, 4)
        let current = try XCTUnwrap(layout["current"] as? [String: Any])
        XCTAssertEqual(current["row_alignment"] as? Int, 64)
        XCTAssertEqual(current["row_bytes"] as? Int, 64)
        XCTAssertEqual(current["stored_bytes"] as? Int, 128)
        XCTAssertEqual(current["lines_per_row"] as? Double, 1)
        for alignment: Int64 in [-1, 0, 3, 128] {
            refuse(EC_INVALID_ARGUMENT, "row_alignment must") { ec_table_align(table.table, alignment, nil, nil, $0) }
        }
        refuse(EC_CANCELLED, "cancelled") { ec_table_align(table.table, 2, { _, _, _ in 1 }, nil, $0) }
        refuse(EC_INVALID_ARGUMENT, "table must not") { ec_table_align(nil, 2, nil, nil, $0) }
        refuse(EC_INVALID_ARGUMENT, "out must not", ec_table_align(table.table, 2, nil, nil, nil))
        refuse(EC_INVALID_ARGUMENT, "out must not", ec_table_row_layouts(table.table, nil))
        var text = ec_string()
        refuse(EC_INVALID_ARGUMENT, "table must not", ec_table_row_layouts(nil, &text))
    }

    func testSlicesThatCannotBe() throws {
        let table = try dense([0, 1, 2, 3], dimension: 1)
        for (start, stop) in [(-1, 2), (0, 5), (3, 2), (Int64.min, 0), (0, Int64.max)] as [(Int64, Int64)] {
            refuse(EC_INVALID_ARGUMENT, "") { ec_table_slice(table.table, start, stop, $0) }
        }
        refuse(EC_INVALID_ARGUMENT, "table must not be null") { ec_table_slice(nil, 0, 1, $0) }
        refuse(EC_INVALID_ARGUMENT, "out", ec_table_slice(table.table, 0, 1, nil))
        XCTAssertEqual(ec_table_rows(nil), 0)
        XCTAssertEqual(ec_table_dimension(nil), 0)
        XCTAssertEqual(ec_table_stored_bytes(nil), 0)
        XCTAssertEqual(ec_table_invalid_count(nil), 0)
        XCTAssertEqual(ec_table_array_count(nil), 0)
    }

    func testOptionsThatAreArrays() throws {
        let source = try dense((0..<64).map { Float($0 % 7) }, dimension: 4)
        let options = #"{"share": 0.25, "hot": "dense"}"#
        func compress(_ counts: [Int16], rank: Int32 = 1, dtype: ec_dtype = EC_I16) throws -> (ec_status, [Float]) {
            try counts.withUnsafeBytes { bytes in
                try [Int64(counts.count), 1].withUnsafeBufferPointer { shape in
                    let name = permanent([CChar]("counts".utf8CString)).assumingMemoryBound(to: CChar.self)
                    let array = ec_array(
                        name: name, dtype: dtype, rank: rank, shape: shape.baseAddress, data: bytes.baseAddress)
                    var table: OpaquePointer?
                    let status = ec_table_compress(
                        source.table, nil, "hot_cold", options, [array], 1, -1, nil, nil, &table)
                    guard status == EC_OK else { return (status, []) }
                    return (
                        status,
                        decode(
                            try make {
                                $0.pointee = table
                                return EC_OK
                            }.table)
                    )
                }
            }
        }
        let counts = (0..<16).map { Int16($0) }
        let (status, values) = try compress(counts)
        XCTAssertEqual(status, EC_OK, lastError)
        XCTAssertEqual(Array(values[48...]), (48..<64).map { Float($0 % 7) })
        refuse(EC_INVALID_ARGUMENT, "counts must be 16 numbers", try compress([1, 2]).0)
        refuse(EC_INVALID_ARGUMENT, "counts has -1.0 for row 0", try compress(counts.map { -1 - $0 }).0)
        refuse(EC_INVALID_ARGUMENT, "counts must have one axis", try compress(counts, rank: 2).0)
        refuse(EC_INVALID_ARGUMENT, "counts must hold numbers", try compress(counts, dtype: EC_BF16).0)
    }
}
