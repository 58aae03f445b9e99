import Foundation
import TestSupport
import XCTest

@testable import EmbedCompress

final class TableFileTests: TemporaryFolderTestCase {
    /// A table of every kind, by name.
    private func tables() throws -> [(name: String, table: Table)] {
        var generator = SeededGenerator(seed: 90)
        let dense = try randomDense(rows: 20, dimension: 5, seed: 91)
        var tables: [(name: String, table: Table)] = [("dense", dense)]
        for element in [Dense.Element.float16, .bfloat16] {
            let table = try guardedTable(element, bytes: generator.bytes(20 * 5 * 2).map { $0 & 0x3F }, dimension: 5)
            tables.append((element.rawValue, table))
        }
        for bits in Uniform.bitWidths {
            for (group, scaleType) in [(nil, ScaleType.float16), (8, .float32)] {
                let format = UniformReference(dimension: 19, bits: bits, group: group, scaleType: scaleType)
                tables.append(("u\(bits)\(scaleType)", try randomUniform(format, rows: 7, using: &generator).table))
            }
        }
        let uniform = try XCTUnwrap(tables.last).table
        for bits in Codebook.bitWidths {
            for (clusters, type): (Int?, ScaleType) in [(nil, .float16), (300, .float32), (1, .float16)] {
                let format = CodebookReference(dimension: 19, bits: bits, entryType: type, clusters: clusters)
                let (rows, books) = format.random(rows: 7, using: &generator)
                let table = try guardedTable(format, rows: rows, codebooks: books)
                tables.append(("c\(bits) \(format.scope) \(clusters ?? 0)", table))
            }
        }
        let shared = CodebookReference(dimension: 5, bits: 3, entryType: .float32, isTable: true)
        let (rows, book) = shared.random(rows: 4, using: &generator)
        tables.append(("codebook of the table", try guardedTable(shared, rows: rows, codebooks: book)))
        tables.append(("slice of codebooks", try XCTUnwrap(tables.last).table.slice(1..<3)))
        for (isSum, element) in [(false, ScaleType.float16), (true, .float32)] {
            let format = ProductReference(dimension: 19, parts: 4, bits: 5, isSum: isSum, element: element)
            let (rows, books) = format.random(rows: 7, using: &generator)
            let table = try guardedTable(format, rows: rows, codebooks: books)
            tables += [("p \(isSum)", table), ("slice of p \(isSum)", try table.slice(2..<6))]
        }
        let codes = (0..<6).map { _ in generator.bytes(10) }
        let scaled = try guardedTable(bits: 4, dimension: 19, rows: codes, scale: 0.25, bias: -1)
        tables.append(("uniform of the table", scaled))
        tables.append(("slice of uniform of the table", try scaled.slice(2..<5)))
        tables.append(("modulo", try uniform.remapped(rows: 30, modulo: 7)))
        tables.append(("quotient", try uniform.remapped(rows: 30, dividedBy: 5)))
        tables.append(("map", try uniform.remapped(through: [6, -1, 0, 3])))
        tables.append(("nested", try uniform.remapped(through: [6, -1, 0, 3]).remapped(rows: 9, modulo: 4)))
        tables.append(("slice", try uniform.slice(2..<5)))
        tables.append(("slice of a route", try uniform.remapped(rows: 30, modulo: 7).slice(9..<20)))
        tables.append(("hash", try uniform.remapped(rows: 30, hashedWith: 5).slice(3..<20)))
        tables.append(("blocks", try uniform.remapped(rows: 9, through: [1, -1, 0], blockRows: 3).slice(1..<8)))
        tables.append(("sum", Table(try Combination([uniform, uniform]))))
        tables.append(("product", Table(try Combination([uniform, uniform, uniform], operation: .product))))
        tables.append(("columns", Table(try Columns([uniform, uniform.slice(0..<7)]))))
        tables.append(("ranges", try Table(Partition([uniform, uniform.slice(2..<4)])).slice(3..<8)))
        let assigned = try Partition([uniform, uniform.slice(2..<4)], assignment: [0, 0, 1, 0, 0, 0, 1, 0, 0])
        tables.append(("assignment", Table(assigned)))
        tables.append(("slice of an assignment", try Table(assigned).slice(1..<8)))
        let matrix = generator.normals(uniform.dimension * 5)
        tables.append(("project", Table(try Project(uniform, matrix: matrix, dimension: 5))))
        let biased = try Project(uniform, matrix: matrix, dimension: 5, bias: [1, 2, 3, 4, 5], element: .float16)
        tables.append(("project and bias", try Table(biased).slice(2..<6)))
        tables.append(("no rows", Table(try Dense([], rows: 0, dimension: 3))))
        tables.append(("é\"\n\0 😀", dense))
        tables.append(("", dense))
        return tables
    }

