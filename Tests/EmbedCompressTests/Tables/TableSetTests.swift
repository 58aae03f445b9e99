import TestSupport
import XCTest

@testable import EmbedCompress

final class TableSetTests: XCTestCase {
    private struct Call {
        var ids: [Int] = []
        var offsets: [Int] = [0]
        var weights: [Float]?
        var pooling = Pooling.sum
    }

    private func mixedTables(using generator: inout SeededGenerator) throws -> [Table] {
        let four = try randomUniform(UniformReference(dimension: 64, bits: 4), rows: 500, using: &generator).table
        let three = try randomUniform(
            UniformReference(dimension: 17, bits: 3, group: 8, scaleType: .float32), rows: 90, using: &generator
        ).table
        let books = try randomDense(rows: 40, dimension: 20, seed: 3).compressed("kmeans", ["bits": 3])
        return [
            four, try randomDense(rows: 30, dimension: 5, seed: 2), books, three,
            try three.remapped(rows: 300, modulo: 90), try denseTable([1, -2], dimension: 1),
        ]
    }

    private func randomCall(
        _ set: TableSet, batch: Int, lengths: Range<Int>, using generator: inout SeededGenerator
    ) -> Call {
        var call = Call()
        for index in set.features {
            for length in generator.integers(batch, in: lengths) {
                call.ids += generator.integers(length, in: 0..<set.tables[index].rows)
                call.offsets.append(call.ids.count)
            }
        }
        call.pooling = [Pooling.sum, .mean, .max].randomElement(using: &generator) ?? .sum
        if call.pooling == .sum, Bool.random(using: &generator) { call.weights = generator.normals(call.ids.count) }
        return call
    }

    /// A call for each feature, and the results side by side.
    private func byFeature(_ set: TableSet, _ call: Call) throws -> [Float] {
        let batch = (call.offsets.count - 1) / set.features.count
        var rows = [[Float]](repeating: [], count: batch)
        for (feature, index) in set.features.enumerated() {
            let bounds = Array(call.offsets[feature * batch...(feature + 1) * batch])
            let range = bounds[0]..<bounds[batch]
            let values = try set.tables[index].bag(
                Array(call.ids[range]), offsets: bounds.map { $0 - bounds[0] }, pooling: call.pooling,
                weights: call.weights.map { Array($0[range]) }, includesLastOffset: true)
            let dimension = set.tables[index].dimension
            for sample in 0..<batch { rows[sample] += values[sample * dimension..<(sample + 1) * dimension] }
        }
        return rows.flatMap { $0 }
    }

    private func bag(_ set: TableSet, _ call: Call) throws -> [Float] {
        try set.bag(call.ids, offsets: call.offsets, pooling: call.pooling, weights: call.weights)
    }

    // MARK: Agreement

    func testOneCallIsACallForEachFeature() throws {
        var generator = SeededGenerator(seed: 60)
        let tables = try mixedTables(using: &generator)
        for round in 0..<60 {
            let features: [Int]? = round % 3 == 0 ? nil : generator.integers(1 + round % 9, in: 0..<tables.count)
            let set = try TableSet(tables, features: features)
            let lengths = [0..<1, 0..<2, 1..<2, 0..<4, 0..<30, 250..<520][round % 6]
            let batch = [0, 1, 2, 7, 40, 130][round / 2 % 6]
            let call = randomCall(set, batch: batch, lengths: lengths, using: &generator)
            XCTAssertEqual(try bag(set, call), try byFeature(set, call), "round \(round)")
        }
    }

    func testResultsDoNotDependOnThreads() throws {
        var generator = SeededGenerator(seed: 61)
        let set = try TableSet(mixedTables(using: &generator), features: [0, 3, 0, 1, 5, 2, 4])
        for lengths in [1..<2, 0..<3, 0..<60, 1..<400] {
            let call = randomCall(set, batch: 300, lengths: lengths, using: &generator)
            let expected = try byFeature(set, call)
            try assertSameForThreadCounts("\(lengths)") {
                let values = try bag(set, call)
                XCTAssertEqual(values, expected)
                return values
            }
        }
    }

    /// One feature has nearly all ids, and one bag of it most of those.
    func testUnevenFeatures() throws {
        var generator = SeededGenerator(seed: 62)
        let set = try TableSet(mixedTables(using: &generator), features: [1, 0, 5])
        var call = Call()
        for (feature, index) in set.features.enumerated() {
            for sample in 0..<100 {
                let length = feature == 1 ? (sample == 50 ? 30_000 : 300) : 1
                call.ids += generator.integers(length, in: 0..<set.tables[index].rows)
                call.offsets.append(call.ids.count)
            }
        }
        let expected = try byFeature(set, call)
        try assertSameForThreadCounts {
            let values = try bag(set, call)
            XCTAssertEqual(values, expected)
            return values
        }
    }

