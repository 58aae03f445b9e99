import TestSupport
import XCTest

@testable import EmbedCompress

final class RoutesTests: XCTestCase {
    /// A table, and its rows as they follow from the rows of its inner tables.
    private struct Case {
        let name: String
        let table: Table
        let rows: [ReferenceValue]
    }

    private func reference(_ table: Table) throws -> [ReferenceValue] {
        try table.decode().map { ReferenceValue(Double($0), magnitude: Double($0.magnitude)) }
    }

    private func uniform(_ rows: Int, _ dimension: Int, _ seed: UInt64) throws -> Table {
        var generator = SeededGenerator(seed: seed)
        let bits = [2, 4, 8, 3][Int(seed % 4)]
        return try randomUniform(
            UniformReference(dimension: dimension, bits: bits), rows: rows, using: &generator
        ).table
    }

    private func dense(_ rows: Int, _ dimension: Int, _ seed: UInt64) throws -> Table {
        try randomDense(rows: rows, dimension: dimension, seed: seed)
    }

    private func combine(_ tables: [Table], _ operation: Combination.Operation) throws -> Case {
        var rows = try reference(tables[0])
        for table in tables.dropFirst() {
            for (index, value) in try reference(table).enumerated() {
                rows[index] =
                    operation == .sum
                    ? ReferenceValue(
                        rows[index].value + value.value, magnitude: rows[index].magnitude + value.magnitude)
                    : ReferenceValue(
                        rows[index].value * value.value, magnitude: rows[index].magnitude * value.magnitude)
            }
        }
        return Case(name: "\(operation)", table: Table(try Combination(tables, operation: operation)), rows: rows)
    }

    private func columns(_ tables: [Table]) throws -> Case {
        let parts = try tables.map { BagReference(try reference($0), dimension: $0.dimension).rows }
        let rows = (0..<tables[0].rows).flatMap { row in parts.flatMap { $0[row] } }
        return Case(name: "columns", table: Table(try Columns(tables)), rows: rows)
    }

    private func partition(_ tables: [Table], _ assignment: [Int]? = nil) throws -> Case {
        var parts = try tables.map { BagReference(try reference($0), dimension: $0.dimension).rows[...] }
        guard let assignment else {
            return Case(name: "ranges", table: Table(try Partition(tables)), rows: parts.flatMap { $0.flatMap { $0 } })
        }
        let rows = assignment.flatMap { parts[$0].removeFirst() }
        return Case(name: "assignment", table: Table(try Partition(tables, assignment: assignment)), rows: rows)
    }

    private func project(
        _ table: Table, _ dimension: Int, seed: UInt64, hasBias: Bool, element: ScaleType = .float32
    ) throws -> Case {
        var generator = SeededGenerator(seed: seed)
        let matrix = generator.normals(table.dimension * dimension)
        let bias = hasBias ? generator.normals(dimension) : nil
        let kept = element == .float32 ? matrix : matrix.map { Float(HalfReference.value(HalfReference.nearest($0))) }
        let rows = BagReference(try reference(table), dimension: table.dimension).rows.flatMap { row in
            (0..<dimension).map { column in
                let terms = row.enumerated().map { index, value in
                    (
                        value.value * Double(kept[index * dimension + column]),
                        value.magnitude * abs(Double(kept[index * dimension + column]))
                    )
                }
                let shift = Double(bias?[column] ?? 0)
                return ReferenceValue(
                    terms.reduce(shift) { $0 + $1.0 }, magnitude: terms.reduce(abs(shift)) { $0 + $1.1 })
            }
        }
        return Case(
            name: "project",
            table: Table(try Project(table, matrix: matrix, dimension: dimension, bias: bias, element: element)),
            rows: rows)
    }

