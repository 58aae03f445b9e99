import TestSupport
import XCTest

@testable import EmbedCompress

final class TrellisFallbackTests: XCTestCase {
    private let dimension = 48

    /// Normal rows, of which every ninth is constant.
    private func source(_ rows: Int) throws -> Table {
        var generator = SeededGenerator(seed: 5)
        var values = generator.normals(rows * dimension)
        for row in stride(from: 0, to: rows, by: 9) {
            for column in 0..<dimension { values[row * dimension + column] = 3 }
        }
        return try denseTable(values, dimension: dimension)
    }

    func testConstantRowsAreOfLeastSquaresAndKeepTheirPlaces() throws {
        let source = try source(300)
        for rotation in ["none", "partial", "hadamard"] {
            for stage in ["none", "vectors"] {
                let options: [String: OptionValue] = [
                    "bits": 2, "effort": "fast", "rotation": .string(rotation), "first_stage": .string(stage),
                ]
                let plain = try source.compressed("trellis", options.merging(["fallback": false]) { $1 })
                let table = try source.compressed("trellis", options)
                // One of the vectors of a first stage may be the constant row.
                if stage == "none" {
                    let partition = try XCTUnwrap(table.expression as? Partition, rotation)
                    XCTAssertTrue(partition.parts[1] is Uniform)
                }
                let (values, copies, others) = (try source.decode(), try table.decode(), try plain.decode())
                for row in 0..<300 {
                    let range = row * dimension..<(row + 1) * dimension
                    if row % 9 == 0 {
                        XCTAssertEqual(copies[range], values[range])
                    } else {
                        XCTAssertEqual(copies[range], others[range], "\(rotation) \(stage) \(row)")
                    }
                }
            }
        }
    }

    func testABudgetHasRoomForThePartitionOrARowStays() throws {
        let many = try source(1100)
        let bytes = 1100 * 13 + 1024 + 5 * dimension
        // Rows of least squares are shorter by more than the partition takes.
        for budget in [bytes, bytes + 1, bytes + 200, bytes + 1100] {
            let table = try many.compressed("trellis", ["budget": .integer(budget), "effort": "fast"])
            XCTAssertLessThanOrEqual(table.storedBytes, budget)
            XCTAssertTrue(table.expression is Partition)
        }
        // One row is not worth a byte of every other.
        var values = try many.decode()
        for index in dimension..<values.count where index / dimension % 9 == 0 {
            values[index] = values[index - dimension]
        }
        let one = try denseTable(values, dimension: dimension)
        for (budget, isPartition) in [(bytes, false), (bytes + 216, true)] {
            let table = try one.compressed("trellis", ["budget": .integer(budget), "effort": "fast"])
            XCTAssertLessThanOrEqual(table.storedBytes, budget)
            XCTAssertEqual(table.expression is Partition, isPartition)
        }
    }

    func testOrdinaryRowsArePlain() throws {
        var generator = SeededGenerator(seed: 6)
        let source = try denseTable(generator.normals(200 * dimension), dimension: dimension)
        XCTAssertTrue(try source.compressed(.trellis(bits: 2)).expression is Trellis)
    }

    func testTheReportHasTheShareOfRows() throws {
        let source = try source(90)
        let path = NSTemporaryDirectory() + "/fallback-\(UUID().uuidString).safetensors"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let options: [String: OptionValue] = ["bits": 2, "effort": "fast"]
        let report = try TableFile.compress(
            [CompressionJob("table", source, options: options)], method: "trellis", to: path)[0]
        let made = try source.compressed("trellis", options)
        XCTAssertEqual(report.fallbackShare, 10.0 / 90)
        XCTAssertEqual(report.storedBytes, made.storedBytes)
        XCTAssertEqual(try Table(contentsOf: path).decode(), try made.decode())
    }
}
