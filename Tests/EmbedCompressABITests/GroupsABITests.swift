import CEmbedCompress.ABI
import EmbedCompressABI
import XCTest

final class GroupsABITests: ABITestCase {
    /// Calls `body` with groups, whose texts live as long.
    private func withGroups<Result>(
        _ kind: String = "columns", groups: Int64 = 2, block: Int64 = 0, bits: Int64 = 8, scales: String = "f32",
        _ body: (UnsafePointer<ec_groups>) throws -> Result
    ) rethrows -> Result {
        try kind.withCString { kind in
            try scales.withCString { scales in
                var groups = ec_groups(kind: kind, groups: groups, block: block, bits: bits, scale_dtype: scales)
                return try body(&groups)
            }
        }
    }

    func testShapesAndBytes() {
        var (rows, columns, count, bytes): (Int64, Int64, Int64, Int64) = (0, 0, 0, 0)
        for (kind, shape, stored): (String, [Int64], Int64) in [
            ("tensor", [5, 20, 1], 108), ("rows", [3, 20, 2], 140), ("columns", [5, 10, 2], 268),
            ("blocks", [1, 8, 15], 220),
        ] {
            withGroups(kind, block: 8) { groups in
                XCTAssertEqual(ec_group_shape(groups, 5, 20, &rows, &columns, &count), EC_OK, lastError)
                XCTAssertEqual(ec_group_bytes(groups, 5, 20, &bytes), EC_OK, lastError)
            }
            XCTAssertEqual([rows, columns, count], shape, kind)
            XCTAssertEqual(bytes, stored, kind)
        }
        withGroups("heads") {
            refuse(EC_INVALID_ARGUMENT, "group must be one of", ec_group_bytes($0, 5, 20, &bytes))
        }
        withGroups(scales: "f64") {
            refuse(EC_INVALID_ARGUMENT, "scale_dtype must be", ec_group_bytes($0, 5, 20, &bytes))
        }
        withGroups { refuse(EC_INVALID_ARGUMENT, "negative", ec_group_shape($0, -1, 20, &rows, &columns, &count)) }
        refuse(EC_INVALID_ARGUMENT, "groups must not be null", ec_group_bytes(nil, 5, 20, &bytes))
    }

    func testRangesGivenBackGiveTheSameTable() throws {
        let source = try dense([0, 1, 2, 3, 255, 5, 6, 512], dimension: 4).table
        for ranges in ["min_max", "least_squares"] {
            var (scales, biases): ([Float], [Float]) = ([0, 0], [0, 0])
            try withGroups { groups in
                XCTAssertEqual(
                    ec_group_ranges(source, groups, ranges, nil, nil, &scales, &biases), EC_OK, lastError)
                let one = try make { ec_group_quantize(source, groups, ranges, nil, nil, $0) }
                let other = try make { ec_group_encode(source, groups, scales, biases, 2, nil, nil, $0) }
                XCTAssertEqual(decode(one.table), decode(other.table))
            }
            if ranges == "min_max" { XCTAssertEqual([scales, biases], [[1, 2], [0, 2]]) }
        }
    }

    func testWhatIsRefused() throws {
        let source = try dense([1, 2, 3, 4], dimension: 2).table
        withGroups { groups in
            refuse(EC_INVALID_ARGUMENT, "ranges must be one of") {
                ec_group_quantize(source, groups, "widest", nil, nil, $0)
            }
            refuse(EC_INVALID_ARGUMENT, "for each of 2 groups") {
                ec_group_encode(source, groups, [1], [0], 1, nil, nil, $0)
            }
            refuse(EC_INVALID_ARGUMENT, "scales must not be null") {
                ec_group_encode(source, groups, nil, [0, 0], 2, nil, nil, $0)
            }
            refuse(EC_INVALID_ARGUMENT, "source must not be null") {
                ec_group_quantize(nil, groups, "min_max", nil, nil, $0)
            }
            let progress = ProgressCount(stopsAt: 1)
            refuse(EC_CANCELLED, "cancelled") {
                ec_group_quantize(source, groups, "min_max", progress.callback, progress.context, $0)
            }
        }
    }

    func testFusedRows() throws {
        // Two columns of 8 bits, scale 1 and bias 0 in f16.
        let rows: [UInt8] = [3, 4, 0, 0x3C, 0, 0, 5, 6, 0, 0x3C, 0, 0]
        let releases = ReleaseCount()
        let memory = permanent(rows)
        let table = try make {
            ec_table_from_fused_rows(
                memory, 2, 6, 2, 8, "fbgemm", "f16", 1, releases.callback, releases.context, $0)
        }
        XCTAssertEqual(decode(table.table), [3, 4, 5, 6])
        var (rowBytes, data): (Int64, UnsafeRawPointer?) = (0, nil)
        XCTAssertEqual(ec_table_fused_row_bytes(table.table, "fbgemm", 1, &rowBytes, &data), EC_OK, lastError)
        XCTAssertEqual(rowBytes, 6)
        XCTAssertEqual(data, memory)
        XCTAssertEqual(ec_table_fused_row_bytes(table.table, "tbe", 8, &rowBytes, &data), EC_OK, lastError)
        XCTAssertEqual(rowBytes, 8)
        XCTAssertNil(data)
        var out = [UInt8](repeating: 9, count: 16)
        XCTAssertEqual(ec_table_fused_rows(table.table, "tbe", 8, &out), EC_OK, lastError)
        XCTAssertEqual(out, [0, 0x3C, 0, 0, 3, 4, 0, 0, 0, 0x3C, 0, 0, 5, 6, 0, 0])
        refuse(EC_INVALID_ARGUMENT, "layout must be one of", ec_table_fused_rows(table.table, "onnx", 1, &out))
        refuse(EC_INVALID_ARGUMENT, "out must not be null", ec_table_fused_rows(table.table, "tbe", 8, nil))
        table.release()
        XCTAssertEqual(releases.count, 1)
        refuse(EC_INVALID_ARGUMENT, "these have 5") {
            ec_table_from_fused_rows(
                memory, 2, 5, 2, 8, "fbgemm", "f16", 1, releases.callback, releases.context, $0)
        }
        XCTAssertEqual(releases.count, 1)
    }
}
