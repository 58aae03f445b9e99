import TestSupport
import XCTest

@testable import EmbedCompress

final class LanesTests: XCTestCase {
    private let halves = (0...UInt16.max).map { $0 }

    // MARK: To floats

    func testEveryHalfConvertsExactly() throws {
        let bytes = halves.withUnsafeBytes { [UInt8]($0) }
        let lanes = try guardedTable(.float16, bytes: bytes, dimension: 16).decode()
        let pooled = try guardedTable(.float16, bytes: bytes, dimension: 64).bag(
            Array(0..<1024), offsets: Array(0..<1024))
        for half in halves {
            let expected = HalfReference.value(half)
            for value in [floatFromHalf(half), lanes[Int(half)]] {
                if expected.isNaN {
                    XCTAssertTrue(value.isNaN, "\(half)")
                } else {
                    XCTAssertEqual(value.bitPattern, Float(expected).bitPattern, "\(half)")
                }
            }
            // Row blocks of 64 hold non-finite neighbours, but sums never cross columns.
            if expected.isFinite { XCTAssertEqual(Double(pooled[Int(half)]), expected, "\(half)") }
        }
    }

    func testEveryBrainFloatConvertsExactly() throws {
        let values = try guardedTable(.bfloat16, bytes: halves.withUnsafeBytes { [UInt8]($0) }, dimension: 16).decode()
        for pattern in halves {
            let expected = Float(bitPattern: UInt32(pattern) << 16)
            if expected.isNaN {
                XCTAssertTrue(values[Int(pattern)].isNaN, "\(pattern)")
            } else {
                XCTAssertEqual(values[Int(pattern)].bitPattern, expected.bitPattern, "\(pattern)")
            }
        }
    }

    // MARK: To halves

    private func check(_ value: Float, file: StaticString = #filePath, line: UInt = #line) {
        for value in [value, -value] where halfFromFloat(value) != HalfReference.nearest(value) {
            XCTFail(
                "\(value) became \(halfFromFloat(value)), not \(HalfReference.nearest(value))", file: file, line: line)
        }
    }

    func testHalvesAndTheirMidpointsRoundToNearestEven() {
        for half in halves[..<0x7C00] {
            let value = HalfReference.value(half)
            let next = half == 0x7BFF ? 65536 : HalfReference.value(half + 1)
            let middle = Float((value + next) / 2)
            for value in [Float(value), middle, middle.nextUp, middle.nextDown, Float(value).nextUp] { check(value) }
        }
    }

    func testRandomBitPatternsRoundToHalves() {
        var generator = SeededGenerator(seed: 1)
        for _ in 0..<100_000 {
            let value = Float(bitPattern: UInt32(truncatingIfNeeded: generator.next()))
            if !value.isNaN { check(value) }
        }
        for exponent in -150...128 {
            for _ in 0..<50 {
                check(Float(sign: .plus, exponent: exponent, significand: .random(in: 1..<2, using: &generator)))
            }
        }
    }

    func testSpecialValues() {
        for value: Float in [
            0, .infinity, .greatestFiniteMagnitude, .leastNonzeroMagnitude, .leastNormalMagnitude, 65504, 65519.99,
            65520,
            65536, 0x1p-24, 0x1p-25, 0x1.8p-24, 0x1.000002p-25, 0x1p-14,
        ] {
            check(value)
        }
        XCTAssertTrue(floatFromHalf(halfFromFloat(.nan)).isNaN)
    }
}
