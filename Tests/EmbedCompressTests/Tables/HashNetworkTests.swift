import Foundation
import TestSupport
import XCTest

@testable import EmbedCompress

final class HashNetworkTests: XCTestCase {
    private func check(_ hashes: Int, _ widths: [Int], _ element: ScaleType, _ encoding: HashNetwork.Encoding) throws {
        var generator = SeededGenerator(seed: UInt64(hashes))
        let factors = generator.integers(hashes, in: 0..<1 << 31)
        let summands = generator.integers(hashes, in: 0..<1 << 31)
        let moduli = generator.integers(hashes, in: 2..<1 << 31)
        var arrays = [
            try GuardedArray("factors", .i64, [hashes], factors),
            try GuardedArray("summands", .i64, [hashes], summands),
            try GuardedArray("moduli", .i64, [hashes], moduli),
        ]
        var fields =
            #""hashes":\#(hashes),"buckets":1000,"encoding":"\#(encoding.rawValue)","element":"\#(element.rawValue)","#
            + #""layers":\#(widths.count),"offset":0"#
        var layers: [(weights: [Float], biases: [Float])] = []
        for (index, width) in widths.enumerated() {
            let inputs = index == 0 ? hashes : widths[index - 1]
            var weights = generator.normals(inputs * width).map { $0 / Float(inputs).squareRoot() }
            let biases = generator.normals(width)
            arrays.append(try GuardedArray("weights\(index)", element, [inputs, width], &weights))
            arrays.append(try GuardedArray("biases\(index)", .f32, [width], biases))
            if index < widths.count - 1 { fields += #","width\#(index)":\#(width)"# }
            layers.append((weights, biases))
        }
        let dimension = try XCTUnwrap(widths.last)
        let table = try guardedStore("hash_network", rows: 60, dimension: dimension, fields: fields, arrays)
        var expected: [ReferenceValue] = []
        for id in 0..<60 {
            let codes = (0..<hashes).map { Double((factors[$0] * id + summands[$0]) % moduli[$0] % 1000) }
            var values: [Double]
            if encoding == .uniform {
                values = codes.map { 2 * $0 / 999 - 1 }
            } else {
                values = (0..<hashes).map { index in
                    let radius = sqrt(-2 * log((codes[index & ~1] + 1) / 1000))
                    let angle = 2 * Double.pi * codes[index | 1] / 1000
                    return radius * (index & 1 == 0 ? cos(angle) : sin(angle))
                }
            }
            for (number, layer) in layers.enumerated() {
                if number > 0 { values = values.map { $0 * tanh(log(1 + exp($0))) } }
                let width = layer.biases.count
                values = (0..<width).map { column in
                    values.indices.reduce(Double(layer.biases[column])) {
                        $0 + values[$1] * Double(layer.weights[$1 * width + column])
                    }
                }
            }
            expected += values.map { ReferenceValue($0, magnitude: 10) }
        }
        try checkStore(table, expected, terms: 20)
    }

    func testNetworksOnGuardedMemory() throws {
        for element in ScaleType.allCases {
            for encoding in HashNetwork.Encoding.allCases {
                try check(2, [1], element, encoding)
                try check(16, [5, 3], element, encoding)
                try check(34, [17, 40, 9], element, encoding)
            }
        }
    }

    func testRemaindersAreExact() {
        var generator = SeededGenerator(seed: 5)
        var divisors: [UInt64] = [2, 3, 4, 1 << 16, 1 << 30, (1 << 31) - 1, 1 << 31, 1_000_000]
        divisors += generator.integers(200, in: 2..<1 << 31).map { UInt64($0) }
        let largest = UInt64.max >> 1
        for divisor in divisors {
            let remainder = Remainder(divisor)
            var numbers: [UInt64] = [0, 1, divisor - 1, divisor, divisor + 1, largest, largest / divisor * divisor]
            for _ in 0..<200 { numbers.append(generator.next() >> 1) }
            for number in numbers {
                XCTAssertEqual(remainder.of(number), number % divisor, "\(number) by \(divisor)")
            }
        }
    }

    func testPublicInitialiser() throws {
        let layer = HashNetwork.Layer(weights: [2, 0, 0, 2], biases: [1, -1])
        let network = try HashNetwork(
            factors: [1, 0], summands: [0, 2], moduli: [3, 3], buckets: 3, layers: [layer], rows: 4)
        XCTAssertEqual(try Table(network).decode(), [-1, 1, 1, 1, 3, 1, -1, 1])
        XCTAssertEqual(network.ownBytes, 48 + 8 + 16 + 8)
        assertInvalidArgument("hash function 1 must have") {
            _ = try HashNetwork(
                factors: [1, 0], summands: [0, 2], moduli: [3, 1], buckets: 3, layers: [layer], rows: 4)
        }
        assertInvalidArgument("layer 0 needs 2 x 1 weights") {
            _ = try HashNetwork(
                factors: [1, 0], summands: [0, 2], moduli: [3, 3], buckets: 3,
                layers: [HashNetwork.Layer(weights: [1], biases: [1])], rows: 4)
        }
    }
}
