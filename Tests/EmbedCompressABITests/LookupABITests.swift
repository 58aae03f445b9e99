import CEmbedCompress.ABI
import EmbedCompressABI
import Foundation
import XCTest

final class LookupABITests: ABITestCase {
    private let untouchedFloats: [Float] = [-99, -99, -99, -99]

    // MARK: Lookup

    func testLookup() throws {
        let table = try dense([0, 1, 2, 3], dimension: 1)
        var output = untouchedFloats
        let wide: [Int64] = [3, 0, 1]
        XCTAssertEqual(ec_table_lookup(table.table, wide, 8, 3, EC_RAISE, &output), EC_OK)
        XCTAssertEqual(output, [3, 0, 1, -99])
        let narrow: [Int32] = [2, 2]
        XCTAssertEqual(ec_table_lookup(table.table, narrow, 4, 2, EC_RAISE, &output), EC_OK)
        XCTAssertEqual(output, [2, 2, 1, -99])
        let invalid: [Int32] = [1, -1, 4]
        XCTAssertEqual(ec_table_lookup(table.table, invalid, 4, 3, EC_ZERO, &output), EC_OK)
        XCTAssertEqual(output, [1, 0, 0, -99])
        XCTAssertEqual(ec_table_invalid_count(table.table), 2)
        XCTAssertEqual(ec_table_lookup(table.table, nil, 8, 0, EC_RAISE, nil), EC_OK)
    }

    func testLookupWithBadArguments() throws {
        let table = try dense([0, 1, 2, 3], dimension: 1)
        var output = untouchedFloats
        let ids: [Int64] = [0, 1, 4]
        refuse(EC_INVALID_ID, "id 4 at position 2", ec_table_lookup(table.table, ids, 8, 3, EC_RAISE, &output))
        refuse(EC_INVALID_ARGUMENT, "table must not", ec_table_lookup(nil, ids, 8, 2, EC_RAISE, &output))
        refuse(EC_INVALID_ARGUMENT, "ids must not", ec_table_lookup(table.table, nil, 8, 2, EC_RAISE, &output))
        refuse(EC_INVALID_ARGUMENT, "out must not", ec_table_lookup(table.table, ids, 8, 2, EC_RAISE, nil))
        for width: Int32 in [0, 1, 2, 16, -8] {
            refuse(
                EC_INVALID_ARGUMENT, "int32 or int64", ec_table_lookup(table.table, ids, width, 2, EC_RAISE, &output))
        }
        for count: Int64 in [-1, .min] {
            refuse(EC_INVALID_ARGUMENT, "negative", ec_table_lookup(table.table, ids, 8, count, EC_RAISE, &output))
        }
        refuse(
            EC_INVALID_ARGUMENT, "on_invalid",
            ec_table_lookup(table.table, ids, 8, 2, ec_on_invalid(rawValue: 2), &output))
        XCTAssertEqual(output, untouchedFloats)
    }

    // MARK: Touch

    func testTouch() throws {
        let table = try dense([0, 1, 2, 3], dimension: 1)
        var checksum: Int64 = -99
        let ids: [Int32] = [1, 3, 3]
        XCTAssertEqual(ec_table_touch(table.table, ids, 4, 3, &checksum), EC_OK)
        // The first byte of each of these is 0, the last one that of the exponent.
        XCTAssertEqual(checksum, 0x3F + 2 * 0x40)
        XCTAssertEqual(ec_table_touch(table.table, nil, 8, 0, &checksum), EC_OK)
        XCTAssertEqual(checksum, 0)
        checksum = -99
        let invalid: [Int64] = [0, 4]
        refuse(EC_INVALID_ID, "id 4 at position 1", ec_table_touch(table.table, invalid, 8, 2, &checksum))
        refuse(EC_INVALID_ARGUMENT, "table must not", ec_table_touch(nil, ids, 4, 3, &checksum))
        refuse(EC_INVALID_ARGUMENT, "ids must not", ec_table_touch(table.table, nil, 4, 3, &checksum))
        refuse(EC_INVALID_ARGUMENT, "int32 or int64", ec_table_touch(table.table, ids, 2, 3, &checksum))
        refuse(EC_INVALID_ARGUMENT, "negative", ec_table_touch(table.table, ids, 4, -1, &checksum))
        refuse(EC_INVALID_ARGUMENT, "checksum must not", ec_table_touch(table.table, ids, 4, 3, nil))
        XCTAssertEqual(checksum, -99)
    }

    // MARK: Products

