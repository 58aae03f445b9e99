import CEmbedCompress.ABI
import EmbedCompressABI
import XCTest

final class TrainedTablesABITests: ABITestCase {
    private var elements: [Float] = [1, 2, 3, 4, 5, 6]
    private var others: [Float] = [7, 8]

    private func with(
        _ change: (inout ec_trained_rows) -> Void = { _ in }, _ body: (UnsafePointer<ec_trained_rows>) -> ec_status
    ) -> ec_status {
        elements.withUnsafeMutableBytes { elements in
            others.withUnsafeMutableBytes { others in
                var tables = [(elements, 3), (others, 1)].map { memory, rows in
                    ec_trained_rows(
                        elements: memory.baseAddress, scales: nil, element_state: nil, row_state: nil,
                        rows: Int64(rows), dimension: 2, format: EC_ROWS_F32)
                }
                change(&tables[1])
                return body(tables)
            }
        }
    }

    private var descent: ec_row_step {
        ec_row_step(
            optimizer: EC_SGD, rounding: EC_NEAREST, learning_rate: 0.5, eps: 0, beta1: 0, beta2: 0, weight_decay: 0,
            seed: 0, step: 1)
    }

    func testRowsOfEachFollowThoseBefore() {
        var (out, step) = ([Float](repeating: 0, count: 4), descent)
        XCTAssertEqual(with { ec_trained_tables_gather($0, 2, [Int32(3), 1], 4, 2, &out) }, EC_OK)
        XCTAssertEqual(out, [7, 8, 3, 4])
        XCTAssertEqual(with { ec_trained_tables_step($0, 2, [Int32(3), 1], 4, 2, [2, 2, 4, 4], &step) }, EC_OK)
        XCTAssertEqual(elements, [1, 2, 1, 2, 5, 6])
        XCTAssertEqual(others, [6, 7])
        XCTAssertEqual(withBags { ec_trained_tables_pool($0, 2, $1, &out) }, EC_OK)
        XCTAssertEqual(out, [13, 16, 0, 0])
        XCTAssertEqual(withBags { ec_trained_tables_step_bags($0, 2, $1, [2, 2, 9, 9], &step) }, EC_OK)
        XCTAssertEqual(elements, [0, 1, 1, 2, 5, 6])
        XCTAssertEqual(others, [4, 5])
    }

    /// The rows 3, 0 and 3, and none.
    private func withBags(
        _ body: (UnsafePointer<ec_trained_rows>, UnsafePointer<ec_bags>) -> ec_status
    ) -> ec_status {
        [Int32(3), 0, 3].withUnsafeBufferPointer { ids in
            [Int64(0), 3].withUnsafeBufferPointer { offsets in
                var bags = ec_bags(
                    ids: ids.baseAddress, offsets: offsets.baseAddress, weights: nil, id_count: Int64(ids.count),
                    offset_count: 2, padding_id: -1, id_bytes: 4, offset_bytes: 8, include_last_offset: 0,
                    mode: EC_SUM, on_invalid: EC_RAISE)
                return with { body($0, &bags) }
            }
        }
    }

    func testArgumentsOfTables() {
        var (out, step) = ([Float](repeating: 7, count: 4), descent)
        func refuse(
            _ text: String, _ status: ec_status = EC_INVALID_ARGUMENT, ids: [Int64] = [0, 3], count: Int64 = 2,
            table: (inout ec_trained_rows) -> Void = { _ in }, line: UInt = #line
        ) {
            XCTAssertEqual(with(table) { ec_trained_tables_gather($0, count, ids, 8, 2, &out) }, status, line: line)
            XCTAssertTrue(lastError.contains(text), lastError, line: line)
            let stepped = with(table) { ec_trained_tables_step($0, count, ids, 8, 2, [1, 1, 1, 1], &step) }
            XCTAssertEqual(stepped, status, line: line)
            XCTAssertTrue(lastError.contains(text), lastError, line: line)
        }
        refuse("id 4 at position 1", EC_INVALID_ID, ids: [0, 4])
        refuse("there must be a table", count: 0)
        refuse("table_count must not be negative", count: -1)
        refuse("tables must have the same dimension", table: { $0.dimension = 1 })
        refuse("elements must not be null", table: { $0.elements = nil })
        refuse("scales must not be null", table: { $0.format = EC_ROWS_INT8 })
        XCTAssertEqual(ec_trained_tables_gather(nil, 2, [Int64(0)], 8, 1, &out), EC_INVALID_ARGUMENT)
        XCTAssertEqual(
            with { ec_trained_tables_step($0, 2, [Int64(0), 3], 8, 2, [1, 1, 1, .nan], &step) }, EC_INVALID_ARGUMENT)
        XCTAssertEqual(out, [7, 7, 7, 7])
        XCTAssertEqual(elements, [1, 2, 3, 4, 5, 6])
        XCTAssertEqual(others, [7, 8])
    }

    func testPlaces() {
        var places = [Int64](repeating: 7, count: 3)
        let words: [UInt64] = [0b10, 0b1]
        let before: [Int32] = [0, 1]
        // Of 66 rows, the rows 1 and 64 are the second table's; or those from 1 to 2.
        let (ends, shifts): ([Int64], [Int64]) = ([1, 3, 66], [0, 63, -2])
        func find(_ ids: [Int64]?, _ change: (inout ec_divided_rows) -> Void = { _ in }) -> ec_status {
            words.withUnsafeBufferPointer { words in
                before.withUnsafeBufferPointer { before in
                    ends.withUnsafeBufferPointer { ends in
                        shifts.withUnsafeBufferPointer { shifts in
                            var rows = ec_divided_rows(
                                rows: 66, flags: words.baseAddress, before: before.baseAddress, ends: ends.baseAddress,
                                shifts: shifts.baseAddress, run_count: 3)
                            change(&rows)
                            return ec_divided_rows_places(&rows, ids, 8, 3, &places)
                        }
                    }
                }
            }
        }
        XCTAssertEqual(find([64, 65, 1]), EC_OK)
        XCTAssertEqual(places, [65, 63, 64])
        XCTAssertEqual(find([0, 65, 1]) { $0.flags = nil }, EC_OK)
        XCTAssertEqual(places, [0, 63, 64])
        XCTAssertEqual(find([0, 1, 66]), EC_INVALID_ID)
        XCTAssertTrue(lastError.contains("id 66 at position 2"), lastError)
        XCTAssertEqual(find([0, 1, 2]) { $0.rows = 0 }, EC_INVALID_ID)
        for (text, change) in [
            ("before must not be null", { $0.before = nil }), ("rows must not be negative", { $0.rows = -1 }),
            ("ends must not be null", { ($0.flags, $0.ends) = (nil, nil) }),
            ("shifts must not be null", { ($0.flags, $0.shifts) = (nil, nil) }),
            ("run_count must be at least 1", { ($0.flags, $0.run_count) = (nil, 0) }),
        ] as [(String, (inout ec_divided_rows) -> Void)] {
            XCTAssertEqual(find([0, 1, 2], change), EC_INVALID_ARGUMENT)
            XCTAssertTrue(lastError.contains(text), lastError)
        }
        XCTAssertEqual(find(nil), EC_INVALID_ARGUMENT)
        XCTAssertEqual(ec_divided_rows_places(nil, [Int64(0)], 8, 1, &places), EC_INVALID_ARGUMENT)
        XCTAssertEqual(places, [0, 63, 64])
    }
}
