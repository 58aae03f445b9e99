import CEmbedCompress.ABI
import EmbedCompressABI
import Foundation
import XCTest

/// Trees and arrays: taking tables apart and putting them together.
final class PartsABITests: ABITestCase {
    private func arrays(_ table: OpaquePointer) -> [ec_array] {
        (0..<ec_table_array_count(table)).map { index in
            var array = ec_array()
            XCTAssertEqual(ec_table_array(table, index, &array), EC_OK, lastError)
            return array
        }
    }

    func testTakingApartAndPuttingTogether() throws {
        let source = try dense((0..<60).map { Float($0) }, dimension: 10)
        let uniform = try make {
            ec_table_compress(source.table, nil, "asym", #"{"bits": 3}"#, nil, 0, -1, nil, nil, $0)
        }
        let map = array("map", EC_I64, [3], [Int64(5), -1, 2])
        for owned in [
            source, uniform, try make { compose("remap", nil, [map], [uniform.table], $0) },
            try make { compose("remap", #"{"divisor": 2, "rows": 12}"#, [], [source.table], $0) },
        ] {
            let parts = arrays(owned.table)
            for (part, again) in zip(parts, arrays(owned.table)) {
                XCTAssertEqual(part.data, again.data)
                XCTAssertEqual(part.name, again.name, "pointers stay what they are")
            }
            let tree = try string { ec_table_tree(owned.table, $0) }
            let fields = try XCTUnwrap(json(tree) as? [String: Any])
            XCTAssertEqual(fields["rows"] as? Int, Int(ec_table_rows(owned.table)))
            XCTAssertEqual(fields["dimension"] as? Int, 10)
            XCTAssertNotNil(fields["bytes"])
            let releases = ReleaseCount()
            let other = try make {
                ec_table_assemble(tree, parts, Int64(parts.count), releases.callback, releases.context, $0)
            }
            XCTAssertEqual(decode(other.table), decode(owned.table))
            XCTAssertEqual(releases.count, 0)
            other.release()
            XCTAssertEqual(releases.count, 1, "once, however many arrays")
            XCTAssertEqual(
                try string { ec_table_description(owned.table, $0) }.split(separator: "\n").last?.hasSuffix("% of f32"),
                true)
        }
        XCTAssertEqual(arrays(uniform.table).map { String(cString: $0.name) }, ["rows"])
        let array = arrays(uniform.table)[0]
        XCTAssertEqual(array.dtype, EC_U8)
        XCTAssertEqual([array.shape[0], array.shape[1]], [6, 8])
    }

    func testPartsThatDoNotFit() throws {
        let releases = ReleaseCount()
        let shape = permanent([Int64(2), 2]).assumingMemoryBound(to: Int64.self)
        let negative = permanent([Int64(-2), 2]).assumingMemoryBound(to: Int64.self)
        let huge = permanent([Int64.max, .max]).assumingMemoryBound(to: Int64.self)
        let data = permanent([Float(1), 2, 3, 4])
        let name = permanent([CChar](arrayLiteral: 114, 0)).assumingMemoryBound(to: CChar.self)
        let tree = #"{"kind":"dense","rows":2,"dimension":2,"element":"f32","tensors":{"rows":"r"}}"#
        let good = ec_array(name: name, dtype: EC_F32, rank: 2, shape: shape, data: data)
        func changed(_ change: (inout ec_array) -> Void) -> ec_array {
            var array = good
            change(&array)
            return array
        }
        for (array, status, text): (ec_array, ec_status, String) in [
            (changed { $0.name = nil }, EC_INVALID_ARGUMENT, "name must not be null"),
            (changed { $0.dtype = ec_dtype(rawValue: 99) }, EC_INVALID_ARGUMENT, "no element type 99"),
            (changed { $0.rank = -1 }, EC_INVALID_ARGUMENT, "rank must not be negative"),
            (changed { $0.shape = nil }, EC_INVALID_ARGUMENT, "shape must not be null"),
            (changed { $0.shape = negative }, EC_INVALID_ARGUMENT, "shape must not be negative"),
            (changed { $0.shape = huge }, EC_INVALID_ARGUMENT, "cannot have the shape"),
            (changed { $0.data = nil }, EC_INVALID_ARGUMENT, "has no memory"),
            (changed { $0.dtype = EC_I32 }, EC_FORMAT, "r"), (changed { $0.rank = 1 }, EC_FORMAT, "r"),
            (changed { $0.rank = 0 }, EC_FORMAT, "r"),
        ] {
            refuse(status, text) {
                ec_table_assemble(tree, [array], 1, releases.callback, releases.context, $0)
            }
        }
        for (tree, arrays, count, status): (String?, [ec_array], Int64, ec_status) in [
            (nil, [good], 1, EC_INVALID_ARGUMENT), (tree, [good], -1, EC_INVALID_ARGUMENT), (tree, [], 0, EC_FORMAT),
            ("", [good], 1, EC_FORMAT), ("{", [good], 1, EC_FORMAT), ("[]", [good], 1, EC_FORMAT),
            (tree, [good, good], 2, EC_FORMAT),
            (tree.replacingOccurrences(of: "\"r\"", with: "\"s\""), [good], 1, EC_FORMAT),
            (tree.replacingOccurrences(of: ":2,\"d", with: ":3,\"d"), [good], 1, EC_FORMAT),
        ] {
            refuse(status, "") {
                ec_table_assemble(tree, arrays, count, releases.callback, releases.context, $0)
            }
        }
        refuse(EC_INVALID_ARGUMENT, "arrays must not be null") { ec_table_assemble(tree, nil, 1, nil, nil, $0) }
        refuse(EC_INVALID_ARGUMENT, "out must not be null", ec_table_assemble(tree, [good], 1, nil, nil, nil))
        XCTAssertEqual(releases.count, 0)
        XCTAssertEqual(decode(try make { ec_table_assemble(tree, [good], 1, nil, nil, $0) }.table), [1, 2, 3, 4])
    }

    func testAskingForPartsWithBadArguments() throws {
        let table = try dense([1, 2], dimension: 1)
        var array = ec_array()
        array.rank = 77
        for index: Int64 in [-1, 1, .max, .min] {
            refuse(EC_INVALID_ARGUMENT, "array \(index) of a table of 1", ec_table_array(table.table, index, &array))
        }
        refuse(EC_INVALID_ARGUMENT, "table must not be null", ec_table_array(nil, 0, &array))
        XCTAssertEqual(array.rank, 77)
        refuse(EC_INVALID_ARGUMENT, "out must not be null", ec_table_array(table.table, 0, nil))
        var text = ec_string(bytes: nil, count: 77)
        refuse(EC_INVALID_ARGUMENT, "table must not be null", ec_table_tree(nil, &text))
        refuse(EC_INVALID_ARGUMENT, "table must not be null", ec_table_description(nil, &text))
        XCTAssertEqual(text.count, 77)
        refuse(EC_INVALID_ARGUMENT, "out must not be null", ec_table_tree(table.table, nil))
        refuse(EC_INVALID_ARGUMENT, "out must not be null", ec_table_description(table.table, nil))
    }

    func testManyThreadsAskOneTableForItsArraysAtOnce() throws {
        let table = try dense([1, 2], dimension: 1)
        for _ in 0..<50 {
            let fresh = try make { ec_table_slice(table.table, 0, 1, $0) }
            let asked = UnsafeMutableBufferPointer<ec_array>.allocate(capacity: 8)
            defer { asked.deallocate() }
            nonisolated(unsafe) let (pointer, arrays) = (fresh.table, asked)
            DispatchQueue.concurrentPerform(iterations: arrays.count) { ec_table_array(pointer, 0, &arrays[$0]) }
            XCTAssertEqual(Set(arrays.map(\.name)).count, 1)
            XCTAssertEqual(Set(arrays.map(\.shape)).count, 1)
        }
    }
}
