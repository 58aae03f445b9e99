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
        XCTAssertTrue(list.contains { $0["name"] as? String == "robe" && $0["stage"] as? String == "while training" })
        let fields: Set = [
            "name", "title", "family", "stage", "paper", "summary", "bytesPerRow", "cost", "options",
        ]
        for entry in list { XCTAssertEqual(Set(entry.keys), fields) }
        refuse(EC_INVALID_ARGUMENT, "out must not be null", ec_methods(nil))
    }

    func testMethodNamesAndOptions() throws {
        XCTAssertEqual(try string { ec_method_name("KMEANS-CLS", "after training", $0) }, "kmeans_cls")
        let values = try XCTUnwrap(
            json(try string { ec_method_options("ROBE", "while training", "{\"block\": 4}", $0) }) as? [String: Any])
        XCTAssertEqual(values["block"] as? Int, 4)
        XCTAssertEqual(values["signs"] as? Bool, true)
        var text = ec_string()
        refuse(EC_INVALID_ARGUMENT, "works while training", ec_method_name("robe", "after training", &text))
        refuse(EC_INVALID_ARGUMENT, "stage must be one of", ec_method_name("robe", "now", &text))
        refuse(EC_INVALID_ARGUMENT, "method must not be null", ec_method_name(nil, "after training", &text))
        refuse(EC_INVALID_ARGUMENT, "stage must not be null", ec_method_name("pq", nil, &text))
        refuse(EC_INVALID_ARGUMENT, "out must not be null", ec_method_name("pq", "after training", nil))
        refuse(
            EC_INVALID_ARGUMENT, "block must be an integer",
            ec_method_options("robe", "while training", "{\"block\": 0}", &text))
        refuse(
            EC_INVALID_ARGUMENT, "options must be a JSON object",
            ec_method_options("robe", "while training", "[]", &text))
        refuse(EC_INVALID_ARGUMENT, "entry must not be null", ec_method_register(nil))
        refuse(EC_INVALID_ARGUMENT, "a method must be a JSON object", ec_method_register("[]"))
    }

    func testErrorsBelongToTheirThread() {
        refuse(EC_INVALID_ARGUMENT, "0", ec_set_num_threads(0))
        let here = lastError
        let done = expectation(description: "other thread")
        let thread = Thread {
            let error = ec_last_error().pointee
            XCTAssertEqual(error.status, EC_OK)
            for text in [error.message, error.path, error.rule, error.method] {
                XCTAssertEqual(text.map { String(cString: $0) }, "")
            }
            XCTAssertEqual(error.system_errno, 0)
            XCTAssertEqual(error.feature, -1)
            XCTAssertEqual(ec_set_num_threads(-5), EC_INVALID_ARGUMENT)
            XCTAssertTrue(String(cString: ec_last_error().pointee.message).contains("-5"))
            done.fulfill()
        }
        thread.start()
        wait(for: [done], timeout: 20)
        XCTAssertEqual(lastError, here)
        XCTAssertFalse(here.contains("-5"))
    }

    func testReleasingNothing() {
        ec_table_release(nil)
        ec_string_release(ec_string(bytes: nil, count: 0))
    }
}