    private func assertSame(_ left: Table, _ right: Table, _ message: String, line: UInt = #line) throws {
        XCTAssertEqual(left.description, right.description, message, line: line)
        XCTAssertEqual(
            try left.decode().map(\.bitPattern), try right.decode().map(\.bitPattern), message, line: line)
        XCTAssertEqual(left.parts().tree, right.parts().tree, message, line: line)
        for (one, other) in zip(left.parts().arrays, right.parts().arrays) {
            XCTAssertEqual(Array(one.bytes.buffer), Array(other.bytes.buffer), message, line: line)
        }
    }

    // MARK: Round trips

    func testEveryKindOfTableComesBack() throws {
        for (name, table) in try tables() {
            try table.save(to: path("t"), name: name)
            for map in [true, false] {
                try assertSame(try Table(contentsOf: path("t"), map: map), table, name)
                try assertSame(try Table(contentsOf: path("t"), name: name, map: map), table, name)
            }
        }
        XCTAssertEqual(try files(), ["t"])
    }

    func testSeveralTablesInOneFile() throws {
        let tables = try tables()
        try TableFile.write(tables, to: path("t"), metadata: [("note", "é\n"), ("format", "pt")])
        let file = try TableFile(path: path("t"))
        XCTAssertTrue(file.isTableFile)
        XCTAssertEqual(file.names, tables.map(\.name))
        XCTAssertEqual(file.metadata.map(\.key), ["note", "format"])
        XCTAssertEqual(file.metadata.map(\.value), ["é\n", "pt"])
        for (name, table) in tables {
            for map in [true, false] { try assertSame(try file.table(name, map: map), table, name) }
        }
        assertFormatError(.ambiguousTable(available: file.names)) { _ = try file.table() }
        assertFormatError(.noSuchTable(name: "x", available: file.names)) { _ = try file.table("x") }
    }

    /// The names of a model's modules are often prefixes of each other.
    func testTablesWhoseNamesArePrefixesOfEachOther() throws {
        let dense = try randomDense(rows: 4, dimension: 3, seed: 92)
        let tables = [
            ("a", try dense.remapped(rows: 8, modulo: 4)), ("a.inner", dense), ("a.inner.rows", dense), ("", dense),
            ("rows", dense),
        ]
        try TableFile.write(tables.map { (name: $0.0, table: $0.1) }, to: path("t"))
        for (name, table) in tables { try assertSame(try Table(contentsOf: path("t"), name: name), table, name) }
    }

    func testWhatCannotBeSaved() throws {
        let dense = try randomDense(rows: 4, dimension: 3, seed: 93)
        assertInvalidArgument("there is no table to save") { try TableFile.write([], to: path("t")) }
        assertInvalidArgument("two tables of the name 'a'") {
            try TableFile.write([("a", dense), ("a", dense)], to: path("t"))
        }
        assertInvalidArgument("metadata key 'embedcompress.version'") {
            try TableFile.write([("a", dense)], to: path("t"), metadata: [("embedcompress.version", "1")])
        }
        assertThrows(.io(operation: "write", path: path("no/t"), errno: ENOENT)) { try dense.save(to: path("no/t")) }
        XCTAssertEqual(try files(), [])
    }

    func testATableOutlivesItsFile() throws {
        let dense = try randomDense(rows: 400, dimension: 33, seed: 94)
        try dense.save(to: path("t"))
        let mapped = try Table(contentsOf: path("t"))
        try denseTable([1], dimension: 1).save(to: path("t"))
        XCTAssertEqual(try mapped.decode(), try dense.decode())
        unlink(path("t"))
        XCTAssertEqual(try mapped.lookup([399]), try dense.lookup([399]))
    }

    func testACancelledSaveLeavesWhatWasThere() throws {
        let dense = try randomDense(rows: 400, dimension: 33, seed: 95)
        try denseTable([1], dimension: 1).save(to: path("t"))
        assertThrows(.cancelled) { try TableFile.write([("a", dense)], to: path("t"), progress: { _, _ in false }) }
        XCTAssertEqual(try Table(contentsOf: path("t")).decode(), [1])
        XCTAssertEqual(try files(), ["t"])
    }

    func testSavingReportsBytes() throws {
        let dense = try randomDense(rows: 400, dimension: 33, seed: 96)
        let seen = Recorder()
        try TableFile.write([("a", dense), ("b", dense)], to: path("t")) { seen.add($0, $1) }
        XCTAssertEqual(seen.last?.done, 2 * dense.storedBytes)
        XCTAssertEqual(seen.last?.total, 2 * dense.storedBytes)
        XCTAssertTrue(seen.isSane)
    }

    // MARK: Anybody's checkpoints

