import CEmbedCompress.ABI
import EmbedCompressABI
import Foundation
import XCTest

/// Tables that are put together by hand, over the handles of others.
final class ComposeABITests: ABITestCase {
    func testRoutes() throws {
        let table = try dense([0, 1, 2, 3], dimension: 1)
        let inner = [table.table as OpaquePointer?]
        let map = array("map", EC_I16, [3], [Int16(3), -1, 0])
        let assignment = array("assignment", EC_U8, [6], [UInt8(0), 0, 1, 0, 1, 0])
        let two = try make { ec_table_slice(table.table, 0, 2, $0) }
        let matrix = array("matrix", EC_F32, [1, 2], [Float(1), 10])
        for (kind, fields, arrays, children, expected): (String, String?, [ec_array], [OpaquePointer?], [Float]) in [
            ("remap", #"{"modulo": 4, "rows": 6}"#, [], inner, [0, 1, 2, 3, 0, 1]),
            ("remap", #"{"divisor": 3, "rows": 4}"#, [], inner, [0, 0, 0, 1]),
            ("remap", nil, [map], inner, [3, 0, 0]),
            ("columns", nil, [], inner + inner, [0, 0, 1, 1, 2, 2, 3, 3]),
            ("combine", #"{"operation": "product"}"#, [], inner + inner, [0, 1, 4, 9]),
            ("partition", nil, [], inner + [two.table], [0, 1, 2, 3, 0, 1]),
            ("partition", nil, [assignment], inner + [two.table], [0, 1, 0, 2, 1, 3]),
            ("project", nil, [matrix], inner, [0, 0, 1, 10, 2, 20, 3, 30]),
            ("normalize", nil, [], inner, [0, 1, 1, 1]),
        ] {
            XCTAssertEqual(decode(try make { compose(kind, fields, arrays, children, $0) }.table), expected, kind)
        }
        let forward = try make { compose("rotate", #"{"seed": 7, "direction": "forward"}"#, [], inner, $0) }
        let back = try make { compose("rotate", #"{"seed": 7}"#, [], [forward.table], $0) }
        XCTAssertEqual(decode(back.table), [0, 1, 2, 3])
    }

    func testStores() throws {
        let codes = array("codes", EC_U8, [2, 3], [UInt8(0), 1, 3, 2, 2, 0])
        let one = array("scales", EC_F32, [], [Float(2)])
        let zero = array("biases", EC_F64, [], [-1.0])
        let book = array("codebooks", EC_F16, [4], [UInt16(0), 0x3C00, 0x4000, 0xC000])
        let table = try make { compose("uniform", #"{"bits": 2}"#, [codes, one, zero], [], $0) }
        XCTAssertEqual(decode(table.table), [-1, 1, 5, 3, 3, -1])
        XCTAssertEqual(ec_table_stored_bytes(table.table), 2 + 8)
        let named = try make { compose("codebook", #"{"bits": 2}"#, [codes, book], [], $0) }
        XCTAssertEqual(decode(named.table), [0, 1, -2, 2, 2, 0])
        let values = array("values", EC_F32, [2, 1], [Float(4), 5])
        XCTAssertEqual(decode(try make { compose("dense", nil, [values], [], $0) }.table), [4, 5])
    }

    func testInnerTablesAreUsedAsTheyAre() throws {
        let releases = ReleaseCount()
        let data = permanent((0..<400).map { Float($0) })
        let table = try make { ec_table_dense(data, EC_F32, 100, 4, releases.callback, releases.context, $0) }
        let route = try make { compose("columns", nil, [], [table.table, table.table], $0) }
        var array = ec_array()
        XCTAssertEqual(ec_table_array(route.table, 0, &array), EC_OK)
        XCTAssertEqual(array.data, data, "the memory is shared")
        XCTAssertNotEqual(ec_table_array(route.table, 1, &array), EC_OK, "both children are on one array")
        table.release()
        XCTAssertEqual(releases.count, 0, "the route keeps it")
        route.release()
        XCTAssertEqual(releases.count, 1)
    }

    func testMemoryIsGivenBackWhenNothingUsesIt() throws {
        let table = try dense([0, 1, 2, 3], dimension: 1)
        let releases = ReleaseCount()
        func compose(_ kind: String, _ arrays: [ec_array], _ children: [OpaquePointer?]) throws -> Owned {
            try make {
                ec_table_compose(
                    kind, nil, arrays, Int64(arrays.count), children, Int64(children.count), releases.callback,
                    releases.context, $0)
            }
        }
        let packed = try compose("remap", [array("map", EC_I64, [2], [Int64(3), 0])], [table.table])
        XCTAssertEqual(releases.count, 1, "a map is packed")
        XCTAssertEqual(decode(packed.table), [3, 0])
        let lent = try compose("project", [array("matrix", EC_F32, [1, 1], [Float(2)])], [table.table])
        XCTAssertEqual(releases.count, 1, "a matrix is used where it lies")
        lent.release()
        XCTAssertEqual(releases.count, 2)
    }

    func testWhatCannotBe() throws {
        let table = try dense([0, 1, 2, 3], dimension: 1)
        let inner = [table.table as OpaquePointer?]
        let map = array("map", EC_I64, [2], [Int64(3), 4])
        let good = array("map", EC_U8, [1], [UInt8(3)])
        let wrong = array("assignment", EC_I32, [4], [Int32(0), 0, 0, 1])
        for (kind, fields, arrays, children, status, text):
            (
                String, String?, [ec_array], [OpaquePointer?], ec_status, String
            ) in [
                ("none", nil, [], [], EC_FORMAT, "unknown kind 'none'"),
                ("remap", "[]", [map], inner, EC_FORMAT, "fields must be a JSON object"),
                ("remap", "{", [map], inner, EC_FORMAT, ""),
                ("remap", nil, [], inner, EC_FORMAT, "exactly one of modulo, divisor, hash and map"),
                ("remap", nil, [map], inner, EC_FORMAT, "map entry 4 at position 1"),
                ("remap", nil, [map, map], inner, EC_FORMAT, "two arrays 'map'"),
                ("remap", nil, [good, wrong], inner, EC_FORMAT, "no array 'assignment'"),
                ("remap", #"{"rows": 3}"#, [map], inner, EC_FORMAT, "map has 2 entries, not 3"),
                ("remap", #"{"x": 3}"#, [good], inner, EC_FORMAT, "unknown field 'x'"),
                ("remap", #"{"rows": 6, "modulo": 5}"#, [], inner, EC_FORMAT, "modulus must be from 1"),
                ("remap", #"{"rows": -1, "modulo": 2}"#, [], inner, EC_FORMAT, "from 0 to 2^48 rows, not -1"),
                ("remap", #"{"rows": 6, "divisor": 1}"#, [], inner, EC_FORMAT, "the last id 5"),
                ("remap", #"{"rows": 6, "divisor": 0}"#, [], inner, EC_FORMAT, "divisor must be"),
                ("remap", #"{"rows": 6, "hash": -1}"#, [], inner, EC_FORMAT, "seed must not be negative"),
                ("remap", #"{"rows": 6, "hash": 1.5}"#, [], inner, EC_FORMAT, "hash must be an integer, not 1.5"),
                ("remap", #"{"rows": 6, "hash": 1}"#, [], inner + inner, EC_FORMAT, "one inner table, not 2"),
                ("partition", nil, [wrong], inner, EC_FORMAT, "id 3 is assigned to table 1"),
                ("columns", nil, [], [], EC_FORMAT, "columns need one table or more"),
                ("uniform", #"{"bits": 2}"#, [], [], EC_FORMAT, "needs the array 'codes'"),
                ("dense", nil, [map], inner, EC_FORMAT, "no inner tables"),
            ]
        {
            refuse(status, text) { compose(kind, fields, arrays, children, $0) }
        }
        refuse(EC_INVALID_ARGUMENT, "kind must not be null") {
            ec_table_compose(nil, nil, nil, 0, nil, 0, nil, nil, $0)
        }
        refuse(EC_INVALID_ARGUMENT, "children must not be null") {
            ec_table_compose("columns", nil, nil, 0, nil, 1, nil, nil, $0)
        }
        refuse(EC_INVALID_ARGUMENT, "a child must not be null") { compose("columns", nil, [], [nil], $0) }
        refuse(EC_INVALID_ARGUMENT, "arrays must not be null") {
            ec_table_compose("remap", nil, nil, 1, inner, 1, nil, nil, $0)
        }
        refuse(EC_INVALID_ARGUMENT, "array_count must not be negative") {
            ec_table_compose("remap", nil, nil, -1, inner, 1, nil, nil, $0)
        }
        refuse(EC_INVALID_ARGUMENT, "child_count must not be negative") {
            ec_table_compose("remap", nil, nil, 0, inner, -1, nil, nil, $0)
        }
        refuse(EC_INVALID_ARGUMENT, "out must not be null", compose("remap", nil, [map], inner, nil))
    }

    // MARK: Bytes of what is only described

    func testPlannedBytesAreThoseOfTheTable() throws {
        let source = try dense((0..<96).map { Float($0) }, dimension: 24)
        let codes = try make {
            ec_table_compress(source.table, nil, "asym", #"{"bits": 3}"#, nil, 0, -1, nil, nil, $0)
        }
        let map = array("map", EC_I64, [5], [Int64(3), -1, 0, 1, 2])
        let route = try make { compose("remap", nil, [map], [codes.table], $0) }
        for owned in [source, codes, route, try make { ec_table_slice(route.table, 1, 4, $0) }] {
            var bytes: Int64 = 0
            XCTAssertEqual(ec_plan_bytes(try string { ec_table_tree(owned.table, $0) }, &bytes), EC_OK, lastError)
            XCTAssertEqual(bytes, ec_table_stored_bytes(owned.table))
        }
        var bytes: Int64 = 77
        for (tree, status, text): (String?, ec_status, String) in [
            (nil, EC_INVALID_ARGUMENT, "tree must not be null"), ("{", EC_FORMAT, ""), ("[]", EC_FORMAT, "JSON object"),
            ("{}", EC_FORMAT, "lacks the field 'kind'"), (#"{"kind": "none"}"#, EC_FORMAT, "unknown kind"),
            (#"{"kind": "dense", "rows": 1}"#, EC_FORMAT, "lacks the field 'dimension'"),
            (#"{"kind": "dense", "rows": -1, "dimension": 1}"#, EC_FORMAT, "'rows' must be"),
            (#"{"kind": "dense", "rows": 1, "dimension": 1}"#, EC_FORMAT, "lacks the field 'element'"),
            (#"{"kind": "dense", "rows": 1, "dimension": 1, "element": "f8"}"#, EC_FORMAT, "one of 'f32'"),
            (#"{"kind": "uniform", "rows": 1, "dimension": 1, "bits": 9, "scale": "f16"}"#, EC_FORMAT, "bits must be"),
            (
                #"{"kind": "dense", "rows": 281474976710656, "dimension": 1048576, "element": "f32"}"#, EC_FORMAT,
                "more than"
            ), (#"{"kind": "project", "rows": 1, "dimension": 2, "element": "f32"}"#, EC_FORMAT, "children.inner"),
        ] {
            refuse(status, text, ec_plan_bytes(tree, &bytes))
        }
        XCTAssertEqual(bytes, 77)
        refuse(EC_INVALID_ARGUMENT, "bytes must not be null", ec_plan_bytes("{}", nil))
    }
}
