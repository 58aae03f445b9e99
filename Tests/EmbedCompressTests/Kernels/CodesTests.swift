import TestSupport
import XCTest

@testable import EmbedCompress

final class CodesTests: XCTestCase {
    /// Rows that hold 0 and the last code have scale 1 and bias 0 under ASYM: their codes are their values.
    func testPackedCodesAreThoseOfTheReference() throws {
        var generator = SeededGenerator(seed: 2)
        for bits in Uniform.bitWidths {
            for dimension in testDimensions {
                let format = UniformReference(dimension: dimension, bits: bits, scaleType: .float32)
                let rows = (0..<3).map { row -> [Int] in
                    var codes = generator.integers(dimension, in: 0..<1 << bits)
                    codes[row % dimension] = 0
                    if dimension > 1 { codes[(row + 1) % dimension] = (1 << bits) - 1 } else { codes = [0] }
                    return codes
                }
                let source = try denseTable(rows.flatMap { $0.map { Float($0) } }, dimension: dimension)
                let stored = try storedRows(
                    source.compressed("asym", ["bits": .integer(bits), "scale_dtype": "f32"]))
                for (row, codes) in zip(stored, rows) {
                    let message = "\(bits) bits, \(dimension) columns"
                    XCTAssertEqual(row.count, format.rowBytes, message)
                    XCTAssertEqual(row, format.encode(codes: codes, parameters: [(scale: 1, bias: 0)]), message)
                }
            }
        }
    }

    /// Scale 1 and bias 0: what is looked up are the codes.
    func testEveryCodeOfEveryWidthIsRead() throws {
        for bits in Uniform.bitWidths {
            let count = 1 << bits
            for dimension in [1, 13, 16, 61] {
                let format = UniformReference(dimension: dimension, bits: bits, scaleType: .float32)
                let rows = min((2 * count + dimension - 1) / dimension, 1000)
                let codes = (0..<rows * dimension).map { $0 * (bits == 16 ? 31 : 1) % count }
                let stored = (0..<rows).map { row in
                    format.encode(
                        codes: Array(codes[row * dimension..<(row + 1) * dimension]), parameters: [(scale: 1, bias: 0)])
                }
                let table = try guardedTable(format, rows: stored)
                XCTAssertEqual(try table.decode().map { Int($0) }, codes, "\(bits) bits, dimension \(dimension)")
                let bags = try table.bag(Array(0..<rows), offsets: Array(0..<rows))
                XCTAssertEqual(bags.map { Int($0) }, codes, "\(bits) bits, dimension \(dimension)")
            }
        }
    }

    /// The layout of FBGEMM's fused rows: codes low nibble first, then scale and bias as halves.
    func testGoldenFourBitRow() throws {
        let row: [UInt8] = [0x21, 0x43, 0x05, 0x00, 0x38, 0x00, 0xBC]  // codes 1 2 3 4 5, scale 0.5, bias -1
        let table = try guardedTable(UniformReference(dimension: 5, bits: 4), rows: [row])
        XCTAssertEqual(try table.decode(), [-0.5, 0, 0.5, 1, 1.5])
    }
}
