import XCTest

@testable import EmbedCompress

/// Names are what their bytes are.
final class KeyTests: XCTestCase {
    func testKeysThatLookAlike() throws {
        let (composed, decomposed) = ("\u{e9}", "e\u{301}")
        XCTAssertEqual(composed, decomposed, "Swift's strings are the same")
        XCTAssertNotEqual(Key(composed), Key(decomposed))
        XCTAssertNotEqual(Key(composed).hashValue, Key(decomposed).hashValue)
        XCTAssertEqual(Key(composed), Key("\u{e9}"))
        for others in [0, 20] {
            var object = JSONObject()
            for index in 0..<others { object["\(index)"] = .null }
            XCTAssertTrue(object.add(composed, 1))
            XCTAssertTrue(object.add(decomposed, 2))
            XCTAssertFalse(object.add("\u{e9}", 3))
            XCTAssertEqual(object[composed], 1)
            XCTAssertEqual(object[decomposed], 2)
            object[composed] = nil
            XCTAssertNil(object[composed])
            XCTAssertEqual(object[decomposed], 2)
        }
    }

    func testParsedKeysThatLookAlike() throws {
        let object = try JSON.parse(text: "{\"\u{e9}\":1,\"e\u{301}\":2}").objectValue
        XCTAssertEqual(object?.count, 2)
        assertFormatError(.duplicateKey(key: "\u{e9}", offset: 8)) {
            _ = try JSON.parse(text: "{\"\u{e9}\":1,\"\\u00e9\":2}")
        }
    }

    func testCasesAreSpelledByTheirBytes() {
        XCTAssertEqual(ElementType(spelled: "F32"), .f32)
        XCTAssertNil(ElementType(spelled: "F32\u{301}"))
        XCTAssertNil(ElementType(spelled: ""))
    }

    func testKeysAreInTheOrderOfTheirBytes() {
        XCTAssertEqual([Key("b"), "a\u{301}", "a", ""].sorted().map(\.text), ["", "a", "a\u{301}", "b"])
    }

    /// Normal forms would take minutes.
    func testLongRunsOfCombiningMarks() throws {
        let long = "a" + String(repeating: "\u{301}\u{316}", count: 100_000)
        let text = "{\"\(long)\":1,\"\(long)b\":2,\"dtype\":3}"
        let elapsed = try ContinuousClock().measure {
            XCTAssertEqual(try JSON.parse(text: text).objectValue?["dtype"], 3)
        }
        XCTAssertLessThan(elapsed, .seconds(1))
    }
}
