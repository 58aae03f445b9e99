import TestSupport
import XCTest

@testable import EmbedCompress

final class PackedFloatsTests: XCTestCase {
    /// Rows of any bytes on guarded memory, against the definition, bit by bit.
    func testRowsOnGuardedMemory() throws {
        for (mantissaBits, exponentBits) in [(7, 4), (10, 4), (10, 5), (23, 4), (14, 3), (7, 8), (22, 8), (7, 1)] {
            for dimension in [1, 2, 15, 16, 17, 50, 64, 100] {
                var generator = SeededGenerator(seed: UInt64(mantissaBits * 100 + exponentBits + 1000 * dimension))
                let lowBytes = (mantissaBits + exponentBits) / 8
                let codeBits = 1 + mantissaBits + exponentBits - 8 * lowBytes
                let rowBytes = dimension * lowBytes + 1 + (dimension * codeBits + 7) / 8
                let rows = 30
                var bytes = (0..<rows * rowBytes).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
                var expected: [Float] = []
                for row in 0..<rows {
                    let start = row * rowBytes
                    let head = start + dimension * lowBytes
                    // Sums stay far from what is infinite.
                    bytes[head] = exponentBits == 8 ? 0 : bytes[head] % 64 + 80
                    for column in 0..<dimension {
                        var value = 0
                        for byte in 0..<lowBytes {
                            value |= Int(bytes[start + column * lowBytes + byte]) << (8 * byte)
                        }
                        for bit in 0..<codeBits {
                            let place = column * codeBits + bit
                            if exponentBits == 8, bit == codeBits - 2 {
                                bytes[head + 1 + place / 8] &= ~(1 << (place % 8))
                            }
                            value |= Int(bytes[head + 1 + place / 8] >> (place % 8) & 1) << (8 * lowBytes + bit)
                        }
                        let code = value >> mantissaBits & (1 << exponentBits - 1)
                        let field = code == 0 ? 0 : code + Int(bytes[head])
                        let mantissa = (value & (1 << mantissaBits - 1)) << (23 - mantissaBits)
                        let sign = value >> (mantissaBits + exponentBits)
                        expected.append(Float(bitPattern: UInt32(sign << 31 | field << 23 | mantissa)))
                    }
                }
                let table = try guardedStore(
                    "packed_floats", rows: rows, dimension: dimension,
                    fields: #""mantissa_bits":\#(mantissaBits),"exponent_bits":\#(exponentBits)"#,
                    [try GuardedArray("rows", .u8, [rows, rowBytes], bytes)])
                XCTAssertEqual(try table.decode().map(\.bitPattern), expected.map(\.bitPattern))
                try checkStore(
                    table, expected.map { ReferenceValue(Double($0), magnitude: Double($0.magnitude)) }, terms: 2)
            }
        }
    }

    func testExactGivesEveryBitBack() throws {
        var generator = SeededGenerator(seed: 5)
        var values = generator.normals(200 * 24)
        for (index, special) in [0, -0.0, Float.leastNonzeroMagnitude, -Float.leastNormalMagnitude, 3e38].enumerated() {
            values[index * 77] = special
        }
        let source = Table(try Dense(values, rows: 200, dimension: 24))
        let table = try source.compressed(.exact())
        XCTAssertTrue(table.expression is PackedFloats)
        XCTAssertLessThan(table.storedBytes, source.storedBytes)
        XCTAssertEqual(try table.decode().map(\.bitPattern), values.map(\.bitPattern))
        XCTAssertEqual(
            try table.slice(30..<90).decode().map(\.bitPattern), values[30 * 24..<90 * 24].map(\.bitPattern))
    }
}
