import Foundation
import TestSupport
import XCTest

@testable import EmbedCompress

/// One test a rule of the table format: a file that breaks it, and the exact error.
final class TableFileErrorTests: TemporaryFolderTestCase {
    private let uniform =
        #"{"kind":"uniform","rows":2,"dimension":3,"bits":8,"group":3,"scale":"f16","tensors":{"rows":"r"}}"#
    private let dense = #"{"kind":"dense","rows":2,"dimension":7,"element":"f32","tensors":{"rows":"f"}}"#

    /// A file with a table of this tree beside arrays `r` (U8 2 x 7), `f` (F32 2 x 7) and `m` (I32 2).
    private func write(tree: String, version: String? = "1", tables: String? = nil) throws {
        let tables = try JSON.string(tables ?? #"{"weight":\#(tree)}"#).serialized()
        let versionEntry = version.map { #""embedcompress.version":"\#($0)","# } ?? ""
        let header = """
            {"__metadata__":{\(versionEntry)"embedcompress.tables":\(tables)},
            "f":{"dtype":"F32","shape":[2,7],"data_offsets":[0,56]},"m":{"dtype":"I32","shape":[2],"data_offsets":[56,64]},
            "r":{"dtype":"U8","shape":[2,7],"data_offsets":[64,78]}}
            """
        try put(safetensorsBytes(header, data: [UInt8](repeating: 0, count: 78)), "t")
    }

    private func refuse(_ tree: String, _ expected: FormatError, file: StaticString = #filePath, line: UInt = #line)
        throws
    {
        try write(tree: tree)
        for map in [true, false] {
            assertFormatError(expected, file: file, line: line) { _ = try Table(contentsOf: path("t"), map: map) }
        }
    }

    /// `tree` with one piece of its text replaced.
    private func changed(_ tree: String, _ old: String, _ new: String) -> String {
        XCTAssertTrue(tree.contains(old), old)
        return tree.replacingOccurrences(of: old, with: new)
    }

    func testTheUnchangedFilesOpen() throws {
        for tree in [uniform, dense, changed(uniform, #""bits""#, #""bytes":"anything","bits""#)] {
            try write(tree: tree)
            XCTAssertEqual(try Table(contentsOf: path("t")).rows, 2)
        }
    }

    // MARK: The frame

    func testVersions() throws {
        for version in ["2", "0", "", "1.0", "one"] {
            try write(tree: uniform, version: version)
            assertFormatError(.unsupportedVersion(found: version, supported: "1")) {
                _ = try TableFile(path: path("t"))
            }
        }
        try write(tree: uniform, version: nil)
        XCTAssertFalse(try TableFile(path: path("t")).isTableFile)
    }

    func testTablesAreMissingOrNotAnObject() throws {
        try put(safetensorsBytes(#"{"__metadata__":{"embedcompress.version":"1"}}"#), "t")
        assertFormatError(.missingField(node: "metadata", field: "embedcompress.tables")) {
            _ = try TableFile(path: path("t"))
        }
        for text in ["[]", "1", "null"] {
            try write(tree: "", tables: text)
            let expected = "a JSON object of tables"
            assertFormatError(.invalidField(node: "metadata", field: "embedcompress.tables", expected: expected)) {
                _ = try TableFile(path: path("t"))
            }
        }
        try write(tree: "", tables: "{")
        XCTAssertThrowsError(try TableFile(path: path("t"))) {
            guard case .format(.jsonSyntax, path("t")) = $0 as? EmbedCompressError else { return XCTFail("\($0)") }
        }
        try write(tree: "", tables: "{}")
        assertFormatError(.notATableFile(path: path("t"))) { _ = try Table(contentsOf: path("t")) }
        try write(tree: "", tables: #"{"a":1,"a":2}"#)
        assertFormatError(.duplicateKey(key: "a", offset: 7)) { _ = try Table(contentsOf: path("t")) }
    }

    // MARK: Nodes

    func testNodesThatAreNotObjects() throws {
        for tree in ["1", "[]", "null", #""dense""#] {
            try refuse(tree, .invalidField(node: "tree", field: "node", expected: "a JSON object"))
        }
        try refuse("{}", .missingField(node: "tree", field: "kind"))
        try refuse(#"{"kind":1}"#, .invalidField(node: "tree", field: "kind", expected: "a string"))
        try refuse(#"{"kind":"Dense"}"#, .unknownNode(kind: "Dense"))
    }

    func testMissingFields() throws {
        for (text, field) in [
            (#""rows":2,"#, "rows"), (#""dimension":3,"#, "dimension"), (#""bits":8,"#, "bits"),
            (#""group":3,"#, "group"),
            (#""scale":"f16","#, "scale"), (#","tensors":{"rows":"r"}"#, "tensors.rows"),
            (#""rows":"r""#, "tensors.rows"),
        ] {
            try refuse(changed(uniform, text, ""), .missingField(node: "uniform", field: field))
        }
        try refuse(changed(dense, #""element":"f32","#, ""), .missingField(node: "dense", field: "element"))
    }

    func testUnknownFields() throws {
        try refuse(changed(uniform, #""bits""#, #""zero":0,"bits""#), .unknownField(node: "uniform", field: "zero"))
        try refuse(changed(uniform, #":"r""#, #":"r","x":"f""#), .unknownField(node: "uniform", field: "tensors.x"))
        try refuse(
            changed(uniform, #""bits""#, #""children":{"inner":\#(dense)},"bits""#),
            .unknownField(node: "uniform", field: "children.inner"))
    }

    func testFieldsOfTheWrongValue() throws {
        let rows = "an integer from 0 to \(maximumRows)"
        for value in ["-1", "2.0", "1e3", "null", #""2""#, "9223372036854775808", "true"] {
            try refuse(
                changed(uniform, #""rows":2"#, #""rows":\#(value)"#),
                .invalidField(node: "uniform", field: "rows", expected: rows))
        }
        let columns = "an integer from 1 to \(maximumDimension)"
        for value in [0, -1, maximumDimension + 1] {
            try refuse(
                changed(uniform, #""dimension":3"#, #""dimension":\#(value)"#),
                .invalidField(node: "uniform", field: "dimension", expected: columns))
        }
        for value in [0, 17] {
            try refuse(
                changed(uniform, #""bits":8"#, #""bits":\#(value)"#),
                .invalidField(node: "uniform", field: "bits", expected: "an integer from 1 to 16"))
        }
        try refuse(
            changed(uniform, #""bits":8"#, #""bits":9"#),
            .invalidField(node: "uniform", field: "bits or group", expected: "bits must be 1 to 8, or 16, not 9"))
        try refuse(
            changed(uniform, #""group":3"#, #""group":4"#),
            .invalidField(node: "uniform", field: "group", expected: "an integer from 1 to 3"))
        try refuse(
            changed(uniform, #""group":3"#, #""group":2"#),
            .invalidField(
                node: "uniform", field: "bits or group",
                expected: "group must be a multiple of 8 columns, or the whole row of 3, not 2"))
        try refuse(
            changed(uniform, #""f16""#, #""bf16""#),
            .invalidField(node: "uniform", field: "scale", expected: "one of 'f16', 'f32'"))
        try refuse(
            changed(dense, #""f32""#, "1"),
            .invalidField(node: "dense", field: "element", expected: "one of 'f32', 'f16', 'bf16'"))
        try refuse(
            changed(uniform, #"{"rows":"r"}"#, "[]"),
            .invalidField(node: "uniform", field: "tensors", expected: "a JSON object"))
        try refuse(
            changed(uniform, #"{"rows":"r"}"#, #"{"rows":1}"#),
            .invalidField(node: "uniform", field: "tensors.rows", expected: "the name of an array"))
    }

    // MARK: Tensors

    func testTensorsThatDoNotFitTheirNode() throws {
        try refuse(changed(uniform, #":"r""#, #":"gone""#), .missingTensor(name: "gone"))
        try refuse(
            changed(uniform, #":"r""#, #":"f""#), .wrongTensor(name: "f", expected: "U8 [2, 7]", found: "F32 [2, 7]"))
        try refuse(
            changed(dense, #""f""#, #""r""#), .wrongTensor(name: "r", expected: "F32 [2, 7]", found: "U8 [2, 7]"))
        for rows in [0, 1, 3, maximumRows] {
            try refuse(
                changed(uniform, #""rows":2"#, #""rows":\#(rows)"#),
                .wrongTensor(name: "r", expected: "U8 [\(rows), 7]", found: "U8 [2, 7]"))
        }
        try refuse(
            changed(uniform, #""scale":"f16""#, #""scale":"f32""#),
            .wrongTensor(name: "r", expected: "U8 [2, 11]", found: "U8 [2, 7]"))
        try refuse(
            changed(uniform, #""bits":8"#, #""bits":4"#),
            .wrongTensor(name: "r", expected: "U8 [2, 6]", found: "U8 [2, 7]"))
    }

    // MARK: Routes

    private func remap(_ fields: String, rows: Int = 2, dimension: Int = 7, tensors: String = "{}") -> String {
        #"{"kind":"remap","rows":\#(rows),"dimension":\#(dimension),\#(fields),"tensors":\#(tensors),"children":{"inner":\#(dense)}}"#
    }

    func testRoutesThatLeadNowhere() throws {
        try refuse(
            remap(#""function":"modulo","modulus":3,"offset":0"#),
            .invalidField(
                node: "remap", field: "function", expected: "modulus must be from 1 to the inner table's 2 rows, not 3")
        )
        try refuse(
            remap(#""function":"modulo","modulus":1,"offset":\#(maximumRows)"#),
            .invalidField(
                node: "remap", field: "function",
                expected: "a table has from 0 to 2^48 rows, not 2 from row \(maximumRows) on"))
        try refuse(
            remap(#""function":"quotient","divisor":1,"offset":1"#),
            .invalidField(
                node: "remap", field: "function",
                expected: "the last id 1 goes to inner row 2, but the inner table has 2 rows"))
        for field in ["modulus", "offset"] {
            let fields = #""function":"modulo","modulus":1,"offset":0"#
            try refuse(
                remap(changed(fields, #","\#(field)":\#(field == "offset" ? 0 : 1)"#, "")),
                .missingField(node: "remap", field: field))
        }
        try refuse(
            remap(#""function":"quotient","divisor":0,"offset":0"#),
            .invalidField(node: "remap", field: "divisor", expected: "an integer from 1 to \(Int.max)"))
        try refuse(
            remap(#""function":"map32""#),
            .invalidField(node: "remap", field: "function", expected: "one of 'modulo', 'quotient', 'hash', 'map'"))
        try refuse(remap(#""function":"hash","offset":0"#), .missingField(node: "remap", field: "seed"))
        let map = #""function":"map","bits":9,"block_rows":1,"offset":0,"shift":0"#
        try refuse(
            remap(map, rows: 3, tensors: #"{"map":"m"}"#),
            .wrongTensor(name: "m", expected: "U8 [4]", found: "I32 [2]"))
        try refuse(
            remap(changed(map, #""block_rows":1"#, #""block_rows":2"#), rows: 3, tensors: #"{"map":"m"}"#),
            .wrongTensor(name: "m", expected: "U8 [3]", found: "I32 [2]"))
        for (field, value, expected) in [
            ("bits", "58", "an integer from 1 to 57"), ("shift", "8", "an integer from 0 to 7"),
            ("offset", "1", "an integer from 0 to 0"), ("block_rows", "0", "an integer from 1 to \(Int.max)"),
        ] {
            let old = field == "bits" ? 9 : field == "block_rows" ? 1 : 0
            try refuse(
                remap(changed(map, "\"\(field)\":\(old)", "\"\(field)\":\(value)"), tensors: #"{"map":"m"}"#),
                .invalidField(node: "remap", field: field, expected: expected))
        }
        try refuse(
            remap(#""function":"modulo","modulus":1,"offset":0"#, dimension: 6),
            .invalidField(node: "remap", field: "dimension", expected: "that of the inner table, 7"))
        try refuse(
            changed(remap(#""function":"modulo","modulus":1,"offset":0"#), #""inner""#, #""outer""#),
            .missingField(node: "remap", field: "children.inner"))
    }

    func testATreeAThousandDeep() throws {
        for (depth, isJSONTooDeep) in [(33, false), (60, false), (70, true), (1000, true), (20_000, true)] {
            let node =
                #"{"kind":"remap","rows":2,"dimension":7,"function":"modulo","modulus":2,"offset":0,"children":{"inner":"#
            let tree =
                String(repeating: node, count: depth - 1) + dense + String(repeating: "}}", count: depth - 1)
            try write(tree: tree)
            XCTAssertThrowsError(try Table(contentsOf: path("t"))) { error in
                switch error as? EmbedCompressError {
                case .format(.treeTooDeep(limit: 32), path("t")): XCTAssertFalse(isJSONTooDeep)
                case .format(.nestedTooDeep, path("t")): XCTAssertTrue(isJSONTooDeep)
                default: XCTFail("\(error)")
                }
            }
        }
    }

    // MARK: Entries of maps

    func testBadEntriesOfAMapInAFile() throws {
        let inner = try denseTable([1, 2, 3, 4, 5], dimension: 1)
        try inner.remapped(through: [0, 1, -1, 2]).save(to: path("t"))
        var bytes = try contents("t")
        let file = try SafetensorsFile(path: path("t"))
        let map = try XCTUnwrap(file.tensor("weight.map"))
        // Entries have 3 bits, and 5 stands for zeros.
        bytes[file.header.dataStart + map.range.lowerBound] |= 7 << 3
        try put(bytes, "t")
        for mapped in [true, false] {
            let table = try Table(contentsOf: path("t"), map: mapped)
            assertFormatError(.badMapEntry(position: 1, entry: 7, rows: 5)) { _ = try table.decode() }
            XCTAssertEqual(try table.lookup([0, 2, 3]), [1, 0, 3])
            XCTAssertEqual(try table.lookup([0, 1, 2, 3], onInvalid: .zero), [1, 0, 0, 3])
            XCTAssertEqual(table.invalidCount, 1)
        }
    }
}
