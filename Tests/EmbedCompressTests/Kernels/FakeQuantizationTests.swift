import XCTest

@testable import EmbedCompress

final class FakeQuantizationTests: XCTestCase {
    func testRoundsAsTheFormulaSays() {
        let shapes = [
            (1, 1, 1, 1), (5, 33, 5, 33), (40, 300, 40, 300), (7, 40, 3, 40), (9, 37, 9, 5), (4, 100, 1, 24),
            (3, 50, 1, 8), (6, 64, 2, 16), (300, 130, 7, 3),
        ]
        for (rows, columns, groupRows, groupColumns) in shapes {
            for last in [1, 3, 255] {
                check(rows: rows, columns: columns, groupRows: groupRows, groupColumns: groupColumns, last: last)
            }
        }
    }

    private func check(rows: Int, columns: Int, groupRows: Int, groupColumns: Int, last: Int) {
        var random = SeededRandom(seed: rows * columns + last)
        func number() -> Float { Float(random.next() % 20001) / 10000 - 1 }
        var values = (0..<rows * columns).map { _ in number() }
        values[0] = .nan
        values[rows * columns / 2] = .infinity
        values[rows * columns - 1] = -1e30
        let line = (columns + groupColumns - 1) / groupColumns
        let groups = (rows + groupRows - 1) / groupRows * line
        // Narrower than the values, so that some are clipped; some groups are constant.
        let scales = (0..<groups).map { $0 % 4 == 3 ? 0 : 1.6 / Float(last) * abs(number()) }
        let biases = (0..<groups).map { _ in number() }
        var found = [Float](repeating: 7, count: rows * columns)
        var kept = [UInt8](repeating: 7, count: rows * columns)
        let clipped = FakeQuantization.round(
            values, rows: rows, columns: columns, groupRows: groupRows, groupColumns: groupColumns, scales: scales,
            biases: biases, last: last, to: &found, kept: &kept)
        for (index, value) in values.enumerated() {
            let group = index / columns / groupRows * line + index % columns / groupColumns
            let code = ((value - biases[group]) / (scales[group] > 0 ? scales[group] : .infinity))
                .rounded(.toNearestOrEven)
            let expected = code.isNaN ? code : min(max(code, 0), Float(last)) * scales[group] + biases[group]
            let isKept = code >= 0 && code <= Float(last)
            XCTAssertEqual(found[index].isNaN, expected.isNaN, "element \(index)")
            if !expected.isNaN { XCTAssertEqual(found[index], expected, "element \(index)") }
            XCTAssertEqual(kept[index], isKept ? 1 : 0, "element \(index)")
        }
        XCTAssertEqual(clipped, kept.filter { $0 == 0 }.count)
    }

    func testNoElements() {
        var (found, kept): ([Float], [UInt8]) = ([], [])
        XCTAssertEqual(
            FakeQuantization.round(
                [], rows: 0, columns: 4, groupRows: 1, groupColumns: 1, scales: [], biases: [], last: 3, to: &found,
                kept: &kept), 0)
    }
}
