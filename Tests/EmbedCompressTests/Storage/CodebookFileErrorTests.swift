import TestSupport
import XCTest

@testable import EmbedCompress

/// One test a rule of the nodes whose rows share parameters: a tree that breaks it, and the exact error.
final class CodebookFileErrorTests: XCTestCase {
    private let row =
        #"{"kind":"codebook","rows":2,"dimension":3,"bits":2,"entries":"f16","scope":"row","tensors":{"rows":"r"}}"#
    private let cluster =
        #"{"kind":"codebook","rows":2,"dimension":3,"bits":2,"entries":"f32","scope":"cluster","clusters":3,"tensors":{"rows":"c","codebooks":"b"}}"#
    private let table =
        #"{"kind":"codebook","rows":2,"dimension":8,"bits":2,"entries":"f32","scope":"table","tensors":{"rows":"c","codebooks":"t"}}"#
    private let uniform =
        #"{"kind":"uniform","rows":2,"dimension":2,"bits":8,"group":2,"scale":"f32","scope":"table","tensors":{"rows":"c","parameters":"p"}}"#

    /// A table of this tree and of those of the arrays that it names.
    private func open(_ tree: String) throws -> Table {
        let shapes: [(String, ElementType, [Int])] = [
            ("r", .u8, [2, 9]), ("c", .u8, [2, 2]), ("b", .f32, [3, 4]), ("t", .f32, [1, 4]), ("p", .f32, [2]),
        ]
        let arrays = try shapes.filter { tree.contains(#":"\#($0.0)""#) }.map { name, type, shape in
            let count = try XCTUnwrap(Checked.product(of: shape + [type.byteCount]))
            return StoredArray(
                name: name, type: type, shape: shape, bytes: Bytes(try ByteStorage.allocate(count)))
        }
        return Table(try Parts(tree: try JSON.parse(text: tree), arrays: arrays).node())
    }

    private func refuse(
        _ tree: String, _ old: String, _ new: String, _ expected: FormatError, file: StaticString = #filePath,
        line: UInt = #line
    ) {
        XCTAssertTrue(tree.contains(old), old, file: file, line: line)
        assertFormatError(expected, file: file, line: line) {
            _ = try open(tree.replacingOccurrences(of: old, with: new))
        }
    }

    func testTheUnchangedTreesOpen() throws {
        for tree in [row, cluster, table, uniform] { XCTAssertEqual(try open(tree).rows, 2) }
        let plain = uniform.replacingOccurrences(of: #""scope":"table","#, with: #""scope":"row","#)
        refuse(
            plain, #","parameters":"p""#, "", .wrongTensor(name: "c", expected: "U8 [2, 10]", found: "U8 [2, 2]"))
    }

    func testMissingFields() {
        for (text, field) in [
            (#""bits":2,"#, "bits"), (#""entries":"f32","#, "entries"), (#""scope":"cluster","#, "scope"),
            (#""clusters":3,"#, "clusters"), (#""rows":"c","#, "tensors.rows"),
            (#","codebooks":"b""#, "tensors.codebooks"),
        ] {
            refuse(cluster, text, "", .missingField(node: "codebook", field: field))
        }
        refuse(table, #","codebooks":"t""#, "", .missingField(node: "codebook", field: "tensors.codebooks"))
        refuse(uniform, #","parameters":"p""#, "", .missingField(node: "uniform", field: "tensors.parameters"))
    }

    func testUnknownFields() {
        refuse(row, #""bits""#, #""clusters":3,"bits""#, .unknownField(node: "codebook", field: "clusters"))
        refuse(table, #""bits""#, #""clusters":1,"bits""#, .unknownField(node: "codebook", field: "clusters"))
        refuse(row, #":"r""#, #":"r","codebooks":"b""#, .unknownField(node: "codebook", field: "tensors.codebooks"))
        refuse(cluster, #""bits""#, #""group":3,"bits""#, .unknownField(node: "codebook", field: "group"))
    }

    func testFieldsThatCannotBe() {
        for bits in ["0", "9", "2.5", #""2""#] {
            refuse(
                row, #""bits":2"#, #""bits":\#(bits)"#,
                .invalidField(node: "codebook", field: "bits", expected: "an integer from 1 to 8"))
        }
        refuse(
            row, #""f16""#, #""bf16""#,
            .invalidField(node: "codebook", field: "entries", expected: "one of 'f16', 'f32'"))
        refuse(
            row, #""scope":"row""#, #""scope":"rows""#,
            .invalidField(node: "codebook", field: "scope", expected: "one of 'row', 'cluster', 'table'"))
        for clusters in [0, -1, 1 << 32 + 1] {
            refuse(
                cluster, #""clusters":3"#, #""clusters":\#(clusters)"#,
                .invalidField(node: "codebook", field: "clusters", expected: "an integer from 1 to 4294967296"))
        }
        refuse(
            uniform, #""scope":"table""#, #""scope":"cluster""#,
            .invalidField(node: "uniform", field: "scope", expected: "one of 'row', 'table'"))
        refuse(
            uniform, #""scale":"f32""#, #""scale":"f16""#,
            .invalidField(
                node: "uniform", field: "scope",
                expected: "one scale and bias for the table are f32 and go with a group of the whole row, "
                    + "not f16 and 2 of 2 columns"))
    }

    func testTensorsThatDoNotFitTheirNode() {
        refuse(row, #""bits":2"#, #""bits":3"#, .wrongTensor(name: "r", expected: "U8 [2, 18]", found: "U8 [2, 9]"))
        refuse(row, #""f16""#, #""f32""#, .wrongTensor(name: "r", expected: "U8 [2, 17]", found: "U8 [2, 9]"))
        refuse(row, #""rows":2"#, #""rows":3"#, .wrongTensor(name: "r", expected: "U8 [3, 9]", found: "U8 [2, 9]"))
        refuse(
            cluster, #""clusters":3"#, #""clusters":4"#,
            .wrongTensor(name: "b", expected: "F32 [4, 4]", found: "F32 [3, 4]"))
        refuse(
            cluster, #""clusters":3"#, #""clusters":257"#,
            .wrongTensor(name: "c", expected: "U8 [2, 3]", found: "U8 [2, 2]"))
        refuse(
            cluster, #""entries":"f32""#, #""entries":"f16""#,
            .wrongTensor(name: "b", expected: "F16 [3, 4]", found: "F32 [3, 4]"))
        refuse(
            table, #""t""#, #""b""#, .wrongTensor(name: "b", expected: "F32 [1, 4]", found: "F32 [3, 4]"))
        refuse(
            uniform, #""p""#, #""c""#, .wrongTensor(name: "c", expected: "F32 [2]", found: "U8 [2, 2]"))
        refuse(cluster, #""codebooks":"b""#, #""codebooks":"gone""#, .missingTensor(name: "gone"))
    }
}
