import EmbedCompress
import XCTest

/// Stores and routes that are made by hand, beside what their parts say that rows are.
final class MakingTests: XCTestCase {
    private let (rows, dimension) = (5, 12)

    private func codes(_ count: Int, below limit: Int) -> [UInt16] { (0..<count).map { UInt16($0 * 7919 % limit) } }

    private func assertInvalid(_ text: String, _ body: () throws -> Void) {
        XCTAssertThrowsError(try body()) { error in
            guard case EmbedCompressError.invalidArgument(let found) = error else { return XCTFail("\(error)") }
            XCTAssertTrue(found.contains(text), found)
        }
    }

    func testUniformOfEveryWidth() throws {
        for bits in Uniform.bitWidths {
            let codes = codes(rows * dimension, below: 1 << bits)
            let (scales, biases) = ((0..<rows).map { Float($0 + 1) / 4 }, (0..<rows).map { Float($0) - 2 })
            let table = Table(
                try Uniform(
                    codes: codes, rows: rows, dimension: dimension, bits: bits, scales: scales, biases: biases))
            let expected = codes.indices.map { Float(codes[$0]) * scales[$0 / dimension] + biases[$0 / dimension] }
            XCTAssertEqual(try table.decode(), expected, "\(bits) bits")
        }
    }

    func testUniformOfGroupsAndOfTheTable() throws {
        let codes = codes(rows * dimension, below: 16).map { UInt8($0) }
        let scales = (0..<rows * 2).map { Float($0 + 1) / 8 }
        let grouped = Table(
            try Uniform(
                codes: codes, rows: rows, dimension: dimension, bits: 4, scales: scales, biases: scales, group: 8,
                scaleType: .float32))
        XCTAssertEqual(
            try grouped.decode(),
            codes.indices.map { index in
                let scale = scales[index / dimension * 2 + (index % dimension) / 8]
                return Float(codes[index]) * scale + scale
            })
        let shared = Table(
            try Uniform(
                codes: codes, rows: rows, dimension: dimension, bits: 4, scales: [0.5], biases: [-1], scope: .table))
        XCTAssertEqual(try shared.decode(), codes.map { Float($0) * 0.5 - 1 })
    }

    func testCodebookOfEveryScope() throws {
        for bits in Codebook.bitWidths {
            let count = 1 << bits
            let codes = codes(rows * dimension, below: count)
            func books(_ number: Int) -> [Float] { (0..<number * count).map { Float($0) / 4 } }
            func make(
                _ number: Int, _ scope: Codebook.Scope, clusters: [Int]? = nil, scales: [Float]? = nil
            ) throws -> [Float] {
                let book = try Codebook(
                    codes: codes, rows: rows, dimension: dimension, bits: bits, codebooks: books(number),
                    scope: scope, clusters: clusters, scales: scales)
                return try Table(book).decode()
            }
            func expected(_ book: (_ row: Int) -> Int, scale: Float = 1) -> [Float] {
                codes.indices.map { Float(book($0 / dimension) * count + Int(codes[$0])) / 4 * scale }
            }
            XCTAssertEqual(try make(1, .table), expected { _ in 0 })
            XCTAssertEqual(try make(rows, .row), expected { $0 })
            let clusters = [1, 0, 1, 2, 0]
            XCTAssertEqual(try make(3, .cluster, clusters: clusters), expected { clusters[$0] })
            XCTAssertEqual(
                try make(1, .table, scales: [Float](repeating: 2, count: rows)), expected({ _ in 0 }, scale: 2))
        }
    }