    private func checkpoint(_ tensors: [(name: String, type: ElementType, shape: [Int])], _ data: [[UInt8]]) throws {
        let writer = try SafetensorsWriter(path: path("c"), tensors: tensors)
        for bytes in data { try bytes.withUnsafeBytes { try writer.write($0) } }
        try writer.finish()
    }

    func testTensorsOfACheckpoint() throws {
        let halves: [UInt16] = [0x3C00, 0x4000, 0xC000, 0x0001]
        let brains: [UInt16] = [0x3F80, 0x4000]
        try checkpoint(
            [
                ("f32", .f32, [2, 1]), ("f16", .f16, [1, 4]), ("bf16", .bf16, [2, 1]), ("bias", .f32, [1]),
                ("ids", .i64, [1, 1]), ("flat", .f32, [1, 0]),
            ],
            [
                [Float(1.5), -2].withUnsafeBytes { Array($0) }, halves.withUnsafeBytes { Array($0) },
                brains.withUnsafeBytes { Array($0) }, [0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0], [],
            ])
        let file = try TableFile(path: path("c"))
        XCTAssertFalse(file.isTableFile)
        for map in [true, false] {
            XCTAssertEqual(try file.table("f32", map: map).decode(), [1.5, -2])
            XCTAssertEqual(try file.table("f16", map: map).decode(), [1, 2, -2, 0x1p-24])
            XCTAssertEqual(try file.table("bf16", map: map).decode(), [1, 2])
        }
        XCTAssertNoThrow(try file.table("f32").compressed("greedy"))
        assertFormatError(.notAMatrix(name: "bias", found: "F32 [1]")) { _ = try file.table("bias") }
        assertFormatError(.notAMatrix(name: "ids", found: "I64 [1, 1]")) { _ = try file.table("ids") }
        assertFormatError(.notAMatrix(name: "flat", found: "F32 [1, 0]")) { _ = try file.table("flat") }
        assertFormatError(.noSuchTable(name: "x", available: file.names)) { _ = try file.table("x") }
        assertFormatError(.ambiguousTable(available: file.names)) { _ = try file.table() }
        XCTAssertEqual(Set(file.names).intersection(["f32", "f16", "bf16", "bias", "ids"]), ["f32", "f16", "bf16"])
    }

    func testTheOnlyMatrixOfACheckpointNeedsNoName() throws {
        try checkpoint([("w", .f32, [1, 1]), ("b", .f32, [1])], [[0, 0, 128, 63], [0, 0, 0, 0]])
        XCTAssertEqual(try Table(contentsOf: path("c")).decode(), [1])
        try checkpoint([("b", .f32, [1])], [[0, 0, 0, 0]])
        assertFormatError(.notATableFile(path: path("c"))) { _ = try Table(contentsOf: path("c")) }
    }

    func testContentsAsJSON() throws {
        try checkpoint([("w", .f32, [1, 1]), ("b", .i8, [2])], [[0, 0, 128, 63], [1, 2]])
        XCTAssertEqual(
            try JSON.parse(text: TableFile(path: path("c")).contents()),
            [
                "is_table_file": false, "tables": ["w"], "plain": ["w", "b"], "metadata": [:], "has_digests": false,
                "tensors": [
                    ["name": "w", "dtype": "F32", "shape": [1, 1]], ["name": "b", "dtype": "I8", "shape": [2]],
                ],
            ])
    }

    // MARK: Time to open

    /// 2 GiB that are not there: reading them would take seconds.
    func testOpeningTakesTimeIndependentOfTheSize() throws {
        let rows = 1 << 24
        let codes = (1 << 31) / rows - 4
        let tree = """
            {"weight": {"kind": "uniform", "rows": \(rows), "dimension": \(codes), "bits": 8, "group": \(codes), \
            "scale": "f16", "tensors": {"rows": "weight.rows"}}}
            """
        let quoted = try JSON.string(tree).serialized()
        let header = """
            {"__metadata__": {"embedcompress.version": "1", "embedcompress.tables": \(quoted)}, \
            "weight.rows": {"dtype": "U8", "shape": [\(rows), \(codes + 4)], "data_offsets": [0, \(1 << 31)]}}
            """
        let frame = safetensorsBytes(header)
        try put(frame, "big")
        XCTAssertEqual(truncate(path("big"), frame.count + (1 << 31)), 0)
        var best = Duration.seconds(100)
        for _ in 0..<3 {
            let clock = ContinuousClock()
            best = min(
                best,
                try clock.measure {
                    let table = try Table(contentsOf: path("big"))
                    XCTAssertEqual(table.rows, rows)
                    XCTAssertEqual(
                        try table.lookup([0, rows / 2, rows - 1]), [Float](repeating: 0, count: 3 * codes))
                })
        }
        XCTAssertLessThan(best, .milliseconds(50))
    }
}
