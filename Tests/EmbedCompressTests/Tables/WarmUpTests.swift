import Foundation
import TestSupport
import XCTest

@testable import EmbedCompress

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

final class WarmUpTests: TemporaryFolderTestCase {
    /// Whether each page of an array is in memory.
    private func resident(_ bytes: Bytes) throws -> [Bool] {
        let page = Bytes.pageBytes
        let start = UInt(bitPattern: bytes.pointer) / UInt(page) * UInt(page)
        let count = (Int(UInt(bitPattern: bytes.pointer) - start) + bytes.count + page - 1) / page
        var pages = [UInt8](repeating: 0, count: count)
        XCTAssertEqual(mincore(UnsafeMutableRawPointer(bitPattern: start), count * page, &pages), 0)
        return pages.map { $0 & 1 == 1 }
    }

    /// Asks the system to forget what it holds of a file, which some file systems do.
    private func forget(_ path: String) {
        #if os(Linux)
            let file = Glibc.open(path, O_RDONLY)
            posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED)
            close(file)
        #endif
    }

    func testEveryPageIsInMemory() throws {
        let table = try randomDense(rows: 30_000, dimension: 64, seed: 1)
        let map = (0..<70_000).map { $0 % 30_000 }
        try table.remapped(through: map).save(to: path("f"))
        for threads in [1, 2] {
            let before = Parallel.threadCount
            defer { Parallel.threadCount = before }
            Parallel.threadCount = threads
            for map in [true, false] {
                forget(path("f"))
                let again = try Table(contentsOf: path("f"), map: map)
                XCTAssertEqual(try again.warmUp(), again.storedBytes)
                for array in again.parts().arrays {
                    XCTAssertFalse(try resident(array.bytes).contains(false), array.name)
                }
                XCTAssertEqual(try again.lookup([5]), try table.lookup([5]))
            }
        }
    }

    func testTablesWithoutBytes() throws {
        XCTAssertEqual(try Table(Dense([], rows: 0, dimension: 3)).warmUp(), 0)
        XCTAssertEqual(try guardedTable(.float32, bytes: [0, 1, 2, 3], dimension: 1).warmUp(), 4)
    }

    func testProgressAndStopping() throws {
        let table = try randomDense(rows: 50_000, dimension: 64, seed: 2)
        let seen = Recorder()
        try table.warmUp(progress: seen.add)
        XCTAssertEqual(seen.last?.done, table.storedBytes)
        XCTAssertEqual(seen.last?.total, table.storedBytes)
        XCTAssertTrue(seen.isSane)
        assertThrows(.cancelled) { try table.warmUp(progress: { _, _ in false }) }
    }
}
