import CEmbedCompress.ABI
import EmbedCompressABI
import Foundation
import XCTest

/// What programs read of an error instead of its sentence.
final class ErrorsABITests: ABITestCase {
    private var error: ec_error { ec_last_error().pointee }

    private func text(_ field: UnsafePointer<CChar>?) -> String { field.map { String(cString: $0) } ?? "null" }

    func testIOErrorsHaveTheirErrnoAndPath() {
        refuse(EC_IO, "cannot open '\(path("none"))'") { ec_load(path("none"), nil, 1, $0) }
        XCTAssertEqual(error.status, EC_IO)
        XCTAssertEqual(error.system_errno, ENOENT)
        XCTAssertEqual(text(error.path), path("none"))
        refuse(EC_IO, folder) { ec_load(folder, nil, 0, $0) }
        XCTAssertEqual(error.system_errno, EISDIR)
        refuse(EC_INVALID_ARGUMENT, "", ec_set_num_threads(0))
        XCTAssertEqual(error.status, EC_INVALID_ARGUMENT)
        XCTAssertEqual(error.system_errno, 0)
        XCTAssertEqual(text(error.path), "")
    }

    func testFormatErrorsHaveTheirRuleAndPath() throws {
        let file = path("short")
        try Data([1, 2, 3]).write(to: URL(fileURLWithPath: file))
        refuse(EC_FORMAT, "the file has 3 bytes") { ec_load(file, nil, 1, $0) }
        XCTAssertEqual(text(error.rule), "file_too_short")
        XCTAssertEqual(text(error.path), file)
        refuse(EC_FORMAT, "unknown kind") { ec_table_assemble(#"{"kind":"none"}"#, nil, 0, nil, nil, $0) }
        XCTAssertEqual(text(error.rule), "unknown_node")
        XCTAssertEqual(text(error.path), "", "no file is at fault")
    }

    func testBudgetErrorsHaveTheirFloor() throws {
        let source = try dense([1, 2, 3, 4], dimension: 2)
        refuse(EC_BUDGET, "the least it can reach is 10 bytes") {
            ec_table_compress(source.table, nil, "asym", #"{"budget": 1}"#, nil, 0, -1, nil, nil, $0)
        }
        XCTAssertEqual(text(error.method), "asym")
        XCTAssertEqual(error.budget_bytes, 1)
        XCTAssertEqual(error.floor_bytes, 10)
    }

    func testIDErrorsHaveTheirPlace() throws {
        let table = try dense([1, 2, 3, 4], dimension: 2)
        var out = [Float](repeating: 0, count: 6)
        let ids: [Int64] = [1, 7, 0]
        refuse(EC_INVALID_ID, "id 7 at position 1", ec_table_lookup(table.table, ids, 8, 3, EC_RAISE, &out))
        XCTAssertEqual([error.id, error.position, error.rows, error.feature], [7, 1, 2, -1])
        let offsets: [Int64] = [0, 1, 3]
        ids.withUnsafeBytes { ids in
            offsets.withUnsafeBytes { offsets in
                var bags = ec_bags()
                (bags.ids, bags.id_count, bags.id_bytes) = (ids.baseAddress, 3, 8)
                (bags.offsets, bags.offset_count, bags.offset_bytes) = (offsets.baseAddress, 3, 8)
                (bags.include_last_offset, bags.padding_id) = (1, -1)
                refuse(EC_INVALID_ID, "of feature 1", ec_tables_bag([table.table, table.table], 2, &bags, &out))
            }
        }
        XCTAssertEqual([error.id, error.position, error.rows, error.feature], [7, 1, 2, 1])
    }
}