    func testMultiply() throws {
        let table = try dense([0, 1, 2, 3, 4, 5], dimension: 2)
        let vectors: [Float] = [1, 10, 2, -1]
        let bias: [Float] = [100, 200]
        var out = [Float](repeating: -99, count: 4)
        XCTAssertEqual(ec_table_multiply(table.table, 1, 3, vectors, 2, bias, &out), EC_OK)
        XCTAssertEqual(out, [132, 254, 101, 203])
        XCTAssertEqual(ec_table_multiply(table.table, 1, 3, vectors, 2, nil, &out), EC_OK)
        XCTAssertEqual(out, [32, 54, 1, 3])
        XCTAssertEqual(ec_table_multiply(table.table, 2, 2, vectors, 2, nil, nil), EC_OK)
        XCTAssertEqual(ec_table_multiply(table.table, 0, 3, nil, 0, nil, nil), EC_OK)
        refuse(EC_INVALID_ARGUMENT, "not within", ec_table_multiply(table.table, 2, 4, vectors, 2, nil, &out))
        refuse(EC_INVALID_ARGUMENT, "after stop", ec_table_multiply(table.table, 2, 1, vectors, 2, nil, &out))
        refuse(EC_INVALID_ARGUMENT, "table must not", ec_table_multiply(nil, 0, 1, vectors, 2, nil, &out))
        refuse(EC_INVALID_ARGUMENT, "vectors must not", ec_table_multiply(table.table, 0, 1, nil, 2, nil, &out))
        refuse(EC_INVALID_ARGUMENT, "negative", ec_table_multiply(table.table, 0, 1, vectors, -1, nil, &out))
        refuse(EC_INVALID_ARGUMENT, "out must not", ec_table_multiply(table.table, 0, 1, vectors, 2, nil, nil))
        refuse(EC_INVALID_ARGUMENT, "not within", ec_table_multiply(table.table, 0, 4, nil, 0, nil, nil))
        refuse(
            EC_INVALID_ARGUMENT, "vectors cannot be that large",
            ec_table_multiply(table.table, 0, 3, vectors, Int64.max, nil, &out))
        XCTAssertEqual(out, [32, 54, 1, 3])
    }

    // MARK: Decode

    func testDecode() throws {
        let table = try dense([0, 1, 2, 3], dimension: 2)
        var output = untouchedFloats
        XCTAssertEqual(ec_table_decode(table.table, 1, 2, &output), EC_OK)
        XCTAssertEqual(output, [2, 3, -99, -99])
        XCTAssertEqual(ec_table_decode(table.table, 2, 2, nil), EC_OK)
        output = untouchedFloats
        for (start, stop): (Int64, Int64) in [(-1, 1), (1, 3), (1, 0), (.min, .max), (.max, .max)] {
            refuse(EC_INVALID_ARGUMENT, "", ec_table_decode(table.table, start, stop, &output))
        }
        refuse(EC_INVALID_ARGUMENT, "out must not", ec_table_decode(table.table, 0, 1, nil))
        refuse(EC_INVALID_ARGUMENT, "table must not", ec_table_decode(nil, 0, 1, &output))
        XCTAssertEqual(output, untouchedFloats)
    }

    // MARK: Bags

    private let ids = [0, 3, 1, 2] as [Int32]
    private let offsets = [0, 1, 1] as [Int64]
    private let weights = [1, 2, 3, 4] as [Float]

    /// Pools `ids` after `change` to a call that is right.
    private func bag(_ table: OpaquePointer?, _ output: inout [Float], _ change: (inout ec_bags) -> Void = { _ in })
        -> ec_status
    {
        ids.withUnsafeBytes { ids in
            offsets.withUnsafeBytes { offsets in
                var bags = ec_bags()
                bags.ids = ids.baseAddress
                bags.offsets = offsets.baseAddress
                (bags.id_count, bags.offset_count) = (4, 3)
                (bags.id_bytes, bags.offset_bytes) = (4, 8)
                bags.padding_id = -1
                change(&bags)
                return ec_table_bag(table, &bags, &output)
            }
        }
    }

