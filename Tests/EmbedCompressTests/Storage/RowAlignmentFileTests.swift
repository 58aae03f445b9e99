import Foundation
import TestSupport
import XCTest

@testable import EmbedCompress

final class RowAlignmentFileTests: TemporaryFolderTestCase {
    func testFilesKeepAlignedRowsWhereTheyAreAligned() throws {
        let source = try randomDense(rows: 21, dimension: 20, seed: 1)
        let tables: [(name: String, table: Table)] = [
            ("odd", try source.compressed("asym", ["bits": 2])),
            ("shared", try source.compressed("table", ["bits": 4]).aligned(to: 64)),
            ("clusters", try source.compressed("kmeans_cls", ["bits": 4, "clusters": 3]).aligned(to: 16)),
            ("dense", try source.slice(0..<7)),
            ("aligned", try source.slice(0..<7).aligned(to: 32)),
        ]
        try TableFile.write(tables, to: path("f"))
        for map in [true, false] {
            for (name, table) in tables {
                let again = try Table(contentsOf: path("f"), name: name, map: map)
                XCTAssertEqual(again.storedBytes, table.storedBytes, name)
                XCTAssertEqual(try again.decode(), try table.decode(), name)
                XCTAssertEqual(again.description, table.description)
                let store = try XCTUnwrap(again.root as? any RowStore)
                let alignment = UInt(store.spacing.alignment)
                XCTAssertEqual(UInt(bitPattern: store.memory.bytes.pointer) % alignment, 0, name)
            }
        }
    }

    func testCompressingToAFileIsCompressingAligningAndSaving() throws {
        let source = try randomDense(rows: 200, dimension: 20, seed: 2)
        for method in ["asym", "table", "kmeans", "kmeans_cls"] {
            let aligned = try source.compressed(method).aligned(to: 64)
            try aligned.save(to: path("saved"), name: "t")
            let report = try TableFile.compress(
                [CompressionJob("t", source)], method: method, to: path("streamed"), rowAlignment: 64)
            XCTAssertEqual(try contents("streamed"), try contents("saved"), method)
            XCTAssertEqual(report[0].storedBytes, aligned.storedBytes)
        }
        assertInvalidArgument("a budget counts rows without padding") {
            let job = CompressionJob("t", source, options: ["budget": 100_000])
            _ = try TableFile.compress([job], method: "asym", to: path("b"), rowAlignment: 2)
        }
        assertInvalidArgument("row_alignment must be 1") {
            _ = try TableFile.compress([CompressionJob("t", source)], method: "asym", to: path("b"), rowAlignment: 5)
        }
    }

    func testWhatAFileCannotSay() throws {
        let nodes = [
            #""kind":"uniform","rows":2,"dimension":3,"bits":8,"group":3,"scale":"f16""#,
            #""kind":"codebook","rows":2,"dimension":3,"bits":1,"entries":"f16","scope":"row""#,
            #""kind":"dense","rows":2,"dimension":3,"element":"f16""#,
        ]
        let kinds = ["uniform", "codebook", "dense"]
        let memory = try GuardedMemory([UInt8](repeating: 0, count: 32))
        func open(_ node: String, _ alignment: String, shape: [Int], _ type: ElementType = .u8) throws -> Table {
            let array = LentArray(name: "r", type: type, shape: shape, data: UnsafeRawPointer(memory.base))
            let tree = "{\(node),\"row_alignment\":\(alignment),\"tensors\":{\"rows\":\"r\"}}"
            return try Table(tree: tree, arrays: [array]) { withExtendedLifetime(memory) {} }
        }
        for (kind, node) in zip(kinds, nodes) {
            for alignment in ["0", "3", "-16", "128", "\"16\"", "16.5", "true", "null"] {
                assertThrows(
                    .format(
                        .invalidField(
                            node: kind, field: "row_alignment", expected: "1, 2, 4, 8, 16, 32 or 64"))
                ) { _ = try open(node, alignment, shape: [2, 16]) }
            }
        }
        for (node, natural) in zip(nodes.prefix(2), [7, 5]) {
            assertThrows(.format(.wrongTensor(name: "r", expected: "U8 [2, 16]", found: "U8 [2, \(natural)]"))) {
                _ = try open(node, "16", shape: [2, natural])
            }
            assertThrows(.format(.wrongTensor(name: "r", expected: "U8 [2, \(natural)]", found: "U8 [2, 16]"))) {
                _ = try open(node, "1", shape: [2, 16])
            }
            XCTAssertEqual(try open(node, "16", shape: [2, 16]).storedBytes, 32)
        }
        assertThrows(.format(.wrongTensor(name: "r", expected: "F16 [2, 8]", found: "F16 [2, 3]"))) {
            _ = try open(nodes[2], "16", shape: [2, 3], .f16)
        }
        let route =
            #"{"kind":"remap","rows":2,"dimension":3,"function":"modulo","modulus":2,"offset":0,"row_alignment":16}"#
        XCTAssertThrowsError(try Table(tree: route, arrays: []) {})
    }
}