    func testProductOfPartsAndOfSums() throws {
        let bits = 3
        let codes = codes(rows * 5, below: 1 << bits)
        // Twelve columns in five parts: 3, 3, 2, 2 and 2.
        let widths = [3, 3, 2, 2, 2]
        let books = widths.enumerated().map { part, width in
            (0..<width << bits).map { Float($0 + part * 100) / 2 }
        }
        let table = Table(try Product(codes: codes, rows: rows, bits: bits, codebooks: books))
        let expected = (0..<rows).flatMap { row in
            widths.enumerated().flatMap { part, width in
                (0..<width).map { books[part][Int(codes[row * 5 + part]) * width + $0] }
            }
        }
        XCTAssertEqual(try table.decode(), expected)

        let wide = (0..<5).map { part in (0..<dimension << bits).map { Float($0 + part) / 2 } }
        let sums = Table(try Product(codes: codes, rows: rows, bits: bits, codebooks: wide, mode: .sum))
        XCTAssertEqual(
            try sums.decode(),
            (0..<rows * dimension).map { place in
                (0..<5).reduce(Float(0)) { sum, part in
                    sum + wide[part][Int(codes[place / dimension * 5 + part]) * dimension + place % dimension]
                }
            })
    }

    func testRoutesAreThoseOfMethods() throws {
        let values = (0..<rows * dimension).map { Float($0) }
        let table = Table(try Dense(values, rows: rows, dimension: dimension))
        func assertSame(_ first: Table, _ second: Table) throws {
            XCTAssertEqual(first.description, second.description)
            XCTAssertEqual(try first.decode(), try second.decode())
        }
        try assertSame(Table(Remap(table, rows: 9, modulo: 4)), table.remapped(rows: 9, modulo: 4))
        try assertSame(Table(Remap(table, rows: 9, dividedBy: 2)), table.remapped(rows: 9, dividedBy: 2))
        try assertSame(Table(Remap(table, rows: 9, hashedWith: 3)), table.remapped(rows: 9, hashedWith: 3))
        try assertSame(Table(Remap(table, rows: 3, through: [2, -1, 0])), table.remapped(through: [2, -1, 0]))
        try assertSame(Table(Rotate(table, seed: 1)), table.rotated(seed: 1, direction: .inverse))
        assertInvalid("seed must not be negative") { _ = try Rotate(table, seed: -1) }
    }

    func testWhatDoesNotGoTogetherIsAnError() {
        let four = [UInt8](repeating: 3, count: 4)
        assertInvalid("there must be 4 codes, not 3") {
            _ = try Uniform(
                codes: [UInt8(1), 1, 1], rows: 2, dimension: 2, bits: 2, scales: [1, 1], biases: [0, 0])
        }
        assertInvalid("there must be 2 scales, not 1") {
            _ = try Uniform(codes: four, rows: 2, dimension: 2, bits: 2, scales: [1], biases: [0, 0])
        }
        assertInvalid("codes of 1 bits are from 0 to 1, but row 0 has another") {
            _ = try Uniform(codes: four, rows: 2, dimension: 2, bits: 1, scales: [1, 1], biases: [0, 0])
        }
        assertInvalid("which f16 does not hold") {
            _ = try Uniform(codes: four, rows: 2, dimension: 2, bits: 2, scales: [1e6, 1], biases: [0, 0])
        }
        assertInvalid("clusters go with the scope 'cluster'") {
            _ = try Codebook(
                codes: four, rows: 2, dimension: 2, bits: 2, codebooks: [0, 1, 2, 3], scope: .table, clusters: [0, 0])
        }
        assertInvalid("row 1 is of cluster 7") {
            _ = try Codebook(
                codes: four, rows: 2, dimension: 2, bits: 2, codebooks: [0, 1, 2, 3], scope: .cluster, clusters: [0, 7])
        }
        assertInvalid("must be finite") {
            _ = try Codebook(
                codes: four, rows: 2, dimension: 2, bits: 2, codebooks: [0, 1, 2, .nan], scope: .table)
        }
        assertInvalid("a product needs one codebook or more") {
            _ = try Product(codes: four, rows: 2, bits: 2, codebooks: [])
        }
        assertInvalid("numbers of codebook 1") {
            _ = try Product(codes: four, rows: 2, bits: 2, codebooks: [[0, 1, 2, 3], [0, 1, 2, 3, 4]])
        }
        assertInvalid("there must be more than there can be codes") {
            _ = try Uniform(codes: four, rows: Int.max, dimension: 2, bits: 2, scales: [1], biases: [0])
        }
    }
}
