import TestSupport
import XCTest

@testable import EmbedCompress

final class MatrixProductTests: XCTestCase {
    private let sizes = [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 300]

    /// A matrix that ends where memory ends, and its values.
    private struct Case {
        let bytes: GuardedMemory
        let matrix: Matrix
        let values: [Float]

        init(_ rows: Int, _ columns: Int, _ element: ScaleType, using generator: inout SeededGenerator) throws {
            let wide = generator.normals(rows * columns)
            if element == .float16 {
                let patterns = wide.map { HalfReference.nearest($0) }
                values = patterns.map { Float(HalfReference.value($0)) }
                bytes = try GuardedMemory(patterns)
            } else {
                values = wide
                bytes = try GuardedMemory(wide)
            }
            matrix = Matrix(
                base: bytes.base, rows: rows, columns: columns, element: element,
                readableCount: rows * columns * element.byteCount)
        }
    }

    private func product(_ rows: [Float], _ count: Int, _ one: Case) -> [ReferenceValue] {
        let (depth, columns) = (one.matrix.rows, one.matrix.columns)
        return (0..<count * columns).map { place in
            var (sum, magnitude) = (0.0, 0.0)
            for index in 0..<depth {
                let term =
                    Double(rows[place / columns * depth + index])
                    * Double(one.values[index * columns + place % columns])
                sum += term
                magnitude += abs(term)
            }
            return ReferenceValue(sum, magnitude: magnitude)
        }
    }

    private func multiply(
        _ rows: [Float], _ count: Int, by matrix: Matrix, start: [Float]? = nil, into initial: [Float]? = nil
    ) throws -> [Float] {
        // The output ends where memory ends too.
        let output = try GuardedMemory(initial ?? [Float](repeating: .nan, count: count * matrix.columns))
        let floats = output.base.assumingMemoryBound(to: Float.self)
        let block = RowBlock(base: floats, stride: matrix.columns)
        rows.withUnsafeBufferPointer { rows in
            guard let base = rows.baseAddress else { return }
            if let start {
                start.withUnsafeBufferPointer { start in
                    guard let start = start.baseAddress else { return }
                    MatrixProduct.multiply(
                        base, stride: matrix.rows, count: count, by: matrix, start: .row(start), into: block)
                }
            } else {
                MatrixProduct.multiply(
                    base, stride: matrix.rows, count: count, by: matrix, start: initial == nil ? .zeros : .output,
                    into: block)
            }
        }
        return output.floats()
    }

    func testProductsOfAllShapes() throws {
        var generator = SeededGenerator(seed: 11)
        for (index, depth) in sizes.enumerated() {
            for columns in sizes where (depth * columns + index) % 3 == 0 || depth < 4 || columns < 4 {
                for element in ScaleType.allCases {
                    let one = try Case(depth, columns, element, using: &generator)
                    let count = [1, 2, 3, 4, 5, 6, 7, 15, 16, 17, 40][(depth + columns + index) % 11]
                    let rows = generator.normals(count * depth)
                    let expected = product(rows, count, one)
                    assertAgree(try multiply(rows, count, by: one.matrix), expected, terms: depth)
                    let start = generator.normals(columns)
                    let shifted = expected.enumerated().map { place, value in
                        let shift = Double(start[place % columns])
                        return ReferenceValue(value.value + shift, magnitude: value.magnitude + abs(shift))
                    }
                    assertAgree(
                        try multiply(rows, count, by: one.matrix, start: start), shifted, terms: depth + 1)
                    let repeated = (0..<count).flatMap { _ in start }
                    XCTAssertEqual(
                        try multiply(rows, count, by: one.matrix, into: repeated),
                        try multiply(rows, count, by: one.matrix, start: start))
                }
            }
        }
    }

    func testProductsOfARowDoNotDependOnTheOthers() throws {
        var generator = SeededGenerator(seed: 12)
        for (depth, columns) in [(700, 81), (64, 200), (257, 16), (3, 1), (520, 50)] {
            for element in ScaleType.allCases {
                let one = try Case(depth, columns, element, using: &generator)
                let rows = generator.normals(37 * depth)
                let all = try multiply(rows, 37, by: one.matrix)
                for (first, count) in [(0, 1), (5, 2), (36, 1), (7, 15), (20, 16), (3, 6), (11, 25)] {
                    XCTAssertEqual(
                        try multiply(Array(rows[first * depth..<(first + count) * depth]), count, by: one.matrix),
                        Array(all[first * columns..<(first + count) * columns]))
                }
            }
        }
    }

    func testMatricesWithoutRows() throws {
        let matrix = Matrix(base: nothing, rows: 0, columns: 3, element: .float32, readableCount: 0)
        XCTAssertEqual(try multiply([0], 2, by: matrix), [0, 0, 0, 0, 0, 0])
        XCTAssertEqual(try multiply([0], 1, by: matrix, start: [1, 2, 3]), [1, 2, 3])
        XCTAssertEqual(try multiply([0], 1, by: matrix, into: [1, 2, 3]), [1, 2, 3])
    }
}
