import TestSupport
import XCTest

@testable import EmbedCompress

/// Row lengths around every boundary of the kernels.
let testDimensions = [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 300, 768]

/// A table on memory that ends where a page without access begins.
func guardedTable(_ kind: String, fields: String, type: ElementType, shape: [Int], dimension: Int, bytes: [UInt8])
    throws
    -> Table
{
    let memory = try GuardedMemory(bytes)
    let tree =
        #"{"kind":"\#(kind)","rows":\#(shape[0]),"dimension":\#(dimension),\#(fields),"tensors":{"rows":"rows"}}"#
    let array = LentArray(name: "rows", type: type, shape: shape, data: UnsafeRawPointer(memory.base))
    return try Table(tree: tree, arrays: [array]) { withExtendedLifetime(memory) {} }
}

/// A table of these rows of `Codebook`, all on guarded memory.
func guardedTable(_ format: CodebookReference, rows: [[UInt8]], codebooks: [UInt8] = []) throws -> Table {
    let memory = try GuardedMemory(rows.flatMap { $0 })
    let books = try GuardedMemory(codebooks)
    var fields = #""bits":\#(format.bits),"entries":"\#(format.entryType.rawValue)","scope":"\#(format.scope)""#
    var tensors = #""rows":"rows""#
    var arrays = [
        LentArray(
            name: "rows", type: .u8, shape: [rows.count, format.rowBytes], data: UnsafeRawPointer(memory.base))
    ]
    if let clusters = format.clusters {
        if !format.isTable { fields += #","clusters":\#(clusters)"# }
        tensors += #","codebooks":"books""#
        arrays.append(
            LentArray(
                name: "books", type: format.entryType == .float16 ? .f16 : .f32,
                shape: [clusters, format.entryCount], data: UnsafeRawPointer(books.base)))
    }
    let tree =
        #"{"kind":"codebook","rows":\#(rows.count),"dimension":\#(format.dimension),\#(fields),"tensors":{\#(tensors)}}"#
    return try Table(tree: tree, arrays: arrays) { withExtendedLifetime((memory, books)) {} }
}

/// A table of rows of codes of `Uniform` with one scale and bias, all on guarded memory.
func guardedTable(bits: Int, dimension: Int, rows: [[UInt8]], scale: Float, bias: Float) throws -> Table {
    let memory = try GuardedMemory(rows.flatMap { $0 })
    let parameters = try GuardedMemory([scale, bias])
    let tree =
        #"{"kind":"uniform","rows":\#(rows.count),"dimension":\#(dimension),"bits":\#(bits),"group":\#(dimension),"#
        + #""scale":"f32","scope":"table","tensors":{"rows":"rows","parameters":"parameters"}}"#
    let arrays = [
        LentArray(
            name: "rows", type: .u8, shape: [rows.count, (dimension * bits + 7) / 8],
            data: UnsafeRawPointer(memory.base)),
        LentArray(name: "parameters", type: .f32, shape: [2], data: UnsafeRawPointer(parameters.base)),
    ]
    return try Table(tree: tree, arrays: arrays) { withExtendedLifetime((memory, parameters)) {} }
}

/// A table of these rows of `Uniform`, on guarded memory.
func guardedTable(_ format: UniformReference, rows: [[UInt8]]) throws -> Table {
    try guardedTable(
        "uniform",
        fields: #""bits":\#(format.bits),"group":\#(format.groupColumns),"scale":"\#(format.scaleType.rawValue)""#,
        type: .u8, shape: [rows.count, format.rowBytes], dimension: format.dimension, bytes: rows.flatMap { $0 })
}

/// A table of dense rows given by their bytes, on guarded memory.
func guardedTable(_ element: Dense.Element, bytes: [UInt8], dimension: Int) throws -> Table {
    let rows = bytes.count / (dimension * element.type.byteCount)
    return try guardedTable(
        "dense", fields: #""element":"\#(element.rawValue)""#, type: element.type, shape: [rows, dimension],
        dimension: dimension, bytes: bytes)
}

func denseTable(_ values: [Float], dimension: Int) throws -> Table {
    Table(try Dense(values, rows: values.count / dimension, dimension: dimension))
}

/// Random rows of `Uniform`, and what they decode to.
func randomUniform(_ format: UniformReference, rows: Int, using generator: inout SeededGenerator) throws -> (
    table: Table, values: [ReferenceValue]
) {
    let bytes = (0..<rows).map { _ in format.random(using: &generator) }
    return (try guardedTable(format, rows: bytes), bytes.flatMap { format.decode($0[...]) })
}

/// A dense table of random numbers.
func randomDense(rows: Int, dimension: Int, seed: UInt64) throws -> Table {
    var generator = SeededGenerator(seed: seed)
    return try denseTable(generator.normals(rows * dimension), dimension: dimension)
}

/// The rows of a `Uniform` or `Codebook` table, or of the one under its routes, as they are stored.
func storedRows(_ table: Table) throws -> [[UInt8]] {
    let rows = try XCTUnwrap(table.parts().arrays.first { $0.name.hasSuffix("rows") })
    let all = withExtendedLifetime(rows.bytes.storage) { [UInt8](rows.bytes.buffer) }
    return (0..<rows.shape[0]).map { Array(all[$0 * rows.shape[1]..<($0 + 1) * rows.shape[1]]) }
}

/// Calls `body` with as many threads as each of `counts`, and checks that the results are the same bit for bit.
func assertSameForThreadCounts(
    _ message: String = "", counts: [Int] = [1, 2, 4, 7], file: StaticString = #filePath, line: UInt = #line,
    _ body: () throws -> [Float]
) throws {
    let before = Parallel.threadCount
    defer { Parallel.threadCount = before }
    var first: [UInt32]?
    for count in counts {
        Parallel.threadCount = count
        let result = try body().map(\.bitPattern)
        XCTAssertTrue(first == nil || result == first, "\(count) threads \(message)", file: file, line: line)
        first = first ?? result
    }
}

func assertAgree(
    _ results: [Float], _ expected: [ReferenceValue], terms: Int = 1, _ message: @autoclosure () -> String = "",
    file: StaticString = #filePath, line: UInt = #line
) {
    guard results.count == expected.count else {
        return XCTFail("\(results.count) values, not \(expected.count): \(message())", file: file, line: line)
    }
    for index in results.indices where !expected[index].agrees(with: results[index], terms: terms) {
        return XCTFail(
            "\(results[index]) at \(index), not \(expected[index].value): \(message())", file: file, line: line)
    }
}

func assertThrows(
    _ expected: EmbedCompressError, file: StaticString = #filePath, line: UInt = #line, _ body: () throws -> Void
) {
    XCTAssertThrowsError(try body(), file: file, line: line) {
        XCTAssertEqual($0 as? EmbedCompressError, expected, file: file, line: line)
    }
}

/// Checks that `body` throws an `invalidArgument` whose text has all of `parts`.
func assertInvalidArgument(
    _ parts: String..., file: StaticString = #filePath, line: UInt = #line, _ body: () throws -> Void
) {
    XCTAssertThrowsError(try body(), file: file, line: line) { error in
        guard case .invalidArgument(let text) = error as? EmbedCompressError else {
            return XCTFail("\(error)", file: file, line: line)
        }
        for part in parts { XCTAssertTrue(text.contains(part), "'\(text)' lacks '\(part)'", file: file, line: line) }
    }
}
