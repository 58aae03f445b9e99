import TestSupport
import XCTest

@testable import EmbedCompress

final class TrellisTests: XCTestCase {
    func testRowsOnGuardedMemory() throws {
        for (dimension, states, mean) in [
            (2, 8, 4), (3, 8, 2), (15, 9, 1), (16, 12, 8), (17, 12, 2), (33, 16, 4), (50, 10, 2), (64, 12, 4),
            (96, 14, 1),
            (300, 16, 6), (17, 8, 3), (1, 12, 8), (2, 16, 4), (3, 14, 1),
        ] {
            var generator = SeededGenerator(seed: UInt64(dimension * states))
            let bits = try bits(dimension, states: states, mean: mean, using: &generator)
            let codeBytes = bits.reduce(0) { $0 + Int($1) } / 8
            let rows = 40
            let bytes = (0..<rows * (codeBytes + 1)).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
            let scales = (0..<256).map { Float($0) * 0.125 }
            let factors = generator.normals(dimension)
            let multiplier = UInt32(truncatingIfNeeded: generator.next())
            let table = try guardedStore(
                "trellis", rows: rows, dimension: dimension,
                fields: #""states":\#(states),"multiplier":\#(multiplier),"code_bytes":\#(codeBytes)"#,
                [
                    try GuardedArray("rows", .u8, [rows, codeBytes + 1], bytes),
                    try GuardedArray("bits", .u8, [dimension], bits),
                    try GuardedArray("scales", .f32, [256], scales),
                    try GuardedArray("factors", .f32, [dimension], factors),
                ])
            var expected: [Float] = []
            for row in 0..<rows {
                let start = row * (codeBytes + 1)
                expected += TrellisReference.values(
                    row: Array(bytes[start...start + codeBytes]), bits: bits, states: states, multiplier: multiplier,
                    scales: scales, factors: factors)
            }
            // One product needs no rounding, so that every level has the same bits.
            XCTAssertEqual(try table.decode(), expected)
            try checkStore(
                table, expected.map { ReferenceValue(Double($0), magnitude: Double($0.magnitude)) }, terms: 2)
        }
    }

    func testChunksThatOnlyLookAlikeAreReadWhereTheyAre() throws {
        // Multiples of 2^28 are their own multipliers after columns without bits, so that 8 bits and 0 bits at the end of a
        // chunk differ in nothing but where the next one begins.
        let run = [UInt8](repeating: 1, count: 14)
        let bits = [2] + run + [8] + (0..<3).flatMap { _ in [2] + run + [0] } + [1] + run + [1]
        let columns = try TrellisColumns(code: TrellisCode(stateBits: 12, multiplier: 1 << 28), bits: bits)
        XCTAssertLessThan(columns.alikeChunks, columns.chunks.count - 1)
        var generator = SeededGenerator(seed: 2)
        let bytes = (0...columns.codeBytes).map { _ in UInt8(truncatingIfNeeded: generator.next()) | 1 }
        let scales = (0..<256).map { Float($0) }
        let factors = [Float](repeating: 1, count: bits.count)
        let table = try guardedStore(
            "trellis", rows: 1, dimension: bits.count,
            fields: #""states":12,"multiplier":\#(1 << 28),"code_bytes":\#(columns.codeBytes)"#,
            [
                try GuardedArray("rows", .u8, [1, columns.codeBytes + 1], bytes),
                try GuardedArray("bits", .u8, [bits.count], bits), try GuardedArray("scales", .f32, [256], scales),
                try GuardedArray("factors", .f32, [bits.count], factors),
            ])
        XCTAssertEqual(
            try table.decode(),
            TrellisReference.values(
                row: bytes, bits: bits, states: 12, multiplier: 1 << 28, scales: scales, factors: factors))
    }

    /// Whole bytes of bits of columns, of which some have none.
    private func bits(
        _ dimension: Int, states: Int, mean: Int, using generator: inout SeededGenerator
    ) throws -> [UInt8] {
        var bits = [UInt8](repeating: UInt8(mean), count: dimension)
        let most = min(8, states - 4)
        for column in stride(from: 0, to: dimension - 2, by: 5) where mean < most && dimension > 8 {
            (bits[column], bits[column + 1]) = (bits[column] - 1, bits[column + 1] + 1)
        }
        var column = 0
        while bits.reduce(0, { $0 + Int($1) }) % 8 != 0 {
            if bits[column % dimension] < most { bits[column % dimension] += 1 }
            column += 1
            if column > 8 * dimension { return [UInt8](repeating: UInt8(most), count: dimension) }
        }
        return bits
    }

