import TestSupport
import XCTest

@testable import EmbedCompress

/// An array of a table that is to lie where a page without access follows.
struct GuardedArray {
    let name: String
    let type: ElementType
    let shape: [Int]
    let memory: GuardedMemory

    init<Element: BitwiseCopyable>(_ name: String, _ type: ElementType, _ shape: [Int], _ values: [Element]) throws {
        (self.name, self.type, self.shape, memory) = (name, type, shape, try GuardedMemory(values))
    }

    /// Numbers as f32 or f16; `values` become what is stored.
    init(_ name: String, _ element: ScaleType, _ shape: [Int], _ values: inout [Float]) throws {
        if element == .float32 {
            try self.init(name, .f32, shape, values)
        } else {
            let halves = values.map(halfFromFloat)
            values = halves.map(floatFromHalf)
            try self.init(name, .f16, shape, halves)
        }
    }
}

/// A table of one store on guarded memory. `fields` are JSON members.
func guardedStore(_ kind: String, rows: Int, dimension: Int, fields: String, _ arrays: [GuardedArray]) throws -> Table {
    let tensors = arrays.map { #""\#($0.name)":"\#($0.name)""# }.joined(separator: ",")
    let tree =
        #"{"kind":"\#(kind)","rows":\#(rows),"dimension":\#(dimension),\#(fields),"tensors":{\#(tensors)}}"#
    let lent = arrays.map {
        LentArray(name: $0.name, type: $0.type, shape: $0.shape, data: UnsafeRawPointer($0.memory.base))
    }
    return try Table(tree: tree, arrays: lent) { withExtendedLifetime(arrays) {} }
}

/// Checks lookups, which go to guarded memory too, bags and slices against `rows * dimension` values.
func checkStore(
    _ table: Table, _ expected: [ReferenceValue], terms: Int, file: StaticString = #filePath, line: UInt = #line
) throws {
    let (rows, dimension) = (table.rows, table.dimension)
    let decoded = try table.decode()
    assertAgree(decoded, expected, terms: terms, "decode", file: file, line: line)
    var generator = SeededGenerator(seed: UInt64(rows * 31 + dimension))
    let ids = generator.integers(min(2 * rows, 600), in: 0..<rows)
    let wanted = ids.flatMap { decoded[$0 * dimension..<($0 + 1) * dimension] }
    let output = try GuardedMemory(count: ids.count * dimension * 4)
    try ids.withUnsafeBytes { bytes in
        try table.lookup(
            IDs(base: bytes.baseAddress, count: ids.count, width: 8), onInvalid: .raise,
            into: output.base.assumingMemoryBound(to: Float.self))
    }
    XCTAssertEqual(output.floats(), wanted, "lookup", file: file, line: line)
    let reference = BagReference(decoded, dimension: dimension)
    let offsets = [0, ids.count / 3, ids.count / 3, ids.count / 2]
    for pooling in [Pooling.sum, .mean, .max] {
        assertAgree(
            try table.bag(ids, offsets: offsets, pooling: pooling),
            reference.pool(ids, offsets: offsets, pooling: pooling), terms: 30, "\(pooling)", file: file, line: line)
    }
    let weights = generator.normals(ids.count)
    assertAgree(
        try table.bag(ids, offsets: offsets, weights: weights),
        reference.pool(ids, offsets: offsets, weights: weights), terms: 30, "weighted", file: file, line: line)
    let slice = try table.slice(rows / 3..<rows)
    XCTAssertEqual(try slice.decode(), Array(decoded[(rows / 3 * dimension)...]), "slice", file: file, line: line)
    XCTAssertEqual(
        try Table(tree: slice.treeText(), arrays: slice.lentArrays()) {}.decode(), try slice.decode(), "parts",
        file: file, line: line)
    let map = (0..<10).map { $0 % 3 == 0 ? -1 : $0 % rows }
    var mapped: [Float] = []
    for id in map {
        mapped +=
            id < 0 ? [Float](repeating: 0, count: dimension) : Array(decoded[id * dimension..<(id + 1) * dimension])
    }
    XCTAssertEqual(try table.remapped(through: map).decode(), mapped, "rows of zeros", file: file, line: line)
}
