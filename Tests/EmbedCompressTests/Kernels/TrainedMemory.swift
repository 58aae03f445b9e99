import TestSupport

@testable import EmbedCompress

/// A table in arrays of a test's.
final class TrainedMemory {
    let format: TrainedRows.Format
    let (rows, dimension): (Int, Int)
    var elements: [UInt8]
    var scales: [Float]
    var elementState: [Float]
    var rowState: [Float]

    init(_ format: TrainedRows.Format, rows: Int, dimension: Int, seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        (self.format, self.rows, self.dimension) = (format, rows, dimension)
        let rowBytes = TrainedRows.rowBytes(format, dimension: dimension)
        elements = format.isScaled ? random.bytes(rows * rowBytes) : [UInt8](repeating: 0, count: rows * rowBytes)
        scales = (0..<rows).map { _ in Float(Int.random(in: 128..<256, using: &random)) * 0x1p-12 }
        elementState = random.normals(rows * dimension).map { abs($0) }
        rowState = random.normals(rows).map { abs($0) }
        if !format.isScaled { set((0..<rows * dimension).map { _ in Float(random.normal()) }) }
    }

    /// Writes numbers, the high halves of which the formats of 16 bits have.
    func set(_ values: [Float]) {
        for (place, value) in values.enumerated() {
            switch format {
            case .float32: write(value.bitPattern, bytes: 4, place)
            case .bfloat16: write(value.bitPattern >> 16, bytes: 2, place)
            default: write(UInt32(HalfReference.nearest(value)), bytes: 2, place)
            }
        }
    }

    private func write(_ bits: UInt32, bytes: Int, _ place: Int) {
        for byte in 0..<bytes { elements[place * bytes + byte] = UInt8(truncatingIfNeeded: bits >> UInt32(8 * byte)) }
    }

    func with<Result>(_ body: (TrainedRows) throws -> Result) rethrows -> Result {
        try elements.withUnsafeMutableBytes { elements in
            try scales.withUnsafeMutableBufferPointer { scales in
                try elementState.withUnsafeMutableBufferPointer { elementState in
                    try rowState.withUnsafeMutableBufferPointer { rowState in
                        try body(
                            TrainedRows(
                                elements: elements.baseAddress!, scales: scales.baseAddress,
                                elementState: elementState.baseAddress, rowState: rowState.baseAddress, rows: rows,
                                dimension: dimension, format: format))
                    }
                }
            }
        }
    }

    func step(_ ids: [Int], _ gradients: [Float], _ optimizer: RowOptimizer) throws {
        try with { table in try IDs.with(ids) { try TrainedTables([table]).step($0, gradients: gradients, optimizer) } }
    }

    func write(_ ids: [Int], _ values: [Float], _ slopes: [Float]?, _ how: RowRounding) throws {
        try with { table in
            try IDs.with(ids) { ids in
                guard let slopes else { return try table.write(ids, values: values, slopes: nil, how) }
                try table.write(ids, values: values, slopes: slopes, how)
            }
        }
    }

    func values() throws -> [Float] {
        var values = [Float](repeating: .nan, count: rows * dimension)
        try with { table in try IDs.with(Array(0..<rows)) { try TrainedTables([table]).gather($0, into: &values) } }
        return values
    }
}
