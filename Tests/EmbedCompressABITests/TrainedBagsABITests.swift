import CEmbedCompress.ABI
import EmbedCompressABI
import XCTest

final class TrainedBagsABITests: ABITestCase {
    private var elements: [Float] = [1, 2, 3, 4, 5, 6]

    private func with(
        _ mode: ec_mode, ids: [Int32], offsets: [Int64], weights: [Float]? = nil,
        change: (inout ec_bags) -> Void = { _ in },
        _ body: (UnsafePointer<ec_trained_rows>, UnsafePointer<ec_bags>) -> ec_status
    ) -> ec_status {
        elements.withUnsafeMutableBytes { elements in
            ids.withUnsafeBufferPointer { ids in
                offsets.withUnsafeBufferPointer { offsets in
                    (weights ?? []).withUnsafeBufferPointer { numbers in
                        var table = ec_trained_rows(
                            elements: elements.baseAddress, scales: nil, element_state: nil, row_state: nil, rows: 3,
                            dimension: 2, format: EC_ROWS_F32)
                        var bags = ec_bags(
                            ids: ids.baseAddress, offsets: offsets.baseAddress,
                            weights: weights == nil ? nil : numbers.baseAddress, id_count: Int64(ids.count),
                            offset_count: Int64(offsets.count), padding_id: -1, id_bytes: 4, offset_bytes: 8,
                            include_last_offset: 0, mode: mode, on_invalid: EC_RAISE)
                        change(&bags)
                        return body(&table, &bags)
                    }
                }
            }
        }
    }

    private var descent: ec_row_step {
        ec_row_step(
            optimizer: EC_SGD, rounding: EC_NEAREST, learning_rate: 0.5, eps: 0, beta1: 0, beta2: 0, weight_decay: 0,
            seed: 0, step: 1)
    }

    func testSumsAndMeans() {
        var (out, step) = ([Float](repeating: 7, count: 6), descent)
        let pool = { ec_trained_rows_pool($0, $1, &out) }
        XCTAssertEqual(with(EC_SUM, ids: [2, 0, 2], offsets: [0, 2, 2], weights: [1, 2, 3], pool), EC_OK)
        XCTAssertEqual(out, [7, 10, 0, 0, 15, 18])
        XCTAssertEqual(with(EC_MEAN, ids: [2, 0, 2], offsets: [0, 2, 2], pool), EC_OK)
        XCTAssertEqual(out, [3, 4, 0, 0, 5, 6])
        let last = { (bags: inout ec_bags) in bags.include_last_offset = 1 }
        XCTAssertEqual(with(EC_SUM, ids: [2, 0, 2], offsets: [0, 0, 3], change: last, pool), EC_OK)
        XCTAssertEqual(out, [0, 0, 11, 14, 5, 6])
        // The first bag's gradient is halved for each of its two ids.
        let gradients: [Float] = [2, 4, 9, 9, 1, 1]
        let status = with(EC_MEAN, ids: [2, 0, 2], offsets: [0, 2, 2]) {
            ec_trained_rows_step_bags($0, $1, gradients, &step)
        }
        XCTAssertEqual(status, EC_OK)
        XCTAssertEqual(elements, [0.5, 1, 3, 4, 4, 4.5] as [Float])
    }

    func testArguments() {
        var (out, step) = ([Float](repeating: 7, count: 4), descent)
        let before = elements
        func refuse(
            _ text: String, _ mode: ec_mode = EC_SUM, ids: [Int32] = [2, 0], weights: [Float]? = nil,
            change: (inout ec_bags) -> Void = { _ in }, line: UInt = #line
        ) {
            for body in [
                { ec_trained_rows_pool($0, $1, &out) }, { ec_trained_rows_step_bags($0, $1, [1, 1, 1, 1], &step) },
            ] as [(UnsafePointer<ec_trained_rows>, UnsafePointer<ec_bags>) -> ec_status] {
                XCTAssertNotEqual(
                    with(mode, ids: ids, offsets: [0, 1], weights: weights, change: change, body), EC_OK, line: line)
                XCTAssertTrue(lastError.contains(text), lastError, line: line)
            }
        }
        refuse("must be sum or mean", EC_MAX)
        refuse("id 3 at position 1", ids: [0, 3])
        refuse("weights must be finite", weights: [1, .nan])
        refuse("weights go with the mode sum", EC_MEAN, weights: [1, 1])
        refuse("no padding id", change: { $0.padding_id = 1 })
        refuse("invalid ids are errors", change: { $0.on_invalid = EC_ZERO })
        XCTAssertEqual(elements, before)
        XCTAssertEqual(out, [7, 7, 7, 7])
        XCTAssertEqual(with(EC_SUM, ids: [0], offsets: [0]) { ec_trained_rows_pool($0, $1, nil) }, EC_INVALID_ARGUMENT)
        let status = with(EC_SUM, ids: [0], offsets: [0]) { ec_trained_rows_step_bags($0, $1, nil, &step) }
        XCTAssertEqual(status, EC_INVALID_ARGUMENT)
    }
}