    private func cases() throws -> [Case] {
        var cases: [Case] = []
        for (index, dimension) in [1, 2, 7, 15, 16, 17, 33, 64, 65, 100, 300].enumerated() {
            let seed = UInt64(10 * index)
            let rows = [1, 5, 40, 90][index % 4]
            let tables = [
                try uniform(rows, dimension, seed), try dense(rows, dimension, seed + 1),
                try uniform(rows, dimension, seed + 2),
            ]
            cases.append(try combine(Array(tables[0...1]), .sum))
            cases.append(try combine(Array(tables[0...1]), .product))
            cases.append(try combine(tables, .sum))
            cases.append(try combine(tables, .product))
            cases.append(try columns(tables))
            cases.append(try columns([tables[0]]))
            cases.append(try columns([try dense(rows, 3, seed + 3), tables[1], try uniform(rows, 1, seed + 4)]))
            cases.append(try partition([tables[0], try dense(0, dimension, 1), try dense(600, dimension, seed + 5)]))
            cases.append(try project(tables[0], [1, 16, 40, 7][index % 4], seed: seed, hasBias: false))
            cases.append(try project(tables[1], [64, 3, 70][index % 3], seed: seed, hasBias: true))
            cases.append(try project(tables[2], 20, seed: seed, hasBias: true, element: .float16))
            // More ids than a block of ranks has, and numbers of tables that are no powers of two.
            var generator = SeededGenerator(seed: seed)
            for count in [1, 2, 3, 5, 9] {
                let assignment = generator.integers([700, 1, 40][index % 3], in: 0..<count)
                let parts = try (0..<count).map { part in
                    try dense(assignment.filter { $0 == part }.count, dimension, seed + 6 + UInt64(part))
                }
                cases.append(try partition(parts, assignment))
            }
        }
        // Routes over routes.
        let inner = try partition([uniform(30, 12, 91), dense(20, 12, 92)], (0..<50).map { $0 % 5 < 3 ? 0 : 1 }).table
        let sum = try combine([inner, dense(50, 12, 93)], .sum).table
        let projected = try project(sum, 33, seed: 94, hasBias: true).table
        cases.append(try columns([projected, inner, sum]))
        cases.append(
            try partition([projected, projected.slice(7..<31)], (0..<74).map { $0 % 3 == 2 && $0 < 72 ? 1 : 0 }))
        cases.append(try combine([projected, uniform(50, 33, 95)], .product))
        return cases
    }

    func testRoutesAgreeWithTheirInnerTables() throws {
        for (index, one) in try cases().enumerated() {
            let (table, name) = (one.table, "\(index): \(one.table)")
            XCTAssertEqual(table.rows * table.dimension, one.rows.count, name)
            let terms = 700
            let decoded = try table.decode()
            assertAgree(decoded, one.rows, terms: terms, name)
            let dimension = table.dimension
            var generator = SeededGenerator(seed: UInt64(index))
            let ids = generator.integers(900, in: 0..<table.rows)
            XCTAssertEqual(
                try table.lookup(ids), ids.flatMap { decoded[$0 * dimension..<($0 + 1) * dimension] }, name)
            let outside = ids.map { $0 % 7 == 3 ? -1 : $0 % 11 == 5 ? table.rows : $0 }
            XCTAssertEqual(
                try table.lookup(outside, onInvalid: .zero),
                outside.flatMap {
                    (0..<table.rows).contains($0)
                        ? decoded[$0 * dimension..<($0 + 1) * dimension] : [Float](repeating: 0, count: dimension)[...]
                }, name)
            let padding = ids[4]
            let offsets = [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 30, 30, 290, 291, 893]
            let weights = generator.normals(ids.count)
            let reference = BagReference(one.rows, dimension: dimension)
            // The largest of rounded rows.
            let rounded = BagReference(decoded, dimension: dimension)
            for ids in [ids, outside] {
                for pooling in [Pooling.sum, .mean, .max] {
                    assertAgree(
                        try table.bag(ids, offsets: offsets, pooling: pooling, paddingID: padding, onInvalid: .zero),
                        (pooling == .max ? rounded : reference).pool(
                            ids, offsets: offsets, pooling: pooling, paddingID: padding), terms: terms,
                        "\(pooling) \(name)")
                }
                assertAgree(
                    try table.bag(ids, offsets: offsets, weights: weights, onInvalid: .zero),
                    reference.pool(ids, offsets: offsets, weights: weights), terms: terms, name)
            }
            for range in [0..<table.rows, table.rows / 3..<table.rows, table.rows / 4..<table.rows / 2, 0..<0] {
                let slice = try table.slice(range)
                XCTAssertEqual(
                    try slice.decode(), Array(decoded[range.lowerBound * dimension..<range.upperBound * dimension]),
                    name)
                let (start, end) = (range.count / 3, range.count / 2)
                let inner = try slice.slice(start..<end).decode()
                XCTAssertEqual(
                    inner,
                    Array(
                        decoded[
                            (range.lowerBound + start) * dimension..<(range.lowerBound + end) * dimension]), name)
            }
            XCTAssertEqual(try table.aligned(to: 64).decode(), decoded, name)
        }
    }

