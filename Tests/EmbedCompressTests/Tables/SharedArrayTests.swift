import TestSupport
import XCTest

@testable import EmbedCompress

final class SharedArrayTests: XCTestCase {
    func testRowsOnGuardedMemory() throws {
        for element in ScaleType.allCases {
            for (count, dimension, block) in [
                (1, 5, 2), (7, 16, 16), (40, 33, 8), (100, 64, 1), (300, 17, 40), (1000, 64, 16), (400_000, 48, 20),
            ] {
                var generator = SeededGenerator(seed: UInt64(count))
                var values = generator.normals(count)
                let array = try GuardedArray("values", element, [count], &values)
                let table = try guardedStore(
                    "shared_array", rows: 300, dimension: dimension,
                    fields: #""element":"\#(element.rawValue)","count":\#(count),"block":\#(block),"seed":-5,"#
                        + #""signs":1,"offset":2"#, [array])
                let chunks = (dimension + block - 1) / block
                var expected: [ReferenceValue] = []
                var random = SeededGenerator(seed: UInt64(bitPattern: -5))
                let hashes = (0..<302 * chunks).map { _ in random.next() }
                for id in 2..<302 {
                    for column in 0..<dimension {
                        let hash = hashes[id * chunks + column / block]
                        let place = Int(((hash >> 32) * UInt64(count)) >> 32) + column % block
                        let value = Double(values[place % count]) * (hash & 1 == 1 ? -1 : 1)
                        expected.append(ReferenceValue(value, magnitude: value.magnitude))
                    }
                }
                try checkStore(table, expected, terms: 0)
            }
        }
    }

    func testArrayOfATable() throws {
        var generator = SeededGenerator(seed: 3)
        for (count, width, dimension, block) in [(1, 5, 7, 3), (70, 16, 16, 16), (95, 32, 48, 20), (130, 1, 9, 400)] {
            let values = generator.normals((count + width - 1) / width * width)
            let inner = try Table(Dense(values, rows: values.count / width, dimension: width))
            let shared = try SharedArray(
                inner, count: count, rows: 200, dimension: dimension, block: block, seed: 9, hasSigns: true)
            let floats = try SharedArray(
                Array(values[..<count]), rows: 200, dimension: dimension, block: block, seed: 9, hasSigns: true)
            XCTAssertEqual(try Table(shared).decode(), try Table(floats).decode())
            XCTAssertEqual(shared.storedBytes, inner.storedBytes + 16)
            XCTAssertNil(shared.element)
        }
        let wide = try Table(Dense([Float](repeating: 1, count: 65), rows: 1, dimension: 65))
        assertInvalidArgument("at most 64 columns") {
            _ = try SharedArray(wide, rows: 2, dimension: 3, block: 2)
        }
    }

    func testPublicInitialiser() throws {
        let shared = try SharedArray([3], rows: 2, dimension: 3, block: 2)
        XCTAssertEqual(try Table(shared).decode(), [3, 3, 3, 3, 3, 3])
        XCTAssertEqual(shared.ownBytes, 4 + 16)
        assertInvalidArgument("from 1 to") { _ = try SharedArray([], rows: 2, dimension: 3, block: 2) }
        assertInvalidArgument("dimension and block") { _ = try SharedArray([1], rows: 2, dimension: 3, block: 0) }
    }
}
