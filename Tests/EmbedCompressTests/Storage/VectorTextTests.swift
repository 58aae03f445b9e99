import XCTest

@testable import EmbedCompress

/// Lines of word vectors, against Swift's own reading of numbers.
final class VectorTextTests: XCTestCase {
    private func read(_ text: String, dimension: Int, capacity: Int = 8) -> (words: [String], rows: [Float], end: Int) {
        let bytes = Array(text.utf8)
        var rows = [Float](repeating: 77, count: capacity * dimension)
        var spans = [Int64](repeating: -1, count: 2 * capacity)
        let found = bytes.withUnsafeBytes {
            VectorText.read($0, dimension: dimension, capacity: capacity, rows: &rows, words: &spans)
        }
        let words = (0..<found.rows).map {
            String(decoding: bytes[Int(spans[2 * $0])..<Int(spans[2 * $0 + 1])], as: UTF8.self)
        }
        return (words, Array(rows.prefix(found.rows * dimension)), found.bytes)
    }

    func testNumbers() {
        let numbers = [
            "1", "-0.5", "+2", "1e3", "1E-3", ".5", "5.", "0.1", "123456789.25", "9007199254740993", "1e22", "1e23",
            "0.000000000000000000000000000000000000001", "12345678901234567890123", "1e-400", "-0", "3.4028235e38",
            "0.30000000000000004441", "1e-45", "00012.50",
        ]
        for number in numbers {
            let found = read("w \(number)\n", dimension: 1)
            let expected = Double(number).map(Float.init)
            XCTAssertEqual(found.rows.map(\.bitPattern), [expected?.bitPattern ?? 0], number)
        }
    }

    func testLinesOfOtherFormsStopIt() {
        for line in [
            "w 1", "w 1 2 3", "w 1 x", "w 1 nan", "w 1 inf", "w 1 1e39", "w 1 1e", "w 1 e5", "w 1 .", "w 1 --2", " 1 2",
            "", "w 1 0x10", "w 1 1_0", "w 1 \(String(repeating: "1", count: 500))",
        ] {
            let found = read("a 1 2\nb\t3 \t4 \r\n\(line)\nc 5 6\n", dimension: 2)
            XCTAssertEqual(found.words, ["a", "b"], line)
            XCTAssertEqual(found.rows, [1, 2, 3, 4], line)
            XCTAssertEqual(found.end, 15, line)
        }
    }

    func testEnds() {
        XCTAssertEqual(read("", dimension: 2).words, [])
        XCTAssertEqual(read("a 1 2", dimension: 2).rows, [1, 2])
        let found = read("a 1\nb 2\nc 3\n", dimension: 1, capacity: 2)
        XCTAssertEqual(found.words, ["a", "b"])
        XCTAssertEqual(found.end, 8)
    }
}
