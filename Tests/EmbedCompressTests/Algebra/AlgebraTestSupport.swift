import TestSupport
import XCTest

@testable import EmbedCompress

let algebraSizes = [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 300]

extension DoubleMatrix {
    init(_ reference: ReferenceMatrix) throws {
        try self.init(copying: reference.numbers, rows: reference.rows, columns: reference.columns)
    }

    var reference: ReferenceMatrix { ReferenceMatrix(rows: rows, columns: columns) { self[$0, $1] } }
}

/// Runs something with so many threads.
func withThreads<Result>(_ count: Int, _ body: () throws -> Result) rethrows -> Result {
    let before = Parallel.threadCount
    defer { Parallel.threadCount = before }
    Parallel.threadCount = count
    return try body()
}

/// A progress closure that throws once it was called so many times.
final class StoppingProgress {
    private(set) var calls = 0
    private let most: Int
    init(after most: Int) { self.most = most }

    func ask() throws {
        calls += 1
        if calls > most { throw EmbedCompressError.cancelled }
    }
}

func assertInvalid(
    _ text: String, file: StaticString = #filePath, line: UInt = #line, _ body: () throws -> Void
) {
    XCTAssertThrowsError(try body(), file: file, line: line) { error in
        guard case .invalidArgument(let found)? = error as? EmbedCompressError else {
            return XCTFail("\(error)", file: file, line: line)
        }
        XCTAssertTrue(found.contains(text), found, file: file, line: line)
    }
}
