import Foundation
import TestSupport
import XCTest

@testable import EmbedCompress

/// Table files with bytes changed at random: each must open as a table that answers every question, or give an
/// `EmbedCompressError`. Reading out of bounds would end the process.
final class TableFileFuzzTests: TemporaryFolderTestCase {
    private let tokens = [
        "{", "}", "[", "]", ",", ":", "\"", "-1", "0", "1", "2", "7", "9223372036854775807", "4611686018427387904",
        "16777216",
        "1e3", "null", "dense", "uniform", "codebook", "remap", "table", "cluster", "map", "hash", "quotient", "f32",
        "f16", "F16", "U8", "I64",
        "\\u0000",
    ]

    /// What a mutated file may still say without lookups becoming slow.
    private let mostValues = 200_000

    private func seeds() throws -> [Table] {
        var generator = SeededGenerator(seed: 120)
        let uniform = try randomUniform(
            UniformReference(dimension: 19, bits: 3, group: 8), rows: 9, using: &generator
        ).table
        let dense = try randomDense(rows: 6, dimension: 5, seed: 121)
        let format = CodebookReference(dimension: 7, bits: 3, clusters: 300)
        let (rows, books) = format.random(rows: 12, using: &generator)
        return [
            uniform, dense, try guardedTable(format, rows: rows, codebooks: books),
            try guardedTable(bits: 4, dimension: 5, rows: [[1, 2, 3], [4, 5, 6]], scale: 0.5, bias: 1),
            try dense.remapped(through: [5, -1, 0, 2, 2, 4]),
            try uniform.remapped(rows: 40, dividedBy: 5).remapped(through: [39, 0, 7]).remapped(rows: 20, modulo: 3),
        ]
    }

    private func mutate(_ bytes: inout [UInt8], headerEnd: Int, using generator: inout SeededGenerator) {
        for _ in 0..<Int.random(in: 1...3, using: &generator) where !bytes.isEmpty {
            let inHeader = Int.random(in: 0..<5, using: &generator) > 0
            let limit = inHeader ? min(headerEnd, bytes.count) : bytes.count
            let position = Int.random(in: 0..<limit, using: &generator)
            switch Int.random(in: 0..<7, using: &generator) {
            case 0: bytes[position] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
            case 1: bytes[position] = .random(in: 0...255, using: &generator)
            case 2: bytes[position] = .random(in: UInt8(ascii: "0")...UInt8(ascii: "9"), using: &generator)
            case 3:
                // A number or a word for another, in a header whose length stays what it was.
                let token = Array((tokens.randomElement(using: &generator) ?? "").utf8)
                let end = min(position + token.count, bytes.count)
                bytes.replaceSubrange(position..<end, with: token.prefix(end - position))
            case 4:
                let digits = bytes.indices.filter { $0 < headerEnd && (48...57).contains(bytes[$0]) }
                if let place = digits.randomElement(using: &generator) {
                    bytes[place] = .random(in: 48...57, using: &generator)
                }
            case 5: bytes.removeLast(Int.random(in: 0...min(bytes.count, 40), using: &generator))
            default: bytes.append(contentsOf: generator.bytes(Int.random(in: 1...8, using: &generator)))
            }
        }
    }

    /// Asks a table everything there is to ask; anything but an `EmbedCompressError` fails.
    private func exercise(_ table: Table) throws {
        let rows = min(table.rows, 300)
        let ids = Array(0..<rows) + (table.rows > 0 ? [table.rows - 1] : [])
        guard (ids.count + 1).multipliedReportingOverflow(by: table.dimension).partialValue < mostValues else { return }
        func attempt(_ body: () throws -> Void) throws {
            do { try body() } catch is EmbedCompressError {}
        }
        for onInvalid in [InvalidIDs.raise, .zero] {
            try attempt {
                let values = try table.lookup(ids, onInvalid: onInvalid)
                XCTAssertEqual(values.count, ids.count * table.dimension)
            }
            for pooling in [Pooling.sum, .mean, .max] {
                try attempt {
                    _ = try table.bag(ids, offsets: [0, ids.count / 2], pooling: pooling, onInvalid: onInvalid)
                }
            }
        }
        if table.rows <= 300 {
            try attempt { _ = try table.decode() }
            try attempt { _ = try table.compressed("asym", ["bits": 2]) }
            try attempt { _ = try table.quality(against: table) }
        }
        try attempt { _ = try table.slice(table.rows / 2..<table.rows).lookup([0]) }
        XCTAssertFalse(table.description.isEmpty)
        XCTAssertGreaterThanOrEqual(table.storedBytes, 0)
        XCTAssertFalse(table.parts().arrays.isEmpty)
    }

    func testMutatedFilesGiveErrorsOrTables() throws {
        var generator = SeededGenerator(seed: 122)
        var opened = 0
        var errors: [String: Int] = [:]
        for (index, seed) in try seeds().enumerated() {
            try seed.save(to: path("seed"))
            let valid = try contents("seed")
            let headerEnd = 8 + Int(valid[0]) + Int(valid[1]) << 8
            for round in 0..<1000 {
                var bytes = valid
                mutate(&bytes, headerEnd: headerEnd, using: &generator)
                do {
                    let file: TableFile
                    try put(bytes, "mutant")
                    file = try TableFile(path: path("mutant"))
                    for name in file.names {
                        try exercise(try file.table(name, map: round % 2 == 0))
                        opened += 1
                    }
                } catch let error as EmbedCompressError {
                    XCTAssertFalse(error.description.isEmpty)
                    let name = String(reflecting: error).split(separator: "(").prefix(2).joined()
                    errors[name, default: 0] += 1
                } catch {
                    XCTFail("seed \(index), round \(round): \(error)")
                }
            }
        }
        XCTAssertGreaterThan(opened, 100)
        XCTAssertGreaterThan(errors.count, 15, "\(errors)")
    }

    /// Random bytes in the place of codes, scales and map entries, in a file whose header is right.
    func testRandomDataUnderAValidHeader() throws {
        var generator = SeededGenerator(seed: 123)
        for seed in try seeds() {
            try seed.save(to: path("seed"))
            let valid = try contents("seed")
            let start = try SafetensorsFile(path: path("seed")).header.dataStart
            for _ in 0..<100 {
                let data = generator.bytes(valid.count - start)
                try put(Array(valid[..<start]) + data, "mutant")
                let table = try Table(contentsOf: path("mutant"), map: Bool.random(using: &generator))
                XCTAssertEqual(table.rows, seed.rows)
                try exercise(table)
            }
        }
    }

    /// The same for the JSON and the arrays that other languages hand over.
    func testMutatedParts() throws {
        var generator = SeededGenerator(seed: 124)
        var opened = 0
        for seed in try seeds() {
            let tree = Array(try seed.treeText().utf8)
            let arrays = seed.lentArrays()
            for _ in 0..<600 {
                var bytes = tree
                mutate(&bytes, headerEnd: tree.count, using: &generator)
                guard let text = String(validating: bytes, as: UTF8.self) else { continue }
                do {
                    try exercise(try Table(tree: text, arrays: arrays) {})
                    opened += 1
                } catch is EmbedCompressError {}
            }
        }
        XCTAssertGreaterThan(opened, 50)
    }
}