    func testSearchFindsNearlyTheNearestOfAllRings() throws {
        let bits: [UInt8] = [2, 3, 0, 3, 2, 0, 0, 4, 2]
        let columns = try TrellisColumns(code: TrellisCode(stateBits: 8, multiplier: 0x5a8b_61eb), bits: bits)
        let search = TrellisSearch(columns, seamColumns: 16)
        var generator = SeededGenerator(seed: 4)
        let factors = generator.normals(bits.count).map { abs($0) + 0.2 }
        let all = (0..<1 << 16).map { ring in
            TrellisReference.values(
                row: [UInt8(ring & 255), UInt8(ring >> 8), 1], bits: bits, states: 8, multiplier: 0x5a8b_61eb,
                scales: [0, 1], factors: factors)
        }
        func error(_ values: [Float], _ row: [Float]) -> Float {
            zip(values, row).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        }
        var (found, least): (Float, Float) = (0, 0)
        for _ in 0..<20 {
            let row = zip(generator.normals(bits.count), factors).map { 150 * $0 * $1 }
            var states = [UInt16](repeating: 0, count: bits.count)
            var floats = [Float](repeating: 0, count: search.scratchFloats + 16)
            var bytes = [UInt8](repeating: 0, count: search.scratchBytes + 16)
            search.encode(row, factors, states: &states, floats: &floats, bytes: &bytes)
            var (ring, position) = (0, 0)
            for column in bits.indices {
                ring |= (Int(states[column]) & (1 << Int(bits[column]) - 1)) << position
                position += Int(bits[column])
            }
            let values = all[ring]
            for column in bits.indices {
                XCTAssertEqual(values[column], factors[column] * search.value(states[column], column: column))
            }
            found += error(values, row)
            least += all.reduce(.infinity) { min($0, error($1, row)) }
        }
        XCTAssertLessThan(found, 1.4 * least)
    }

    func testReflectionsTurnDirectionsOut() throws {
        var generator = SeededGenerator(seed: 8)
        for (dimension, count) in [(3, 1), (3, 2), (5, 5), (40, 10), (70, 69)] {
            var numbers = try DoubleMatrix(rows: dimension, columns: dimension)
            let values = generator.normals(dimension * dimension)
            for place in values.indices { numbers[place / dimension, place % dimension] = Double(values[place]) }
            var gram = try DoubleMatrix(rows: dimension, columns: dimension)
            for row in 0..<dimension {
                for column in 0..<dimension {
                    for inner in 0..<dimension { gram[row, column] += numbers[row, inner] * numbers[column, inner] }
                }
            }
            let directions = try LinearAlgebra.symmetricEigenvectors(gram) {}.vectors.columns(Array(0..<count))
            let vectors = try Reflectors.vectors(turning: directions)
            let table = try Dense(vectors, rows: count, dimension: dimension)
            let row = generator.normals(dimension)
            var turned = row + [Float](repeating: 0, count: 16)
            try Reflectors(table, isForward: true).turn(&turned, stride: dimension, count: 1)
            for index in 0..<count {
                let wanted = (0..<dimension).reduce(0.0) { $0 + Double(row[$1]) * directions[$1, index] }
                XCTAssertEqual(Double(turned[index]).magnitude, wanted.magnitude, accuracy: 1e-4)
            }
            try Reflectors(table, isForward: false).turn(&turned, stride: dimension, count: 1)
            for column in 0..<dimension { XCTAssertEqual(turned[column], row[column], accuracy: 1e-4) }
        }
        assertInvalidArgument("1 to 2 vectors") {
            _ = try Reflectors(try Dense([Float](repeating: 1, count: 6), rows: 3, dimension: 2), isForward: true)
        }
    }

    func testWhatIsNoTrellisIsRefused() throws {
        let code = TrellisCode(stateBits: 12, multiplier: 3)
        assertInvalidArgument("0 to 8 bits") { _ = try TrellisColumns(code: code, bits: [9, 7]) }
        assertInvalidArgument("at most 3 columns") { _ = try TrellisColumns(code: code, bits: [8, 0, 0, 0, 0, 8]) }
        assertInvalidArgument("whole bytes") { _ = try TrellisColumns(code: code, bits: [8, 8, 0]) }
        assertInvalidArgument("whole bytes") { _ = try TrellisColumns(code: code, bits: [4, 3]) }
    }
}
