import TestSupport
import XCTest

@testable import EmbedCompress

final class QualityTests: XCTestCase {
    /// The definitions, in double precision, one number at a time.
    private func reference(_ copy: [Float], _ source: [Float], dimension: Int) -> Quality {
        var quality = Quality()
        var (error, norm, cosine) = (0.0, 0.0, 0.0)
        let rows = source.count / dimension
        for row in 0..<rows {
            var (rowError, rowNorm, copyNorm, product) = (0.0, 0.0, 0.0, 0.0)
            for column in row * dimension..<(row + 1) * dimension {
                let (x, y) = (Double(source[column]), Double(copy[column]))
                rowError += (x - y) * (x - y)
                rowNorm += x * x
                copyNorm += y * y
                product += x * y
            }
            error += rowError
            norm += rowNorm
            if rowNorm > 0, copyNorm > 0 {
                cosine += product / (rowNorm.squareRoot() * copyNorm.squareRoot())
            } else if rowNorm == 0, copyNorm == 0 {
                cosine += 1
            }
            let relative = rowError == 0 ? 0 : (rowError / rowNorm).squareRoot()
            if relative > quality.worstRowL2 { (quality.worstRowL2, quality.worstRow) = (relative, row) }
        }
        quality.normalizedL2 = error == 0 ? 0 : (error / norm).squareRoot()
        quality.meanCosine = cosine / Double(rows)
        quality.meanSquaredError = error / Double(source.count)
        return quality
    }

    private func assertClose(_ left: Quality, _ right: Quality, file: StaticString = #filePath, line: UInt = #line) {
        XCTAssertEqual(left.normalizedL2, right.normalizedL2, accuracy: 1e-12, file: file, line: line)
        XCTAssertEqual(left.meanCosine, right.meanCosine, accuracy: 1e-12, file: file, line: line)
        XCTAssertEqual(left.worstRowL2, right.worstRowL2, accuracy: 1e-12, file: file, line: line)
        XCTAssertEqual(left.worstRow, right.worstRow, file: file, line: line)
        XCTAssertEqual(left.meanSquaredError, right.meanSquaredError, accuracy: 1e-12, file: file, line: line)
    }

    func testAgreesWithTheDefinitions() throws {
        for dimension in [1, 2, 7, 8, 9, 33, 300] {
            let source = try randomDense(rows: 120, dimension: dimension, seed: UInt64(dimension))
            for bits in [1, 4, 8] {
                let copy = try source.compressed("asym", ["bits": .integer(bits)])
                assertClose(
                    try copy.quality(against: source),
                    reference(try copy.decode(), try source.decode(), dimension: dimension))
            }
        }
    }

    func testZeroRows() throws {
        let source = try denseTable([0, 0, 3, 4, 0, 0], dimension: 2)
        let copy = try denseTable([0, 0, 0, 0, 0, 1], dimension: 2)
        let quality = try copy.quality(against: source)
        XCTAssertEqual(quality.meanCosine, 1.0 / 3, accuracy: 1e-15)
        XCTAssertEqual(quality.worstRowL2, .infinity)
        XCTAssertEqual(quality.worstRow, 2)
        XCTAssertEqual(try source.quality(against: source), Quality())
        let empty = Table(try Dense([], rows: 0, dimension: 2))
        XCTAssertEqual(try empty.quality(against: empty), Quality())
    }

    func testExtremeValues() throws {
        let source = try denseTable([1e30, -1e30, 1e-30, 1e-30], dimension: 2)
        let quality = try denseTable([1e30, 1e30, -1e-30, 1e-30], dimension: 2).quality(against: source)
        XCTAssertEqual(quality.meanCosine, 0, accuracy: 1e-12)
        XCTAssertEqual(quality.normalizedL2, 2.0.squareRoot(), accuracy: 1e-6)
    }

    func testShapesThatDiffer() throws {
        let source = try randomDense(rows: 4, dimension: 3, seed: 1)
        for (rows, dimension) in [(3, 3), (4, 2)] {
            assertInvalidArgument("\(rows) x \(dimension)", "4 x 3") {
                _ = try randomDense(rows: rows, dimension: dimension, seed: 1).quality(against: source)
            }
        }
    }

    func testDoesNotDependOnThreads() throws {
        let source = try randomDense(rows: 3000, dimension: 31, seed: 60)
        let copy = try source.compressed("asym", ["bits": 2])
        try assertSameForThreadCounts {
            let quality = try copy.quality(against: source)
            return [
                quality.normalizedL2, quality.meanCosine, quality.worstRowL2, Double(quality.worstRow),
                quality.meanSquaredError,
            ].flatMap { [Float(bitPattern: UInt32(truncatingIfNeeded: $0.bitPattern)), Float($0)] }
        }
    }
}