    func testBags() throws {
        let table = try dense([0, 1, 2, 3], dimension: 1).table
        var output = untouchedFloats
        XCTAssertEqual(bag(table, &output), EC_OK, lastError)
        XCTAssertEqual(output, [0, 0, 6, -99])
        XCTAssertEqual(bag(table, &output) { $0.mode = EC_MEAN }, EC_OK)
        XCTAssertEqual(output, [0, 0, 2, -99])
        XCTAssertEqual(bag(table, &output) { $0.mode = EC_MAX }, EC_OK)
        XCTAssertEqual(output, [0, 0, 3, -99])
        XCTAssertEqual(bag(table, &output) { $0.padding_id = 3 }, EC_OK)
        XCTAssertEqual(output, [0, 0, 3, -99])
        weights.withUnsafeBufferPointer { weights in
            XCTAssertEqual(bag(table, &output) { $0.weights = weights.baseAddress }, EC_OK)
        }
        XCTAssertEqual(output, [0, 0, 17, -99])
        output = untouchedFloats
        XCTAssertEqual(bag(table, &output) { ($0.include_last_offset, $0.id_count) = (1, 1) }, EC_OK, lastError)
        XCTAssertEqual(output, [0, 0, -99, -99])
        output = untouchedFloats
        XCTAssertEqual(bag(table, &output) { ($0.ids, $0.id_count, $0.offset_count) = (nil, 0, 1) }, EC_OK, lastError)
        XCTAssertEqual(output, [0, -99, -99, -99])
        XCTAssertEqual(
            bag(table, &output) { ($0.offsets, $0.id_count, $0.offset_count) = (nil, 0, 0) }, EC_OK, lastError)
        XCTAssertEqual(output, [0, -99, -99, -99])
        let small = try dense([7, 8], dimension: 1).table
        XCTAssertEqual(bag(small, &output) { $0.on_invalid = EC_ZERO }, EC_OK)
        XCTAssertEqual(output, [7, 0, 8, -99])
        XCTAssertEqual(ec_table_invalid_count(small), 2)
    }

    func testBagsWithBadArguments() throws {
        let table = try dense([0, 1, 2, 3], dimension: 1).table
        let small = try dense([7, 8], dimension: 1).table
        var output = untouchedFloats
        refuse(EC_INVALID_ID, "id 3 at position 1", bag(small, &output))
        for (text, change): (String, (inout ec_bags) -> Void) in [
            ("ids must not be null", { $0.ids = nil }), ("offsets must not be null", { $0.offsets = nil }),
            ("ids must not be negative", { $0.id_count = -1 }),
            ("offsets must not be negative", { $0.offset_count = -1 }),
            ("ids must be int32 or int64", { $0.id_bytes = 2 }), ("offsets must be int32", { $0.offset_bytes = 0 }),
            ("mode must be", { $0.mode = ec_mode(rawValue: 3) }),
            ("on_invalid must be", { $0.on_invalid = ec_on_invalid(rawValue: 9) }),
            ("past the end", { $0.id_count = 0 }), ("no offsets", { $0.offset_count = 0 }),
            ("last offset must be the number of ids", { $0.include_last_offset = 1 }),
        ] {
            refuse(EC_INVALID_ARGUMENT, text, bag(table, &output, change))
        }
        weights.withUnsafeBufferPointer { weights in
            for mode in [EC_MEAN, EC_MAX] {
                refuse(
                    EC_INVALID_ARGUMENT, "weights go with the mode sum only",
                    bag(table, &output) { ($0.mode, $0.weights) = (mode, weights.baseAddress) })
            }
        }
        refuse(EC_INVALID_ARGUMENT, "table must not be null", bag(nil, &output))
        refuse(EC_INVALID_ARGUMENT, "bags must not be null", ec_table_bag(table, nil, &output))
        XCTAssertEqual(output, untouchedFloats)
        var bags = ec_bags()
        (bags.id_bytes, bags.offset_bytes) = (4, 8)
        let starts: [Int64] = [0]
        starts.withUnsafeBytes { memory in
            (bags.offsets, bags.offset_count) = (memory.baseAddress, 1)
            refuse(EC_INVALID_ARGUMENT, "out must not be null", ec_table_bag(table, &bags, nil))
        }
    }

    // MARK: Bags of several tables