    func testABagDoesNotDependOnTheBagsBesideIt() throws {
        var generator = SeededGenerator(seed: 31)
        for one in try cases() where one.table.rows > 20 && one.table.dimension < 60 {
            let table = one.table
            let ids = generator.integers(2000, in: 0..<table.rows)
            let offsets = [0, 3, 4, 20, 300, 301, 333, 900, 1000, 1500, 1503, 1600]
            let all = try table.bag(ids, offsets: offsets)
            for (bag, start) in offsets.enumerated() {
                let end = bag + 1 < offsets.count ? offsets[bag + 1] : ids.count
                XCTAssertEqual(
                    try table.bag(Array(ids[start..<end]), offsets: [0]),
                    Array(all[bag * table.dimension..<(bag + 1) * table.dimension]), "\(bag) of \(table)")
            }
            try assertSameForThreadCounts { try table.bag(ids, offsets: offsets) }
        }
    }

    func testBytes() throws {
        let (table, other) = (try dense(1000, 8, 1), try dense(1000, 8, 2))
        XCTAssertEqual(Table(try Combination([table, other])).storedBytes, 64_000)
        XCTAssertEqual(Table(try Columns([table, other])).storedBytes, 64_000)
        XCTAssertEqual(Table(try Partition([table, other])).storedBytes, 64_000)
        // Pieces that are on the same rows have them once.
        XCTAssertEqual(Table(try Combination([table, table])).storedBytes, 32_000)
        XCTAssertEqual(try Table(Partition([table, other, table])).slice(500..<3000).storedBytes, 16_000 + 64_000)
        let assignment = (0..<2000).map { $0 / 3 % 2 == 0 ? 0 : 1 }
        let counts = [0, 1].map { part in assignment.filter { $0 == part }.count }
        let parts = try counts.map { try table.slice(0..<$0 % 1000).remapped(rows: $0, modulo: 1) }
        // 4 blocks of 512 ids: a bit for each, and two counts.
        XCTAssertEqual(try Partition(parts, assignment: assignment).ownBytes, 4 * (64 + 8))
        let matrix = [Float](repeating: 1, count: 8 * 5)
        XCTAssertEqual(try Project(table, matrix: matrix, dimension: 5).ownBytes, 160)
        let half = try Project(table, matrix: matrix, dimension: 5, bias: [1, 2, 3, 4, 5], element: .float16)
        XCTAssertEqual(half.ownBytes, 80 + 20)
    }

