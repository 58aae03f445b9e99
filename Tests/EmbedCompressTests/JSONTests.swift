import TestSupport
import XCTest

@testable import EmbedCompress

final class JSONTests: XCTestCase {
    // MARK: What is read

    func testValues() throws {
        XCTAssertEqual(try JSON.parse(text: " null\t"), .null)
        XCTAssertEqual(try JSON.parse(text: "true"), .bool(true))
        XCTAssertEqual(try JSON.parse(text: "false\r\n"), .bool(false))
        XCTAssertEqual(try JSON.parse(text: "[]"), .array([]))
        XCTAssertEqual(try JSON.parse(text: "[ 1 , [ ] ,{ } ]"), [1, [], [:]])
        XCTAssertEqual(try JSON.parse(text: #"{"a":1,"b":[true,null]}"#), ["a": 1, "b": [true, .null]])
    }

    func testNumbers() throws {
        XCTAssertEqual(try JSON.parse(text: "0"), .integer(0))
        XCTAssertEqual(try JSON.parse(text: "-17"), .integer(-17))
        XCTAssertEqual(try JSON.parse(text: "9223372036854775807"), .integer(.max))
        XCTAssertEqual(try JSON.parse(text: "-9223372036854775808"), .integer(.min))
        XCTAssertEqual(try JSON.parse(text: "9223372036854775808"), .number(9_223_372_036_854_775_808))
        XCTAssertEqual(try JSON.parse(text: "-9223372036854775809"), .number(-9_223_372_036_854_775_808))
        XCTAssertEqual(try JSON.parse(text: "100000000000000000000000"), .number(1e23))
        XCTAssertEqual(try JSON.parse(text: "1.0"), .number(1))
        XCTAssertEqual(try JSON.parse(text: "-2.5E-3"), .number(-0.0025))
        XCTAssertEqual(try JSON.parse(text: "1e+2"), .number(100))
        XCTAssertEqual(try JSON.parse(text: "-0").numberValue?.sign, .minus)
        for text in ["01", "-", "+1", ".5", "1.", "1e", "1e+", "0x1", "NaN", "Infinity", "-Infinity", "1_0", "--1"] {
            XCTAssertThrowsError(try JSON.parse(text: text), text)
        }
    }

    func testStrings() throws {
        XCTAssertEqual(try JSON.parse(text: #""a\"\\\/\b\f\n\r\t""#), "a\"\\/\u{8}\u{C}\n\r\t")
        XCTAssertEqual(try JSON.parse(text: #""\u0041\u00e9\uD83D\uDE00\u0000""#), "Aé😀\0")
        XCTAssertEqual(try JSON.parse(text: "\"grüße 漢字 😀\""), "grüße 漢字 😀")
        XCTAssertEqual(try JSON.parse(text: #""e\u0301""#).stringValue?.unicodeScalars.count, 2)
        for text in [#"""#, #""a"#, #""\"#, #""\x""#, #""\u12""#, #""\u123g""#, "\"\n\"", "\"\u{1F}\"", #"'a'"#] {
            XCTAssertThrowsError(try JSON.parse(text: text), text)
        }
    }

    func testSyntaxErrorsNameThePlace() {
        let cases: [(String, Int, String)] = [
            ("", 0, "a value"),
            ("  ", 2, "a value"),
            ("tru", 0, "a value"),
            ("[1 2]", 3, "',' or ']'"),
            ("[1,]", 3, "a value"),
            ("{1:2}", 1, "a key in quotes"),
            (#"{"a" 1}"#, 5, "':'"),
            (#"{"a":1,}"#, 7, "a key in quotes"),
            (#"{"a":1"#, 6, "',' or '}'"),
            ("1 2", 2, "the end of the text"),
            ("-x", 1, "a digit"),
            ("\"ab", 3, "'\"' at the end of a string"),
        ]
        for (text, offset, expected) in cases {
            assertFormatError(.jsonSyntax(offset: offset, expected: expected)) { _ = try JSON.parse(text: text) }
        }
    }

    // MARK: Attacks

    func testLoneSurrogatesAreRefused() {
        for text in [#""\uD800""#, #""\uDC00""#, #""\uD800x""#, #""\uD800\n""#, #""\uD800\uD800""#, #""\uDBFF\u0041""#]
        {
            assertFormatError(.jsonSyntax(offset: 2, expected: "a pair of surrogates, not a lone one")) {
                _ = try JSON.parse(text: text)
            }
        }
    }

    func testRepeatedKeysAreRefusedAtEveryLevel() {
        assertFormatError(.duplicateKey(key: "a", offset: 7)) { _ = try JSON.parse(text: #"{"a":1,"a":1}"#) }
        assertFormatError(.duplicateKey(key: "b", offset: 14)) {
            _ = try JSON.parse(text: #"[{"a":{"b":1, "\u0062":2}}]"#)
        }
        let many = (0..<100).map { "\"k\($0)\":0" }.joined(separator: ",")
        assertFormatError(.duplicateKey(key: "k50", offset: many.utf8.count + 2)) {
            _ = try JSON.parse(text: "{\(many),\"k50\":1}")
        }
    }

    /// Values of trees take memory in proportion to the text and to the nodes.
    func testValuesThatNoNodeNeedsAreRefused() throws {
        func parse(_ text: String) throws -> JSON {
            try Array(text.utf8).withUnsafeBytes { try JSON.parse(trees: $0, maximumDepth: 8) }
        }
        for element in ["0,", #""":0,"#] {
            let values = (0..<60_000).map { element.count == 2 ? element : "\"\($0)\":0," }.joined()
            let text = element.count == 2 ? "[\(values)0]" : "{\(values)\"a\":0}"
            XCTAssertThrowsError(try parse(text)) { error in
                guard case EmbedCompressError.format(.tooManyValues, _) = error else { return XCTFail("\(error)") }
            }
            XCTAssertNoThrow(try JSON.parse(text: text))
        }
        let node = #"{"kind":"dense","rows":1,"dimension":1,"element":"f32","tensors":{"rows":"a"}}"#
        let nodes = (0..<20_000).map { "\"\($0)\":\(node)" }.joined(separator: ",")
        XCTAssertEqual(try parse("{\(nodes)}").objectValue?.count, 20_000)
    }

    func testDepthIsLimited() throws {
        for (open, close) in [("[", "]"), (#"{"a":"#, "}")] {
            let inner = open == "[" ? "" : "0"
            func nested(_ depth: Int) -> String {
                String(repeating: open, count: depth) + inner + String(repeating: close, count: depth)
            }
            XCTAssertNoThrow(try JSON.parse(text: nested(64)))
            for depth in [65, 1000, 100_000] {
                assertFormatError(.nestedTooDeep(offset: 64 * open.utf8.count, limit: 64)) {
                    _ = try JSON.parse(text: nested(depth))
                }
            }
        }
        assertFormatError(.nestedTooDeep(offset: 64, limit: 64)) {
            _ = try JSON.parse(text: String(repeating: "[", count: 100_000))
        }
        assertFormatError(.nestedTooDeep(offset: 1, limit: 1)) { _ = try JSON.parse(text: "[[]]", maximumDepth: 1) }
    }

    func testHugeNumbersAreRefused() {
        let expected = "a number of at most 1000 characters within the range of a double"
        for text in [
            "1e400", "-1e400", "1e99999999999999999999", String(repeating: "9", count: 400),
            String(repeating: "1", count: 1_000_000), "0." + String(repeating: "0", count: 5000),
        ] {
            assertFormatError(.jsonSyntax(offset: 0, expected: expected)) { _ = try JSON.parse(text: text) }
        }
        XCTAssertEqual(try JSON.parse(text: "1e-400"), .number(0))
    }

    func testInvalidUTF8IsRefused() {
        let invalid: [[UInt8]] = [
            [0x80], [0xFF], [0xC0, 0xAF], [0xC1, 0xBF], [0xE0, 0x80, 0x80], [0xED, 0xA0, 0x80],
            [0xF0, 0x80, 0x80, 0x80],
            [0xF4, 0x90, 0x80, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xC3], [0xE2, 0x82], [0xF0, 0x9F, 0x98], [0xC3, 0x28],
            [0xE2, 0x28, 0xA1], [0xE2, 0x82, 0x28], [0xF0, 0x9F, 0x98, 0x28],
        ]
        for sequence in invalid {
            for padding in [0, 3, 7, 8, 20] {
                let bytes = [0x22] + [UInt8](repeating: 0x61, count: padding) + sequence + [0x22]
                assertFormatError(.invalidUTF8(offset: 1 + padding)) {
                    _ = try bytes.withUnsafeBytes { try JSON.parse($0) }
                }
            }
        }
    }

    func testUTF8ValidationAgreesWithTheStandardLibrary() {
        var generator = SeededGenerator(seed: 5)
        let edges: [UInt8] = [
            0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xED,
            0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF,
        ]
        for _ in 0..<50_000 {
            let bytes = (0..<Int.random(in: 0...5, using: &generator)).map { _ in
                edges.randomElement(using: &generator) ?? 0
            }
            let isValid = bytes.withUnsafeBytes { firstInvalidUTF8(in: $0) } == nil
            XCTAssertEqual(isValid, Array(String(decoding: bytes, as: UTF8.self).utf8) == bytes, "\(bytes)")
        }
    }

    // MARK: What is written

    func testSerialization() throws {
        let value: JSON = ["b": [1, -2.5, true, .null], "a": "x\"\\\n\r\t\u{8}\u{C}\u{1}\u{1F}/é😀\u{7F}"]
        XCTAssertEqual(
            try value.serialized(),
            #"{"b":[1,-2.5,true,null],"a":"x\"\\\n\r\t\b\f\u0001\u001f/é😀"# + "\u{7F}\"}")
        XCTAssertThrowsError(try JSON.number(.nan).serialized())
        XCTAssertThrowsError(try JSON.array([.number(.infinity)]).serialized())
    }

    func testRandomValuesRoundTrip() throws {
        var generator = SeededGenerator(seed: 1)
        for _ in 0..<2000 {
            let value = randomValue(depth: 4, &generator)
            XCTAssertEqual(try JSON.parse(text: value.serialized()), value)
        }
        for _ in 0..<20_000 {
            let double = Double(bitPattern: .random(in: 0...UInt64.max, using: &generator))
            guard double.isFinite else { continue }
            let text = try JSON.number(double).serialized()
            XCTAssertEqual(try JSON.parse(text: text).numberValue?.bitPattern, double.bitPattern, text)
        }
    }

    func testMutatedTextThrowsOrParses() throws {
        var generator = SeededGenerator(seed: 2)
        for _ in 0..<3000 {
            var bytes = Array(try randomValue(depth: 3, &generator).serialized().utf8)
            for _ in 0..<Int.random(in: 1...3, using: &generator) where !bytes.isEmpty {
                let position = Int.random(in: 0..<bytes.count, using: &generator)
                switch Int.random(in: 0..<3, using: &generator) {
                case 0: bytes[position] = .random(in: 0...255, using: &generator)
                case 1: bytes.remove(at: position)
                default: bytes.removeSubrange(position...)
                }
            }
            do {
                let value = try bytes.withUnsafeBytes { try JSON.parse($0) }
                XCTAssertEqual(try JSON.parse(text: value.serialized()), value)
            } catch {
                XCTAssertTrue(error is EmbedCompressError)
            }
        }
    }

    private func randomValue(depth: Int, _ generator: inout SeededGenerator) -> JSON {
        func randomString() -> String {
            let alphabet: [Character] = ["a", "\"", "\\", "\n", "\0", "é", "漢", "😀", "/", "\u{1F}", "z", " "]
            return String(
                (0..<Int.random(in: 0...6, using: &generator)).map { _ in
                    alphabet.randomElement(using: &generator) ?? "a"
                })
        }
        switch Int.random(in: 0..<(depth > 0 ? 7 : 5), using: &generator) {
        case 0: return .null
        case 1: return .bool(.random(using: &generator))
        case 2: return .integer(.random(in: .min ... .max, using: &generator))
        case 3: return .number(.random(in: -1e6...1e6, using: &generator))
        case 4: return .string(randomString())
        case 5:
            return .array(
                (0..<Int.random(in: 0...4, using: &generator)).map { _ in randomValue(depth: depth - 1, &generator) })
        default:
            var object = JSONObject()
            for _ in 0..<Int.random(in: 0...12, using: &generator) {
                object[randomString()] = randomValue(depth: depth - 1, &generator)
            }
            return .object(object)
        }
    }

    // MARK: Objects

    func testObjectsKeepTheirOrderAndFindByKey() {
        var object = JSONObject()
        for number in 0..<100 { XCTAssertTrue(object.add("k\(number)", .integer(Int64(number)))) }
        XCTAssertFalse(object.add("k7", .null))
        XCTAssertEqual(object.keys, (0..<100).map { "k\($0)" })
        for number in 0..<100 { XCTAssertEqual(object["k\(number)"], .integer(Int64(number))) }
        object["k50"] = nil
        object["k51"] = "new"
        XCTAssertEqual(object.count, 99)
        XCTAssertNil(object["k50"])
        XCTAssertEqual(object["k51"], "new")
        XCTAssertEqual(object["k99"], 99)
        XCTAssertEqual(JSON.object(object).objectValue, object)
        XCTAssertEqual(["a": 1, "b": 2] as JSON, ["b": 2, "a": 1])
        XCTAssertNotEqual(["a": 1] as JSON, ["a": 1, "b": 2])
    }
}
