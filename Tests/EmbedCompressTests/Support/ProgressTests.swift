import Foundation
import TestSupport
import XCTest

@testable import EmbedCompress

/// What a progress callback was told.
final class Recorder: @unchecked Sendable {
    private(set) var calls: [(done: Int, total: Int)] = []
    var last: (done: Int, total: Int)? { calls.last }
    /// Never backwards, never past the total, always the same total.
    var isSane: Bool {
        zip(calls, calls.dropFirst()).allSatisfy { $0.done <= $1.done && $0.total == $1.total }
            && calls.allSatisfy { $0.done >= 0 && $0.done <= $0.total }
    }

    @discardableResult
    func add(_ done: Int, _ total: Int) -> Bool {
        calls.append((done, total))
        return true
    }
}

final class ProgressTests: XCTestCase {
    private func withThreads(_ body: (Int) throws -> Void) rethrows {
        let before = Parallel.threadCount
        defer { Parallel.threadCount = before }
        for threads in [1, 2, 4] {
            Parallel.threadCount = threads
            try body(threads)
        }
    }

    func testLongCallsReportRowsAndEndWithAll() throws {
        let source = try randomDense(rows: 4000, dimension: 16, seed: 110)
        try withThreads { threads in
            for run in [
                { (callback: @escaping ProgressCallback) in
                    _ = try source.compressed("greedy", ["b": 10], progress: callback)
                },
                { callback in _ = try source.quality(against: source, progress: callback) },
            ] {
                let seen = Recorder()
                let caller = Thread.current
                try run { done, total in
                    XCTAssertEqual(Thread.current, caller)
                    return seen.add(done, total)
                }
                XCTAssertEqual(seen.last?.done, 4000)
                XCTAssertEqual(seen.last?.total, 4000)
                XCTAssertTrue(seen.isSane)
                if threads == 1 { XCTAssertGreaterThan(seen.calls.count, 4) }
            }
        }
    }

    func testCallsStopWhenAsked() throws {
        let source = try randomDense(rows: 4000, dimension: 16, seed: 111)
        try withThreads { threads in
            let seen = Recorder()
            assertThrows(.cancelled) {
                _ = try source.compressed(
                    "asym",
                    progress: {
                        seen.add($0, $1)
                        return false
                    })
            }
            XCTAssertEqual(seen.calls.count, 1, "not asked again")
            assertThrows(.cancelled) { _ = try source.quality(against: source, progress: { _, _ in false }) }
            if threads == 1 { XCTAssertLessThan(try XCTUnwrap(seen.last).done, 4000) }
        }
    }

    func testTablesWithoutRowsReportOnce() throws {
        let seen = Recorder()
        _ = try Table(Dense([], rows: 0, dimension: 2)).compressed("asym", progress: seen.add)
        XCTAssertEqual(seen.calls.count, 1)
        XCTAssertEqual(seen.last?.total, 0)
    }
}