    func testBagsOfSeveralTables() throws {
        let wide = try dense([0, 1, 2, 3], dimension: 2).table
        let narrow = try dense([4, 5, 6], dimension: 1).table
        let ids = [1, 0, 2, 1] as [Int64]
        let offsets = [0, 2, 3, 4] as [Int32]
        var output = untouchedFloats
        func bags(_ tables: [OpaquePointer?], _ change: (inout ec_bags) -> Void = { _ in }) -> ec_status {
            ids.withUnsafeBytes { ids in
                offsets.withUnsafeBytes { offsets in
                    var bags = ec_bags()
                    (bags.ids, bags.offsets) = (ids.baseAddress, offsets.baseAddress)
                    (bags.id_count, bags.offset_count, bags.id_bytes, bags.offset_bytes) = (4, 4, 8, 4)
                    (bags.include_last_offset, bags.padding_id) = (1, -1)
                    change(&bags)
                    return ec_tables_bag(tables, Int64(tables.count), &bags, &output)
                }
            }
        }
        XCTAssertEqual(bags([wide, narrow, narrow]), EC_OK, lastError)
        XCTAssertEqual(output, [2, 4, 6, 5])
        output = untouchedFloats
        refuse(EC_INVALID_ID, "id 2 at position 2, of feature 1, is out of range", bags([wide, wide, wide]))
        for (text, tables, change): (String, [OpaquePointer?], (inout ec_bags) -> Void) in [
            ("at least one feature", [], { _ in }), ("a table must not be null", [wide, nil, narrow], { _ in }),
            ("do not go with 2 features", [wide, narrow], { _ in }),
            ("include the last offset", [wide, narrow, narrow], { $0.include_last_offset = 0 }),
            ("no padding", [wide, narrow, narrow], { $0.padding_id = 0 }),
            ("ids must be int32 or int64", [wide, narrow, narrow], { $0.id_bytes = 2 }),
        ] {
            refuse(EC_INVALID_ARGUMENT, text, bags(tables, change))
        }
        refuse(EC_INVALID_ARGUMENT, "tables must not be null", ec_tables_bag(nil, 2, nil, &output))
        refuse(EC_INVALID_ARGUMENT, "count must not be negative", ec_tables_bag([wide], -1, nil, &output))
        refuse(EC_INVALID_ARGUMENT, "bags must not be null", ec_tables_bag([wide], 1, nil, &output))
        XCTAssertEqual(output, untouchedFloats)
    }

    func testArraysThatNoMemoryHolds() throws {
        let table = try dense([1, 2], dimension: 2)
        let (ids, values, count): ([Int64], [Float], Int64) = ([0], [1, 1], .max / 8)
        var (output, codes, kept, clipped): ([Float], [Int32], [UInt8], Int64) = ([77], [77], [77], 77)
        func refuseLarge(_ name: String, _ result: ec_status, line: UInt = #line) {
            refuse(EC_INVALID_ARGUMENT, "\(name) cannot be that large", result, line: line)
        }
        refuseLarge("ids", ec_table_lookup(table.table, ids, 8, .max, EC_RAISE, &output))
        refuseLarge("out", ec_table_lookup(table.table, ids, 8, count, EC_RAISE, &output))
        refuseLarge("rows", ec_nearest_codes(values, count, values, 1, 1, 2, &codes))
        refuseLarge("centroids", ec_nearest_codes(values, 1, values, 2, 1 << 30, 1 << 30, &codes))
        refuseLarge(
            "values", ec_fake_quantize(values, count, 9, 1, 1, values, values, 15, &output, &kept, &clipped))
        XCTAssertEqual([output, codes.map(Float.init), kept.map(Float.init)], [[77], [77], [77]])
    }

    // MARK: Evaluate

    func testEvaluate() throws {
        let source = try dense([3, 4, 0, 0], dimension: 2)
        let copy = try dense([3, 0, 0, 0], dimension: 2)
        var quality = ec_quality()
        XCTAssertEqual(ec_table_evaluate(copy.table, source.table, 0, 10, 0, nil, nil, &quality), EC_OK)
        XCTAssertEqual(quality.normalized_l2, 0.8, accuracy: 1e-12)
        XCTAssertEqual(quality.mean_cosine, 0.8, accuracy: 1e-12)
        XCTAssertEqual(quality.worst_row_l2, 0.8, accuracy: 1e-12)
        XCTAssertEqual(quality.worst_row, 0)
        XCTAssertEqual(quality.mean_squared_error, 4)
        quality.worst_row = 77
        let other = try dense([1], dimension: 1)
        refuse(EC_INVALID_ARGUMENT, "1 x 1", ec_table_evaluate(other.table, source.table, 0, 10, 0, nil, nil, &quality))
        refuse(
            EC_INVALID_ARGUMENT, "table must not", ec_table_evaluate(nil, source.table, 0, 10, 0, nil, nil, &quality))
        refuse(
            EC_INVALID_ARGUMENT, "source must not", ec_table_evaluate(source.table, nil, 0, 10, 0, nil, nil, &quality))
        refuse(
            EC_INVALID_ARGUMENT, "out must not", ec_table_evaluate(source.table, source.table, 0, 10, 0, nil, nil, nil))
        XCTAssertEqual(quality.worst_row, 77)
    }
}
