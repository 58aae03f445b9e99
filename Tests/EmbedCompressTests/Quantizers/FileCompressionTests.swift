import Foundation
import TestSupport
import XCTest

@testable import EmbedCompress

final class FileCompressionTests: TemporaryFolderTestCase {
    func testTheFileIsThatOfCompressingAndSaving() throws {
        let one = try randomDense(rows: 300, dimension: 20, seed: 340)
        let two = try randomDense(rows: 40, dimension: 7, seed: 341)
        let weights = try Table(Dense((0..<300).map { Float($0 % 5) }, rows: 300, dimension: 1))
        for method in Method.builtIn.map(\.name) {
            let options: [String: OptionValue] = method == "hist_brute" ? ["b": 8] : method == "rq" ? ["bits": 4] : [:]
            let reports = try TableFile.compress(
                [CompressionJob("one", one, options: options), CompressionJob("two", two, options: options)],
                method: method, to: path("streamed"), metadata: [("key", "value")])
            let copies = try [one, two].map { try $0.compressed(method, options) }
            try TableFile.write(
                [("one", copies[0]), ("two", copies[1])], to: path("saved"), metadata: [("key", "value")])
            XCTAssertEqual(try contents("streamed"), try contents("saved"), method)
            for (report, (copy, source)) in zip(reports, zip(copies, [one, two])) {
                XCTAssertEqual(report.storedBytes, copy.storedBytes, method)
                XCTAssertEqual(report.quality, try copy.quality(against: source), method)
            }
        }
        _ = try TableFile.compress(
            [CompressionJob("one", one, weights: weights)], method: "kmeans_cls", to: path("streamed"))
        try one.compressed("kmeans_cls", weights: weights).save(to: path("saved"), name: "one")
        XCTAssertEqual(try contents("streamed"), try contents("saved"))
    }

    func testAMappedSourceIsReadAgainAfterItsPagesAreLetGo() throws {
        let source = try randomDense(rows: 3000, dimension: 64, seed: 342)
        try source.save(to: path("source"))
        let mapped = try Table(contentsOf: path("source"))
        let report = try XCTUnwrap(
            TableFile.compress([CompressionJob("w", mapped)], method: "greedy", to: path("out")).first)
        XCTAssertEqual(try mapped.decode(), try source.decode())
        XCTAssertEqual(report.quality, try Table(contentsOf: path("out")).quality(against: source))
    }

    func testTheShareThatFallsBack() throws {
        var values = try randomDense(rows: 40, dimension: 32, seed: 343).decode()
        for place in 0..<10 * 32 { values[place] = 2 }
        let job = CompressionJob("w", try denseTable(values, dimension: 32), options: ["bits": 2])
        func share(_ method: String) throws -> Double? {
            try XCTUnwrap(TableFile.compress([job], method: method, to: path("out")).first).fallbackShare
        }
        XCTAssertEqual(try share("least_squares"), 0.25)
        XCTAssertNil(try share("asym"))
    }

    func testNothingIsLeftBehindByWhatFails() throws {
        let good = try randomDense(rows: 10, dimension: 4, seed: 344)
        let bad = try denseTable([1, 2, .nan, 4], dimension: 2)
        assertInvalidArgument("row 1 has nan") {
            _ = try TableFile.compress(
                [CompressionJob("a", good), CompressionJob("b", bad)], method: "asym", to: path("out"))
        }
        assertInvalidArgument("there is no table to save") {
            _ = try TableFile.compress([], method: "asym", to: path("out"))
        }
        assertInvalidArgument("two tables of the name 'a'") {
            _ = try TableFile.compress(
                [CompressionJob("a", good), CompressionJob("a", good)], method: "asym", to: path("out"))
        }
        assertThrows(.cancelled) {
            _ = try TableFile.compress([CompressionJob("a", good)], method: "asym", to: path("out")) { _, _ in false }
        }
        XCTAssertEqual(try FileManager.default.contentsOfDirectory(atPath: folder), [])
    }
}
