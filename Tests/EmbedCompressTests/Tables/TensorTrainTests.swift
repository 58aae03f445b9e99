import TestSupport
import XCTest

@testable import EmbedCompress

final class TensorTrainTests: XCTestCase {
    private typealias Three = (Int, Int, Int)

    private func check(_ n: Three, _ d: Three, _ r: (Int, Int), _ element: ScaleType, rows: Int) throws {
        var generator = SeededGenerator(seed: UInt64(r.0 * 100 + r.1))
        var cores = [n.0 * d.0 * r.0, n.1 * r.0 * d.1 * r.1, n.2 * r.1 * d.2].map { generator.normals($0) }
        let arrays = [
            try GuardedArray("core0", element, [n.0, d.0, r.0], &cores[0]),
            try GuardedArray("core1", element, [n.1, r.0, d.1, r.1], &cores[1]),
            try GuardedArray("core2", element, [n.2, r.1, d.2], &cores[2]),
        ]
        let table = try guardedStore(
            "tensor_train", rows: rows, dimension: d.0 * d.1 * d.2,
            fields: #""rows0":\#(n.0),"rows1":\#(n.1),"rows2":\#(n.2),"columns0":\#(d.0),"columns1":\#(d.1),"#
                + #""columns2":\#(d.2),"rank1":\#(r.0),"rank2":\#(r.1),"element":"\#(element.rawValue)","offset":0"#,
            arrays)
        var expected: [ReferenceValue] = []
        for x in 0..<rows {
            let (i0, i1, i2) = (x % n.0, x / n.0 % n.1, x / n.0 / n.1)
            for column in 0..<d.0 * d.1 * d.2 {
                let (p, q, t) = (column / d.2 / d.1, column / d.2 % d.1, column % d.2)
                var sum = ReferenceValue(0, magnitude: 0)
                for a in 0..<r.0 {
                    for b in 0..<r.1 {
                        let product =
                            Double(cores[0][(i0 * d.0 + p) * r.0 + a])
                            * Double(cores[1][((i1 * r.0 + a) * d.1 + q) * r.1 + b])
                            * Double(cores[2][(i2 * r.1 + b) * d.2 + t])
                        sum.value += product
                        sum.magnitude += product.magnitude
                    }
                }
                expected.append(sum)
            }
        }
        try checkStore(table, expected, terms: 2 + r.0 + r.1)
    }

    func testProductsOfThreeCores() throws {
        for element in ScaleType.allCases {
            try check((1, 1, 1), (1, 1, 1), (1, 1), element, rows: 1)
            try check((3, 4, 5), (2, 2, 2), (3, 5), element, rows: 59)
            try check((3, 4, 5), (4, 4, 4), (8, 16), element, rows: 60)
            try check((7, 2, 3), (5, 3, 1), (17, 2), element, rows: 40)
            try check((2, 2, 9), (1, 1, 19), (2, 33), element, rows: 36)
            try check((5, 3, 2), (16, 2, 2), (4, 9), element, rows: 30)
            try check((40, 2, 2), (3, 11, 6), (9, 3), element, rows: 150)
        }
    }

    func testPublicInitialiser() throws {
        let train = try TensorTrain(
            [1, 2, 3, 4], [10, 100], [1, -1, 1, 0], rows: 4, slices: (2, 1, 2), columns: (2, 1, 1), ranks: (1, 2))
        XCTAssertEqual(try Table(train).decode(), [-90, -180, -270, -360, 10, 20, 30, 40])
    }

    func testCoresOfTables() throws {
        var generator = SeededGenerator(seed: 4)
        let cores = [3 * 2 * 5, 4 * 5 * 3 * 6, 5 * 6 * 4].map { generator.normals($0) }
        let tables = try zip(cores, [3, 4, 5]).map { try Table(Dense($0, rows: $1, dimension: $0.count / $1)) }
        let train = try TensorTrain(
            tables[0], tables[1], tables[2], rows: 59, columns: (2, 3, 4), ranks: (5, 6))
        let floats = try TensorTrain(
            cores[0], cores[1], cores[2], rows: 59, slices: (3, 4, 5), columns: (2, 3, 4), ranks: (5, 6))
        XCTAssertEqual(try Table(train).decode(), try Table(floats).decode())
        XCTAssertEqual(train.storedBytes, floats.storedBytes)
        XCTAssertNil(train.element)
        assertInvalidArgument("a table of 3 x 10, not of 3 slices of 15 numbers") {
            _ = try TensorTrain(tables[0], tables[1], tables[2], rows: 59, columns: (3, 3, 4), ranks: (5, 6))
        }
    }

    func testShapesAreChecked() throws {
        assertInvalidArgument("do not make 5 rows") {
            _ = try TensorTrain(
                [1, 2], [1, 1], [1, 1], rows: 5, slices: (2, 1, 2), columns: (1, 1, 1), ranks: (1, 1))
        }
        assertInvalidArgument("a core of a tensor train has 8 bytes") {
            _ = try TensorTrain([1, 2], [1], [1, 1], rows: 2, slices: (3, 1, 2), columns: (1, 1, 1), ranks: (1, 1))
        }
        assertInvalidArgument("are at least 1") {
            _ = try TensorTrain([], [], [], rows: 0, slices: (0, 1, 1), columns: (1, 1, 1), ranks: (1, 1))
        }
    }
}
