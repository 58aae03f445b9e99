import Foundation
import TestSupport
import XCTest

@testable import EmbedCompress

final class ParallelTests: XCTestCase {
    private struct Failure: Error, Equatable { let index: Int }

    override func setUp() { saved = Parallel.threadCount }
    override func tearDown() { Parallel.threadCount = saved }
    private var saved = 1

    /// How often each index was visited.
    private final class Visits: @unchecked Sendable {
        let counts: [AtomicInt]
        init(_ count: Int) { counts = (0..<count).map { _ in AtomicInt() } }
        var values: [Int] { counts.map(\.value) }
    }

    func testEveryIndexIsVisitedOnce() {
        for threads in [1, 2, 3, 8] {
            Parallel.threadCount = threads
            for (count, grain) in [(0, 5), (1, 5), (5, 5), (6, 5), (1000, 1), (1000, 7), (10, 1000)] {
                let visits = Visits(count)
                Parallel.forEach(count: count, grain: grain) { range in
                    XCTAssertEqual(range.lowerBound % grain, 0)
                    XCTAssertTrue(!range.isEmpty && range.count <= grain)
                    for index in range { visits.counts[index].add(1) }
                }
                XCTAssertEqual(visits.values, [Int](repeating: 1, count: count))
            }
        }
    }

    func testNestedLoops() {
        Parallel.threadCount = 4
        for _ in 0..<20 {
            let visits = Visits(600)
            Parallel.forEach(count: 20, grain: 1) { outer in
                Parallel.forEach(count: 30, grain: 3) { inner in
                    for index in inner { visits.counts[outer.lowerBound * 30 + index].add(1) }
                }
            }
            XCTAssertEqual(visits.values, [Int](repeating: 1, count: 600))
        }
    }

    func testConcurrentCallers() throws {
        Parallel.threadCount = 4
        let table = try randomDense(rows: 3000, dimension: 16, seed: 100)
        let expected = try table.decode()
        let ids = Array((0..<3000).reversed()) + Array(0..<3000)
        let lookup = try table.lookup(ids)
        let failures = AtomicInt()
        let group = DispatchGroup()
        for _ in 0..<6 {
            let thread = Thread {
                for _ in 0..<10 where (try? table.decode()) != expected || (try? table.lookup(ids)) != lookup {
                    failures.add(1)
                }
                group.leave()
            }
            group.enter()
            thread.start()
        }
        group.wait()
        XCTAssertEqual(failures.value, 0)
    }

    func testThreadCountIsClamped() {
        Parallel.threadCount = 0
        XCTAssertEqual(Parallel.threadCount, 1)
        Parallel.threadCount = 1_000_000
        XCTAssertEqual(Parallel.threadCount, Parallel.maximumThreads)
    }

    func testChangingTheThreadCountBetweenLoops() {
        for threads in [2, 16, 1, 5, 3, 16, 2] {
            Parallel.threadCount = threads
            let visits = Visits(100)
            Parallel.forEach(count: 100, grain: 1) { visits.counts[$0.lowerBound].add(1) }
            XCTAssertEqual(visits.values, [Int](repeating: 1, count: 100))
        }
    }

    // MARK: Errors

    func testTheErrorOfTheSmallestIndexWins() {
        for threads in [1, 2, 4, 7] {
            Parallel.threadCount = threads
            for bad in [[0], [99], [40, 41], [98, 13, 50], [7, 3, 90, 2]] {
                for _ in 0..<10 {
                    let progress = ProgressCounter(total: 100, callback: nil)
                    XCTAssertThrowsError(
                        try Parallel.forEach(count: 100, grain: 1, progress: progress) { range in
                            // The later an index is, the quicker it fails.
                            if bad.contains(range.lowerBound) {
                                for _ in range.lowerBound..<100 { sched_yield() }
                                throw Failure(index: range.lowerBound)
                            }
                        }
                    ) { XCTAssertEqual($0 as? Failure, Failure(index: bad.min() ?? 0)) }
                }
            }
        }
    }

    func testALoopStopsAfterAnError() {
        Parallel.threadCount = 2
        let visited = AtomicInt()
        XCTAssertThrowsError(
            try Parallel.forEach(count: 100_000, grain: 1, progress: ProgressCounter(total: 1, callback: nil)) {
                range in
                visited.add(1)
                throw Failure(index: range.lowerBound)
            })
        XCTAssertLessThan(visited.value, 50_000)
    }

    func testCancelling() {
        for threads in [1, 2, 4] {
            Parallel.threadCount = threads
            let visited = AtomicInt()
            let progress = ProgressCounter(total: 100_000) { done, _ in done < 500 }
            assertThrows(.cancelled) {
                try Parallel.forEach(count: 100_000, grain: 1, progress: progress) { _ in visited.add(1) }
            }
            XCTAssertGreaterThanOrEqual(visited.value, 500)
            XCTAssertLessThan(visited.value, 100_000)
        }
    }

    func testCancellingALoopInsideAnother() {
        for threads in [1, 2, 4] {
            Parallel.threadCount = threads
            let visited = AtomicInt()
            let progress = ProgressCounter(total: 4) { _, _ in visited.value < 500 }
            assertThrows(.cancelled) {
                try Parallel.forEach(count: 4, grain: 1, progress: progress) { _ in
                    try Parallel.forEach(count: 100_000, grain: 1, progress: progress.watch) { _ in visited.add(1) }
                }
            }
            XCTAssertGreaterThanOrEqual(visited.value, 500)
            XCTAssertLessThan(visited.value, 100_000)
        }
    }

    /// The caller has nothing left to do, and still asks.
    func testCancellingWhatOtherThreadsDo() {
        Parallel.threadCount = 2
        let caller = pthread_self()
        let (begun, visited) = (AtomicInt(), AtomicInt())
        let progress = ProgressCounter(total: 2) { _, _ in visited.value < 500 }
        assertThrows(.cancelled) {
            try Parallel.forEach(count: 2, grain: 1, progress: progress) { _ in
                if pthread_equal(caller, pthread_self()) != 0 {
                    while begun.value == 0 { sched_yield() }
                } else {
                    begun.value = 1
                    for _ in 0..<10_000_000 {
                        visited.add(1)
                        try progress.report()
                        sched_yield()
                    }
                }
            }
        }
        XCTAssertGreaterThanOrEqual(visited.value, 500)
        XCTAssertLessThan(visited.value, 10_000_000)
    }

    func testLoopsWorkAfterErrors() throws {
        Parallel.threadCount = 4
        for _ in 0..<50 {
            XCTAssertThrowsError(
                try Parallel.forEach(count: 40, grain: 1, progress: ProgressCounter(total: 40, callback: nil)) {
                    throw Failure(index: $0.lowerBound)
                })
            let visits = Visits(40)
            Parallel.forEach(count: 40, grain: 1) { visits.counts[$0.lowerBound].add(1) }
            XCTAssertEqual(visits.values, [Int](repeating: 1, count: 40))
        }
    }
}
