import XCTest

@testable import EmbedCompress

/// One test a rule: the smallest file that breaks it, and the exact error.
final class SafetensorsHeaderTests: XCTestCase {
    private let four = #"{"dtype":"U8","shape":[4],"data_offsets":[0,4]}"#
    private let data: [UInt8] = [1, 2, 3, 4]

    private func refuse(
        _ header: String, data: [UInt8] = [1, 2, 3, 4], _ expected: FormatError,
        file: StaticString = #filePath, line: UInt = #line
    ) {
        assertFormatError(expected, file: file, line: line) {
            _ = try parseHeader(safetensorsBytes(header, data: data))
        }
    }

    private func entry(_ type: String, _ shape: String, _ offsets: String) -> String {
        #"{"t":{"dtype":\#(type),"shape":\#(shape),"data_offsets":\#(offsets)}}"#
    }

    // MARK: Frame

    func testFileTooShort() {
        for count in 0..<8 {
            assertFormatError(.fileTooShort(fileBytes: count)) {
                _ = try parseHeader(Array(repeating: 0, count: count))
            }
        }
    }

    func testHeaderTooLarge() {
        for length in [100_000_001, 1 << 63, UInt64.max] {
            assertFormatError(.headerTooLarge(headerBytes: length, limit: 100_000_000)) {
                _ = try parseHeader(safetensorsBytes("{}", headerBytes: length))
            }
        }
    }

    func testHeaderBeyondFile() {
        assertFormatError(.headerBeyondFile(headerBytes: 3, fileBytes: 10)) {
            _ = try parseHeader(safetensorsBytes("{}", headerBytes: 3))
        }
        assertFormatError(.headerBeyondFile(headerBytes: 100_000_000, fileBytes: 10)) {
            _ = try parseHeader(safetensorsBytes("{}", headerBytes: 100_000_000))
        }
    }

    func testHeaderMustStartWithABrace() {
        refuse("", data: [], .headerStart(found: nil))
        refuse(" {}", data: [], .headerStart(found: 0x20))
        refuse("[]", data: [], .headerStart(found: 0x5B))
    }

    func testTrailingHeaderBytes() {
        refuse("{}\n", data: [], .trailingHeaderBytes(offset: 2))
        refuse("{}  {}", data: [], .trailingHeaderBytes(offset: 4))
        refuse("{}\0", data: [], .trailingHeaderBytes(offset: 2))
        XCTAssertNoThrow(try parseHeader(safetensorsBytes("{}      ")))
    }

    // MARK: JSON in the header

    func testInvalidUTF8() {
        assertFormatError(.invalidUTF8(offset: 2)) {
            _ = try parseHeader(safetensorsBytes([0x7B, 0x22, 0xFF, 0x22, 0x7D]))
        }
    }

