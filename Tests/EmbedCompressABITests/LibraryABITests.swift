import CEmbedCompress.ABI
import EmbedCompressABI
import Foundation
import XCTest

final class LibraryABITests: ABITestCase {
    func testVersionAndInstructionSet() {
        XCTAssertEqual(String(cString: ec_version()).split(separator: ".").count, 3)
        let names = ["x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4", "arm64"]
        XCTAssertTrue(names.contains(String(cString: ec_isa())))
        XCTAssertEqual(ec_isa(), ec_isa(), "one string for ever")
    }

    func testThreads() {
        let before = ec_get_num_threads()
        defer { ec_set_num_threads(before) }
        XCTAssertGreaterThanOrEqual(before, 1)
        XCTAssertEqual(ec_set_num_threads(3), EC_OK)
        XCTAssertEqual(ec_get_num_threads(), 3)
        for count: Int64 in [0, -1, 257, .max, .min] {
            refuse(EC_INVALID_ARGUMENT, "\(count)", ec_set_num_threads(count))
            XCTAssertEqual(ec_get_num_threads(), 3)
        }
    }

    func testMethods() throws {
        let list = try XCTUnwrap(json(string { ec_methods($0) }) as? [[String: Any]])
        XCTAssertTrue(Set(list.compactMap { $0["name"] as? String }).isSuperset(of: ["asym", "greedy"]))
        for entry in list {
            XCTAssertTrue(
                Set(entry.keys).isSuperset(of: ["name", "title", "paper", "kind", "summary", "bytesPerRow", "options"]))
        }
        refuse(EC_INVALID_ARGUMENT, "out must not be null", ec_methods(nil))
    }

    func testErrorsBelongToTheirThread() {
        refuse(EC_INVALID_ARGUMENT, "0", ec_set_num_threads(0))
        let here = lastError
        let done = expectation(description: "other thread")
        let thread = Thread {
            XCTAssertEqual(String(cString: ec_last_error()), "")
            XCTAssertEqual(String(cString: ec_last_error_path()), "")
            XCTAssertEqual(ec_last_errno(), 0)
            XCTAssertEqual(ec_set_num_threads(-5), EC_INVALID_ARGUMENT)
            XCTAssertTrue(String(cString: ec_last_error()).contains("-5"))
            done.fulfill()
        }
        thread.start()
        wait(for: [done], timeout: 20)
        XCTAssertEqual(lastError, here)
        XCTAssertFalse(here.contains("-5"))
    }

    func testIOErrorsHaveTheirErrnoAndPath() {
        refuse(EC_IO, "cannot open '\(path("none"))'") { ec_load(path("none"), nil, 1, $0) }
        XCTAssertEqual(ec_last_errno(), ENOENT)
        XCTAssertEqual(String(cString: ec_last_error_path()), path("none"))
        refuse(EC_IO, folder) { ec_load(folder, nil, 0, $0) }
        XCTAssertEqual(ec_last_errno(), EISDIR)
        refuse(EC_INVALID_ARGUMENT, "", ec_set_num_threads(0))
        XCTAssertEqual(ec_last_errno(), 0)
        XCTAssertEqual(String(cString: ec_last_error_path()), "")
    }

    func testReleasingNothing() {
        ec_table_release(nil)
        ec_string_release(ec_string(bytes: nil, count: 0))
    }
}
