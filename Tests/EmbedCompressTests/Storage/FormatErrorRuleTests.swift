import Foundation
import XCTest

@testable import EmbedCompress

/// The names of rules and the paths of files, which programs compare.
final class FormatErrorRuleTests: TemporaryFolderTestCase {
    func testARuleIsTheNameOfItsCase() {
        let errors: [FormatError] = [
            .fileTooShort(fileBytes: 0), .headerTooLarge(headerBytes: 0, limit: 0), .invalidUTF8(offset: 0),
            .metadataNotAnObject(found: ""), .subByteType(tensor: "", type: ""), .hole(before: "", from: 0, to: 0),
            .unknownNode(kind: ""), .badMapEntry(position: 0, entry: 0, rows: 0), .badRowPointers(row: 0),
            .unsortedRows(position: 0), .notAMatrix(name: "", found: ""), .invalidParts(kind: "", reason: ""),
            .longRow(row: 0, limit: 0), .notFinite(place: ""), .wrongDigest(tensor: "", stated: "", found: ""),
            .tooManyAxes(tensor: "", limit: 0), .tooManyValues(offset: 0), .tooManyNodes(limit: 0),
        ]
        for error in errors {
            let name = Mirror(reflecting: error).children.first?.label ?? ""
            XCTAssertEqual(error.rule.split(separator: "_").joined(), name.lowercased())
            XCTAssertEqual(error.rule, error.rule.lowercased())
        }
        XCTAssertEqual(Set(errors.map(\.rule)).count, errors.count)
    }

    func testErrorsNameTheirFile() throws {
        let file = path("t")
        try Data("short".utf8).write(to: URL(fileURLWithPath: file))
        assertThrows(.format(.fileTooShort(fileBytes: 5), path: file)) { _ = try TableFile(path: file) }
        try TableFile.write([("a", Table(try Dense([1, 2], rows: 1, dimension: 2)))], to: file)
        assertThrows(.format(.noSuchTable(name: "b", available: ["a"]), path: file)) {
            _ = try Table(contentsOf: file, name: "b")
        }
        let tree = #"{"kind":"none"}"#
        assertThrows(.format(.unknownNode(kind: "none"), path: nil)) { _ = try Table(tree: tree, arrays: []) {} }
    }
}
