import XCTest

@testable import EmbedCompress

final class AllocationTests: XCTestCase {
    override func tearDown() { _ = Allocation.refuse(after: -1) }

    private func assertRefused(_ bytes: Int? = nil, line: UInt = #line, _ body: () throws -> Void) {
        XCTAssertThrowsError(try body(), line: line) { error in
            guard case .outOfMemory(let found)? = error as? EmbedCompressError else {
                return XCTFail("\(error)", line: line)
            }
            if let bytes { XCTAssertEqual(found, bytes, line: line) }
        }
    }

    func testSizesThatNoMemoryHolds() {
        for count in [Int.max, Int.max / 8, 1 << 60, 1 << 48] {
            assertRefused { _ = try Buffer<Int>(count: count) }
            assertRefused { _ = try Buffer<Double>(repeating: 1, count: count) }
            assertRefused { _ = try [Int](allocating: 0, count: count) }
            assertRefused { _ = try ByteStorage.allocate(count) }
        }
        assertRefused(Int.max) { try Allocation.require(nil) }
    }

    func testTheOneThatIsToFailFailsOnce() throws {
        XCTAssertEqual(Allocation.refuse(after: 1), -1)
        _ = try Buffer<Int>(count: 3)
        assertRefused { _ = try Buffer<Int>(count: 3) }
        _ = try Buffer<Int>(count: 3)
        XCTAssertLessThan(Allocation.refuse(after: 5), 0, "it has failed")
        XCTAssertEqual(Allocation.refuse(after: -1), 5, "nothing was asked for")
    }

    func testBuffersHoldWhatIsStored() throws {
        let buffer = try Buffer(repeating: 7, count: 4)
        let copy = buffer
        copy[2] = 1
        XCTAssertEqual(buffer.indices.map { buffer[$0] }, [7, 7, 1, 7])
    }

    func testRefusedScratchIsRemembered() throws {
        Scratch.with(1 << 60, of: Int.self) { _ in XCTFail("there is no such memory") }
        assertRefused { try Scratch.check() }
        try Scratch.check()
        // It is the reason of what fails after it, also where the size is beyond counting.
        assertRefused(Int.max) {
            try Scratch.checking {
                Scratch.with(Int.max, of: Int.self) { _ in XCTFail("there is no such memory") }
                throw EmbedCompressError.invalidArgument("something else")
            }
        }
        var isCalled = false
        Scratch.with(3, of: Int.self) { space in
            space[2] = 5
            isCalled = space[2] == 5
        }
        XCTAssertTrue(isCalled)
        try Scratch.check()
    }

    /// Whichever thread is refused scratch, the one that called learns of it.
    func testRefusedScratchOfOtherThreads() throws {
        let threads = Parallel.threadCount
        Parallel.threadCount = 4
        defer { Parallel.threadCount = threads }
        for _ in 0..<20 {
            Parallel.forEach(count: 64, grain: 1) { range in
                if range.lowerBound % 7 == 3 { Scratch.with(1 << 60, of: UInt8.self) { _ in } }
            }
            assertRefused { try Scratch.check() }
            try Scratch.check()
            assertRefused {
                let watch = ProgressCounter(total: 64, callback: nil)
                try Parallel.forEach(count: 64, grain: 1, progress: watch) { range in
                    if range.lowerBound == 40 { Scratch.with(1 << 60, of: UInt8.self) { _ in } }
                }
            }
            try Scratch.check()
        }
    }
}