    /// Bags of one id, whose rows are looked up, have the sums that they have among longer ones.
    func testBagsOfOneID() throws {
        var generator = SeededGenerator(seed: 63)
        for table in try mixedTables(using: &generator) {
            let ids = generator.integers(400, in: 0..<table.rows)
            for pooling in [Pooling.sum, .mean, .max] {
                let alone = try ids.flatMap { try table.bag([$0], offsets: [0], pooling: pooling) }
                XCTAssertEqual(try table.bag(ids, offsets: Array(ids.indices), pooling: pooling), alone)
                let among = try table.bag(
                    ids + ids, offsets: ids.indices.flatMap { [2 * $0, 2 * $0] }, pooling: pooling)
                XCTAssertEqual(among.count, 2 * alone.count)
                let ones = [Float](repeating: 1, count: ids.count)
                if pooling == .sum {
                    XCTAssertEqual(try table.bag(ids, offsets: Array(ids.indices), weights: ones), alone)
                }
            }
        }
    }

    // MARK: Arguments

    func testColumns() throws {
        let tables = [try denseTable([1, 2, 3, 4], dimension: 2), try denseTable([5, 6, 7], dimension: 3)]
        let set = try TableSet(tables, features: [1, 0, 1])
        XCTAssertEqual(set.columns, [0, 3, 5])
        XCTAssertEqual(set.dimension, 8)
        XCTAssertEqual(
            try set.bag([0, 1, 0, 0, 0], offsets: [0, 1, 1, 3, 3, 3, 5]),
            [5, 6, 7, 4, 6, 0, 0, 0, 0, 0, 0, 0, 0, 10, 12, 14])
        XCTAssertEqual(try set.bag([], offsets: [0]), [])
        XCTAssertEqual(try set.bag([], offsets: [0, 0, 0, 0]), [Float](repeating: 0, count: 8))
    }

    func testInvalidIDsNameTheirFeature() throws {
        let tables = [try denseTable([1, 2], dimension: 1), try denseTable([3, 4, 5], dimension: 1)]
        let set = try TableSet(tables, features: [1, 0, 1])
        let offsets = [0, 1, 2, 3, 4, 5, 6]
        assertThrows(.invalidFeatureID(feature: 1, position: 3, id: 2, rows: 2)) {
            _ = try set.bag([2, 2, 0, 2, -1, 7], offsets: offsets)
        }
        assertThrows(.invalidFeatureID(feature: 2, position: 4, id: -1, rows: 3)) {
            _ = try set.bag([2, 2, 0, 1, -1, 7], offsets: offsets)
        }
        XCTAssertEqual(
            try set.bag([2, 2, 0, 2, -1, 7], offsets: offsets, onInvalid: .zero), [5, 1, 0, 5, 0, 0])
        XCTAssertEqual(tables.map(\.invalidCount), [1, 2])
    }

    func testNothingIsWrittenForAnInvalidID() throws {
        let set = try TableSet([denseTable([1, 2], dimension: 1)], features: [0, 0])
        let ids = [0, 2]
        let offsets = [0, 1, 2]
        try ids.withUnsafeBytes { ids in
            try offsets.withUnsafeBytes { offsets in
                let bags = Bags(
                    ids: IDs(base: ids.baseAddress, count: 2, width: 8),
                    offsets: IDs(base: offsets.baseAddress, count: 3, width: 8), weights: nil,
                    includesLastOffset: true, paddingID: -1, pooling: .sum, onInvalid: .raise)
                let target = UnsafeMutablePointer<Float>.allocate(capacity: 2)
                defer { target.deallocate() }
                target.initialize(repeating: -9, count: 2)
                XCTAssertThrowsError(try set.bag(bags, into: target))
                XCTAssertEqual([target[0], target[1]], [-9, -9])
            }
        }
    }

    func testArgumentsThatCannotBe() throws {
        let table = try denseTable([1, 2], dimension: 1)
        assertInvalidArgument("at least one feature") { _ = try TableSet([]) }
        assertInvalidArgument("at least one feature") { _ = try TableSet([table], features: []) }
        for index in [-1, 1] {
            assertInvalidArgument("feature 1 has the table \(index), but there are 1 tables") {
                _ = try TableSet([table], features: [0, index])
            }
        }
        let set = try TableSet([table, table])
        for (offsets, text): ([Int], String) in [
            ([], "0 do not go with 2 features"), ([0, 2], "2 do not go with 2 features"),
            ([1, 1, 2], "must start at 0, not 1"), ([0, 2, 1], "position 2 is 1 after 2"),
            ([0, 3, 3], "position 1 is 3, past the end of 2 ids"), ([0, 1, 1], "must be the number of ids, 2, not 1"),
            ([0, Int.max, 2], "past the end"), ([0, Int.min, 2], "must not decrease"),
        ] {
            assertInvalidArgument(text) { _ = try set.bag([0, 1], offsets: offsets) }
        }
        assertInvalidArgument("1 weights do not go with 2 ids") {
            _ = try set.bag([0, 1], offsets: [0, 1, 2], weights: [1])
        }
        assertInvalidArgument("weights go with the mode sum only") {
            _ = try set.bag([0, 1], offsets: [0, 1, 2], pooling: .mean, weights: [1, 1])
        }
    }
}