    func testMalformedJSON() {
        refuse(#"{"t":}"#, .jsonSyntax(offset: 5, expected: "a value"))
    }

    func testNestedTooDeep() {
        refuse(
            #"{"t":"# + String(repeating: "[", count: 100_000), .tensorNotAnObject(tensor: "t", found: "an array"))
    }

    func testRepeatedTensor() {
        refuse(#"{"t":\#(four),"t":\#(four)}"#, .duplicateKey(key: "t", offset: 53))
    }

    func testRepeatedMetadata() {
        refuse(#"{"__metadata__":{},"__metadata__":{}}"#, .duplicateKey(key: "__metadata__", offset: 19))
    }

    func testRepeatedKeyInMetadata() {
        refuse(#"{"__metadata__":{"a":"1","a":"1"}}"#, .duplicateKey(key: "a", offset: 25))
    }

    func testRepeatedFieldOfATensor() {
        refuse(#"{"t":{"dtype":"U8","dtype":"U8"}}"#, .duplicateKey(key: "dtype", offset: 19))
    }

    // MARK: Metadata

    func testMetadataNotAnObject() {
        refuse(#"{"__metadata__":null}"#, .metadataNotAnObject(found: "null"))
        refuse(#"{"__metadata__":["a"]}"#, .metadataNotAnObject(found: "an array"))
    }

    func testMetadataValueNotAString() {
        refuse(#"{"__metadata__":{"a":"b","c":1}}"#, .metadataValueNotAString(key: "c", found: "1"))
        refuse(#"{"__metadata__":{"c":{}}}"#, .metadataValueNotAString(key: "c", found: "an object"))
    }

    // MARK: One tensor

    func testTensorNotAnObject() {
        refuse(#"{"t":[]}"#, .tensorNotAnObject(tensor: "t", found: "an array"))
    }

    func testMissingTensorField() {
        refuse(#"{"t":{"shape":[4],"data_offsets":[0,4]}}"#, .missingTensorField(tensor: "t", field: "dtype"))
        refuse(#"{"t":{"dtype":"U8","data_offsets":[0,4]}}"#, .missingTensorField(tensor: "t", field: "shape"))
        refuse(#"{"t":{"dtype":"U8","shape":[4]}}"#, .missingTensorField(tensor: "t", field: "data_offsets"))
    }

    func testUnknownTensorField() {
        refuse(
            #"{"t":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"x":1}}"#,
            .unknownTensorField(tensor: "t", field: "x"))
    }

    func testTypeNotAString() {
        refuse(entry("8", "[4]", "[0,4]"), .typeNotAString(tensor: "t", found: "8"))
    }

    func testUnknownType() {
        refuse(entry(#""F128""#, "[4]", "[0,4]"), .unknownType(tensor: "t", type: "F128"))
        refuse(entry(#""u8""#, "[4]", "[0,4]"), .unknownType(tensor: "t", type: "u8"))
    }

    func testSubByteType() {
        refuse(entry(#""F4""#, "[8]", "[0,4]"), .subByteType(tensor: "t", type: "F4"))
        refuse(entry(#""F6_E2M3""#, "[4]", "[0,3]"), .subByteType(tensor: "t", type: "F6_E2M3"))
    }

    func testShapeNotAnArray() {
        refuse(entry(#""U8""#, "4", "[0,4]"), .shapeNotAnArray(tensor: "t", found: "4"))
    }

    func testInvalidDimension() {
        for found in ["-1", "4.0", "1e+20", "true", "null"] {
            refuse(entry(#""U8""#, "[1,\(found)]", "[0,4]"), .invalidDimension(tensor: "t", axis: 1, found: found))
        }
        refuse(entry(#""U8""#, #"["4"]"#, "[0,4]"), .invalidDimension(tensor: "t", axis: 0, found: "a string"))
    }

    func testShapeOverflow() {
        let huge = "4611686018427387904"
        for shape in ["[\(huge),2]", "[\(huge),4,0]", "[0,\(huge),4]"] {
            refuse(entry(#""U8""#, shape, "[0,0]"), data: [], .shapeOverflow(tensor: "t"))
        }
        refuse(entry(#""F64""#, "[\(huge)]", "[0,0]"), data: [], .shapeOverflow(tensor: "t"))
    }

    func testOffsetsNotAPair() {
        for offsets in ["4", "[]", "[0]", "[0,4,4]", "null"] {
            refuse(entry(#""U8""#, "[4]", offsets), .offsetsNotAPair(tensor: "t"))
        }
    }

    func testInvalidOffset() {
        for found in ["-1", "0.0", "1e+20", "null", "-0.0"] {
            refuse(entry(#""U8""#, "[4]", "[\(found),4]"), .invalidOffset(tensor: "t", found: found))
            refuse(entry(#""U8""#, "[4]", "[0,\(found)]"), .invalidOffset(tensor: "t", found: found))
        }
    }

    func testReversedOffsets() {
        refuse(entry(#""U8""#, "[4]", "[4,0]"), .reversedOffsets(tensor: "t", begin: 4, end: 0))
    }

    func testSizeMismatch() {
        refuse(entry(#""U8""#, "[3]", "[0,4]"), .sizeMismatch(tensor: "t", expectedBytes: 3, foundBytes: 4))
        refuse(entry(#""F32""#, "[]", "[0,0]"), .sizeMismatch(tensor: "t", expectedBytes: 4, foundBytes: 0))
        refuse(entry(#""U8""#, "[0]", "[0,4]"), .sizeMismatch(tensor: "t", expectedBytes: 0, foundBytes: 4))
    }

    // MARK: Layout

    private func pair(_ a: (Int, Int), _ b: (Int, Int)) -> String {
        func entry(_ r: (Int, Int)) -> String {
            #"{"dtype":"U8","shape":[\#(r.1 - r.0)],"data_offsets":[\#(r.0),\#(r.1)]}"#
        }
        return #"{"a":\#(entry(a)),"b":\#(entry(b))}"#
    }

    func testOffsetsBeyondFile() {
        refuse(pair((0, 2), (2, 5)), .offsetsBeyondFile(tensor: "b", end: 5, dataBytes: 4))
        let last = Int.max
        refuse(
            entry(#""U8""#, "[\(last)]", "[0,\(last)]"), .offsetsBeyondFile(tensor: "t", end: last, dataBytes: 4))
    }

    func testHole() {
        refuse(pair((0, 1), (2, 4)), .hole(before: "b", from: 1, to: 2))
        refuse(pair((3, 4), (1, 3)), .hole(before: "b", from: 0, to: 1))
    }

    func testOverlap() {
        refuse(pair((0, 3), (2, 4)), .overlap(first: "a", second: "b", at: 2))
        refuse(pair((0, 4), (0, 4)), .overlap(first: "a", second: "b", at: 0))
        refuse(pair((0, 4), (2, 2)), .overlap(first: "a", second: "b", at: 2))
    }

    func testTrailingData() {
        refuse(#"{"t":\#(four)}"#, data: data + [0], .trailingData(from: 4, dataBytes: 5))
        refuse("{}", data: [0], .trailingData(from: 0, dataBytes: 1))
    }

    // MARK: What is accepted

    func testAcceptedFiles() throws {
        XCTAssertEqual(Array(try parseHeader(safetensorsBytes("{}")).tensors), [])
        let header = try parseHeader(
            safetensorsBytes(
                #"{"b":{"data_offsets":[2,4],"dtype":"F16","shape":[]},"__metadata__":{"k":"v"},"#
                    + #""z":{"dtype":"F32","shape":[3,0],"data_offsets":[2,2]},"#
                    + #""a":{"dtype":"BOOL","shape":[2,1],"data_offsets":[0,2]}}"#, data: data))
        XCTAssertEqual(
            Array(header.tensors),
            [
                TensorInfo(name: "a", type: .bool, shape: [2, 1], range: 0..<2),
                TensorInfo(name: "z", type: .f32, shape: [3, 0], range: 2..<2),
                TensorInfo(name: "b", type: .f16, shape: [], range: 2..<4),
            ])
        XCTAssertEqual(header.metadata["k"], "v")
        XCTAssertEqual(header.metadata.count, 1)
    }

    func testEveryKnownType() throws {
        for type in ElementType.allCases {
            let count = type.byteCount * 3
            let header = entry("\"\(type.rawValue)\"", "[3]", "[0,\(count)]")
            let parsed = try parseHeader(safetensorsBytes(header, data: Array(repeating: 0, count: count)))
            XCTAssertEqual(parsed.tensors.first?.type, type)
        }
    }

    func testManyTensorsTakeLinearTime() throws {
        func seconds(_ count: Int) throws -> Double {
            let entries = (0..<count).map { index in
                #""layers.\#(index).weight":{"dtype":"F32","shape":[1,1],"#
                    + #""data_offsets":[\#(4 * index),\#(4 * index + 4)]}"#
            }
            let text = "{" + entries.joined(separator: ",") + "}"
            let bytes = safetensorsBytes(text, data: Array(repeating: 0, count: 4 * count))
            var parsed = 0
            let elapsed = try ContinuousClock().measure { parsed = try parseHeader(bytes).tensors.count }
            XCTAssertEqual(parsed, count)
            return Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) * 1e-18
        }
        let total = try seconds(100_000)
        print("header of 100,000 tensors: \(total) s")
        XCTAssertLessThan(total, 60, "quadratic time would take minutes, even without optimization")
    }

    func testDescriptionsStayShortAndPrintable() {
        let name = "\u{1B}[31m\n\u{202E}" + String(repeating: "x", count: 1_000_000)
        let text = FormatError.tensorNotAnObject(tensor: name, found: "null").description
        XCTAssertLessThan(text.count, 300)
        XCTAssertTrue(text.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x202E })
        XCTAssertEqual(
            FormatError.hole(before: "codes", from: 8, to: 16).description,
            "bytes 8 to 16 of the data section, before tensor 'codes', belong to no tensor")
        XCTAssertEqual(
            FormatError.noSuchTable(name: "a", available: ["b", "c"]).description,
            "the file has no table 'a': it has 'b', 'c'")
    }
}