    func testWhatRoutesRefuse() throws {
        let (table, short, narrow) = (try dense(4, 3, 1), try dense(3, 3, 2), try dense(4, 2, 3))
        assertInvalidArgument("two tables or more, not 1") { _ = try Combination([table]) }
        assertInvalidArgument("table 1 is 3 x 3, but the first one is 4 x 3") { _ = try Combination([table, short]) }
        assertInvalidArgument("table 1 is 4 x 2") { _ = try Combination([table, narrow]) }
        assertInvalidArgument("one table or more") { _ = try Columns([Table]()) }
        assertInvalidArgument("table 1 has 3 rows, but the first one has 4") { _ = try Columns([table, short]) }
        let wide = try dense(1, 1 << 20, 1)
        assertInvalidArgument("from 1 to 1048576 columns") { _ = try Columns([wide, wide]) }
        assertInvalidArgument("1 to 4096 tables, not 0") { _ = try Partition([]) }
        assertInvalidArgument("1 to 4096 tables, not 4097") {
            _ = try Partition([Table](repeating: table, count: 4097))
        }
        assertInvalidArgument("table 1 has 2 columns, but the first one has 3") { _ = try Partition([table, narrow]) }
        let huge = try table.remapped(rows: maximumRows, modulo: 4)
        assertInvalidArgument("from 0 to 2^48 rows") { _ = try Partition([huge, huge]) }
        assertInvalidArgument("id 1 is assigned to table 2") { _ = try Partition([table, short], assignment: [0, 2]) }
        assertInvalidArgument("id 0 is assigned to table -1") { _ = try Partition([table], assignment: [-1]) }
        assertInvalidArgument("3 ids are assigned to table 0, which has 4 rows") {
            _ = try Partition([table, short], assignment: [0, 0, 0, 1, 1, 1])
        }
        assertInvalidArgument("not 5 and 0 numbers") { _ = try Project(table, matrix: [1, 2, 3, 4, 5], dimension: 2) }
        assertInvalidArgument("not 6 and 1 numbers") {
            _ = try Project(table, matrix: [1, 2, 3, 4, 5, 6], dimension: 2, bias: [1])
        }
        assertInvalidArgument("too large for f16") {
            _ = try Project(table, matrix: [1, 2, 1e6], dimension: 1, element: .float16)
        }
        var deep = table
        for _ in 1..<maximumTreeDepth { deep = Table(try Columns([deep])) }
        for make in [
            { Table(try Combination([deep, deep])) }, { Table(try Columns([deep])) }, { Table(try Partition([deep])) },
            { Table(try Project(deep, matrix: [1, 2, 3], dimension: 1)) },
        ] as [() throws -> Table] {
            assertFormatError(.treeTooDeep(limit: 32)) { _ = try make() }
        }
    }

    /// Every byte of the ranks takes every value that differs in one bit: errors or zeros, and never a read out of bounds.
    func testBadRanksAreErrorsOrZerosAsAsked() throws {
        let values = try dense(30, 2, 5)
        let parts = [try values.slice(0..<10), try values.slice(10..<15), try values.slice(15..<30)]
        let assignment = [0, 2, 1].flatMap { [Int](repeating: $0, count: [10, 5, 15][$0]) }
        let table = Table(try Partition(parts, assignment: assignment))
        let good = try table.decode()
        let array = try XCTUnwrap(table.parts().arrays.first { $0.name == "ranks" })
        XCTAssertEqual(array.shape, [1, 12 + 2 * 64])
        var errors = 0
        for place in 0..<array.bytes.count {
            for bit in 0..<8 {
                var bytes = [UInt8](array.bytes.buffer)
                bytes[place] ^= 1 << bit
                let memory = try GuardedMemory(bytes)
                let arrays = table.lentArrays().map { one in
                    one.name == "ranks"
                        ? LentArray(
                            name: one.name, type: one.type, shape: one.shape, data: UnsafeRawPointer(memory.base))
                        : one
                }
                let bad = try Table(tree: table.treeText(), arrays: arrays) { withExtendedLifetime((memory, table)) {} }
                let zeros = try bad.lookup(Array(0..<30), onInvalid: .zero)
                XCTAssertEqual(zeros.count, good.count)
                if bad.invalidCount > 0 {
                    errors += 1
                    XCTAssertThrowsError(try bad.decode()) {
                        switch $0 as? EmbedCompressError {
                        case .format(.badPart(_, 3, 3), _), .format(.badRank, _): break
                        default: XCTFail("\($0)")
                        }
                    }
                    XCTAssertThrowsError(try bad.bag(Array(0..<30), offsets: [0]))
                }
                _ = try? bad.slice(3..<17).decode()
            }
        }
        XCTAssertGreaterThan(errors, 50)
    }
}
