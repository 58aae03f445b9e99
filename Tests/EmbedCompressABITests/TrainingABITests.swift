import CEmbedCompress.ABI
import EmbedCompressABI
import XCTest

final class TrainingABITests: ABITestCase {
    private var elements: [Float] = [1, 2, 3, 4, 5, 6]
    private var state: [Float] = [0, 0, 0]

    private func with(
        _ change: (inout ec_trained_rows) -> Void = { _ in }, _ body: (UnsafePointer<ec_trained_rows>) -> ec_status
    ) -> ec_status {
        elements.withUnsafeMutableBytes { elements in
            state.withUnsafeMutableBufferPointer { state in
                var table = ec_trained_rows(
                    elements: elements.baseAddress, scales: nil, element_state: nil, row_state: state.baseAddress,
                    rows: 3, dimension: 2, format: EC_ROWS_F32)
                change(&table)
                return body(&table)
            }
        }
    }

    private var numbers: ec_row_step {
        ec_row_step(
            optimizer: EC_ROWWISE_ADAGRAD, rounding: EC_NEAREST, learning_rate: 0.5, eps: 0, beta1: 0, beta2: 0,
            weight_decay: 0, seed: 0, step: 1)
    }

    func testStepAndGather() {
        var step = numbers
        let status = with { ec_trained_rows_step($0, [Int32(2), 0, 2] as [Int32], 4, 3, [1, 2, 3, 3, 2, 2], &step) }
        XCTAssertEqual(status, EC_OK)
        // Row 2 has the gradient (3, 4), whose mean square is 12.5; row 0 has (3, 3).
        XCTAssertEqual(state, [9, 0, 12.5])
        let factor = 0.5 / Float(12.5).squareRoot()
        XCTAssertEqual(elements, [0.5, 1.5, 3, 4, 5 - 3 * factor, 6 - 4 * factor])
        var out = [Float](repeating: 0, count: 4)
        XCTAssertEqual(with { ec_trained_rows_gather($0, [Int64(1), 0], 8, 2, &out) }, EC_OK)
        XCTAssertEqual(out, [3, 4, 0.5, 1.5])
        XCTAssertEqual(with { ec_trained_rows_step($0, nil, 8, 0, nil, &step) }, EC_OK)
        XCTAssertEqual(with { ec_trained_rows_gather($0, nil, 8, 0, nil) }, EC_OK)
    }

    func testWrite() {
        var how = ec_row_rounding(rounding: EC_NEAREST, scale_rate: 0, seed: 0, step: 1)
        XCTAssertEqual(with { ec_trained_rows_write($0, [Int64(0), 2], 8, 2, [9, 8, 7, 6], nil, &how) }, EC_OK)
        XCTAssertEqual(elements, [9, 8, 3, 4, 7, 6])
        XCTAssertEqual(with { ec_trained_rows_write($0, nil, 8, 0, nil, nil, &how) }, EC_OK)
        func refuse(_ text: String, ids: [Int64]? = [0, 2], values: [Float]? = [1, 1, 1, 1], slopes: [Float]? = nil) {
            let status = with { ec_trained_rows_write($0, ids, 8, 2, values, slopes, &how) }
            XCTAssertEqual(status, EC_INVALID_ARGUMENT)
            XCTAssertTrue(lastError.contains(text), lastError)
        }
        refuse("ids must not be null", ids: nil)
        refuse("ids must rise", ids: [2, 0])
        refuse("values must not be null", values: nil)
        refuse("slopes are for rows of codes", slopes: [1, 1, 1, 1])
        how.rounding = ec_rounding(rawValue: 2)
        refuse("rounding must be")
        (how.rounding, how.scale_rate) = (EC_STOCHASTIC, .nan)
        refuse("scale_rate must be finite")
        XCTAssertEqual(with { ec_trained_rows_write($0, [Int64(0)], 8, 1, [1, 1], nil, nil) }, EC_INVALID_ARGUMENT)
        XCTAssertEqual(with { ec_trained_rows_write($0, [Int64(3)], 8, 1, [1, 1], nil, &how) }, EC_INVALID_ARGUMENT)
        XCTAssertEqual(elements, [9, 8, 3, 4, 7, 6])
    }

    func testArguments() {
        let (before, ids, gradients): ([Float], [Int64], [Float]) = (elements, [0, 1], [1, 1, 1, 1])
        func refuse(
            _ text: String, _ status: ec_status = EC_INVALID_ARGUMENT, ids: [Int64]? = [0, 1],
            gradients: [Float]? = [1, 1, 1, 1], table: (inout ec_trained_rows) -> Void = { _ in },
            step change: (inout ec_row_step) -> Void = { _ in }, line: UInt = #line
        ) {
            var step = numbers
            change(&step)
            XCTAssertEqual(with(table) { ec_trained_rows_step($0, ids, 8, 2, gradients, &step) }, status, line: line)
            XCTAssertTrue(lastError.contains(text), lastError, line: line)
        }
        refuse("ids must not be null", ids: nil)
        refuse("gradients must not be null", gradients: nil)
        refuse("id 3 at position 1", EC_INVALID_ID, ids: [0, 3])
        refuse("must be finite", gradients: [1, 1, .infinity, 1])
        refuse("elements must not be null", table: { $0.elements = nil })
        refuse("row_state must not be null", table: { $0.row_state = nil })
        refuse("scales must not be null", table: { $0.format = EC_ROWS_INT8 })
        refuse("dimension must be at least 1", table: { $0.dimension = 0 })
        refuse("rows must not be negative", table: { $0.rows = -1 })
        refuse("elements cannot be that large", table: { $0.rows = .max / 4 })
        refuse("format must be one of", table: { $0.format = ec_row_format(rawValue: 6) })
        refuse("optimizer must be one of", step: { $0.optimizer = ec_optimizer(rawValue: 4) })
        refuse("rounding must be", step: { $0.rounding = ec_rounding(rawValue: 2) })
        refuse("learning_rate must be finite", step: { $0.learning_rate = .nan })
        refuse("step must be at least 1", step: { $0.step = 0 })
        var (step, out) = (numbers, [Float](repeating: 7, count: 4))
        XCTAssertEqual(ec_trained_rows_step(nil, ids, 8, 2, gradients, &step), EC_INVALID_ARGUMENT)
        XCTAssertEqual(with { ec_trained_rows_step($0, ids, 8, 2, gradients, nil) }, EC_INVALID_ARGUMENT)
        XCTAssertEqual(with { ec_trained_rows_gather($0, [0, 3], 8, 2, &out) }, EC_INVALID_ID)
        XCTAssertEqual(with { ec_trained_rows_gather($0, ids, 8, 2, nil) }, EC_INVALID_ARGUMENT)
        XCTAssertEqual(out, [7, 7, 7, 7])
        XCTAssertEqual(elements, before)
        XCTAssertEqual(state, [0, 0, 0])
    }
}
