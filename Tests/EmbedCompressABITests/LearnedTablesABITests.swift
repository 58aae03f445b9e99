import CEmbedCompress.ABI
import EmbedCompressABI
import XCTest

final class LearnedTablesABITests: ABITestCase {
    func testHashes() {
        let (factors, summands, moduli): ([Int64], [Int64], [Int64]) = (
            [3, 2_147_483_647], [1, 5], [7, 2_147_483_629]
        )
        factors.withUnsafeBufferPointer { factors in
            summands.withUnsafeBufferPointer { summands in
                moduli.withUnsafeBufferPointer { moduli in
                    var functions = ec_hash_functions(
                        factors: factors.baseAddress, summands: summands.baseAddress, moduli: moduli.baseAddress,
                        count: 2, buckets: 1000)
                    var out = [Float](repeating: 7, count: 4)
                    XCTAssertEqual(ec_hash_ids([Int64(2), 4_294_967_295], 8, 2, &functions, &out), EC_OK)
                    let large = (2_147_483_647 * 4_294_967_295 + 5) % 2_147_483_629 % 1000
                    XCTAssertEqual(out, [0, Float((2_147_483_647 * 2 + 5) % 2_147_483_629 % 1000), 3, Float(large)])
                    out = [7, 7, 7, 7]
                    XCTAssertEqual(ec_hash_ids([Int64(0), -1], 8, 2, &functions, &out), EC_INVALID_ID)
                    functions.buckets = 1
                    XCTAssertEqual(ec_hash_ids([Int32(0)], 4, 1, &functions, &out), EC_INVALID_ARGUMENT)
                    functions.buckets = 9
                    functions.moduli = nil
                    XCTAssertEqual(ec_hash_ids([Int32(0)], 4, 1, &functions, &out), EC_INVALID_ARGUMENT)
                    XCTAssertTrue(lastError.contains("moduli must not be null"), lastError)
                    XCTAssertEqual(ec_hash_ids([Int32(0)], 4, 1, nil, &out), EC_INVALID_ARGUMENT)
                    XCTAssertEqual(out, [7, 7, 7, 7])
                }
            }
        }
    }

    func testSketch() {
        var (keys, scores, places) = (
            [Int64](repeating: -1, count: 4), [Float](repeating: 0, count: 4), [Int32](repeating: -1, count: 4)
        )
        keys.withUnsafeMutableBufferPointer { keys in
            scores.withUnsafeMutableBufferPointer { scores in
                places.withUnsafeMutableBufferPointer { places in
                    var sketch = ec_hot_sketch(
                        keys: keys.baseAddress, scores: scores.baseAddress, places: places.baseAddress, buckets: 1,
                        seed: 0)
                    XCTAssertEqual(ec_hot_sketch_add(&sketch, [Int32(5), 2, 5], 4, 3, [1, 1, 1]), EC_OK)
                    // The most important one comes last.
                    XCTAssertEqual(Array(keys), [2, 5, -1, -1])
                    XCTAssertEqual(Array(scores), [1, 2, 0, 0])
                    places[1] = 6
                    var out: [Int64] = [0, 0]
                    XCTAssertEqual(ec_hot_sketch_places(&sketch, [Int64(5), 9], 8, 2, &out), EC_OK)
                    XCTAssertEqual(out, [6, -1])
                    XCTAssertEqual(ec_hot_sketch_add(&sketch, [Int64(1), -1], 8, 2, [1, 1]), EC_INVALID_ID)
                    XCTAssertEqual(ec_hot_sketch_add(&sketch, [Int64(1)], 8, 1, nil), EC_INVALID_ARGUMENT)
                    XCTAssertEqual(ec_hot_sketch_places(&sketch, [Int64(1)], 8, 1, nil), EC_INVALID_ARGUMENT)
                    XCTAssertEqual(ec_hot_sketch_add(nil, [Int64(1)], 8, 1, [1]), EC_INVALID_ARGUMENT)
                    sketch.buckets = 0
                    XCTAssertEqual(ec_hot_sketch_add(&sketch, [Int64(1)], 8, 1, [1]), EC_INVALID_ARGUMENT)
                    XCTAssertTrue(lastError.contains("buckets must be from 1"), lastError)
                    XCTAssertEqual(Array(keys), [2, 5, -1, -1])
                }
            }
        }
    }

    func testProducts() {
        let (left, middle, right): ([Float], [Float], [Float]) = ([2, 3], [0, 5, 7], [1, 10, 4, 40])
        left.withUnsafeBufferPointer { left in
            middle.withUnsafeBufferPointer { middle in
                right.withUnsafeBufferPointer { right in
                    var products = ec_train_products(
                        columns: (1, 1, 2), rank: 1, left: left.baseAddress, middle: middle.baseAddress, slices: 3,
                        right: right.baseAddress)
                    var out = [Float](repeating: 0, count: 4)
                    XCTAssertEqual(ec_train_products_rows(&products, [Int32(1), 2], 4, 2, &out), EC_OK)
                    XCTAssertEqual(out, [10, 100, 84, 840])
                    checkGradients(&products)
                    XCTAssertEqual(ec_train_products_rows(&products, [Int32(1), 3], 4, 2, &out), EC_INVALID_ID)
                    XCTAssertEqual(ec_train_products_rows(&products, nil, 8, 0, nil), EC_OK)
                    XCTAssertEqual(ec_train_products_rows(&products, [Int32(1), 2], 4, 2, nil), EC_INVALID_ARGUMENT)
                    products.rank = 0
                    XCTAssertEqual(ec_train_products_rows(&products, [Int32(1), 2], 4, 2, &out), EC_INVALID_ARGUMENT)
                    XCTAssertTrue(lastError.contains("columns and rank must be from 1"), lastError)
                    XCTAssertEqual(ec_train_products_rows(nil, [Int32(1), 2], 4, 2, &out), EC_INVALID_ARGUMENT)
                    XCTAssertEqual(out, [10, 100, 84, 840])
                }
            }
        }
    }

    private func checkGradients(_ products: UnsafePointer<ec_train_products>) {
        var (ofLeft, ofMiddle, ofRight): ([Float], [Float], [Float]) = ([0, 0], [0, 0], [0, 0, 0, 0])
        ofLeft.withUnsafeMutableBufferPointer { left in
            ofMiddle.withUnsafeMutableBufferPointer { middle in
                ofRight.withUnsafeMutableBufferPointer { right in
                    var gradients = ec_train_gradients(
                        left: left.baseAddress, middle: middle.baseAddress, slices: 1, right: right.baseAddress)
                    let slopes: [Float] = [1, 0, 1, 1]
                    XCTAssertEqual(
                        ec_train_products_gradients(products, [Int32(1), 2], 4, 2, slopes, &gradients),
                        EC_INVALID_ARGUMENT)
                    XCTAssertTrue(lastError.contains("2 distinct slices"), lastError)
                    gradients.slices = 2
                    XCTAssertEqual(
                        ec_train_products_gradients(products, [Int32(1), 2], 4, 2, slopes, &gradients), EC_OK)
                    XCTAssertEqual(
                        ec_train_products_gradients(products, [Int32(1), 2], 4, 2, slopes, nil), EC_INVALID_ARGUMENT)
                    XCTAssertEqual(
                        ec_train_products_gradients(products, [Int32(1), 2], 4, 2, nil, &gradients),
                        EC_INVALID_ARGUMENT)
                }
            }
        }
        XCTAssertEqual(ofLeft, [5, 308])
        XCTAssertEqual(ofMiddle, [2, 132])
        XCTAssertEqual(ofRight, [10, 0, 21, 21])
    }
}
