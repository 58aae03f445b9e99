import XCTest

@testable import EmbedCompress

final class NearestCodesTests: XCTestCase {
    func testFindsTheNearestOfEachPart() throws {
        for (rows, parts, entries, width) in [(1, 1, 1, 1), (3, 2, 5, 3), (1100, 4, 17, 2), (7, 3, 33, 9)] {
            var random = SeededRandom(seed: rows)
            // Whole numbers: there are ties, and no rounding.
            func numbers(_ count: Int) -> [Float] { (0..<count).map { _ in Float(random.next() % 7) - 3 } }
            let values = numbers(rows * parts * width)
            let centroids = numbers(parts * entries * width)
            var codes = [Int32](repeating: -1, count: rows * parts)
            try NearestCodes.search(
                rows: values, count: rows, centroids: centroids, parts: parts, entries: entries, width: width,
                codes: &codes)
            for row in 0..<rows {
                for part in 0..<parts {
                    let distances = (0..<entries).map { entry in
                        (0..<width).reduce(Float(0)) { sum, column in
                            let difference =
                                values[(row * parts + part) * width + column]
                                - centroids[(part * entries + entry) * width + column]
                            return sum + difference * difference
                        }
                    }
                    let least = distances.firstIndex(of: distances.min() ?? 0) ?? -1
                    XCTAssertEqual(Int(codes[row * parts + part]), least, "row \(row), part \(part)")
                }
            }
        }
    }
}
