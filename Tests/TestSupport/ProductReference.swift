import EmbedCompress

/// Rows of `Product`, read bit by bit.
public struct ProductReference {
    public let dimension: Int
    public let parts: Int
    public let bits: Int
    public let isSum: Bool
    public let element: ScaleType

    public init(dimension: Int, parts: Int, bits: Int, isSum: Bool = false, element: ScaleType = .float32) {
        (self.dimension, self.parts, self.bits) = (dimension, parts, bits)
        (self.isSum, self.element) = (isSum, element)
    }

    public var rowBytes: Int { (parts * bits + 7) / 8 }
    public var elementCount: Int { (isSum ? parts : 1) * dimension << bits }
    public var mode: String { isSum ? "sum" : "concatenate" }

    /// The columns of each part, in the order of parts.
    public var columns: [Range<Int>] {
        if isSum { return Array(repeating: 0..<dimension, count: parts) }
        var start = 0
        return (0..<parts).map { part in
            let width = dimension / parts + (part < dimension % parts ? 1 : 0)
            defer { start += width }
            return start..<start + width
        }
    }

    /// Part `part` of a row of codes.
    public func code(_ row: [UInt8], part: Int) -> Int {
        (0..<bits).reduce(0) { code, bit in
            let place = part * bits + bit
            return code | Int(row[place / 8] >> (place % 8) & 1) << bit
        }
    }

    /// What a row decodes to.
    public func decode(_ row: [UInt8], codebooks: [Float]) -> [Float] {
        var values = [Float](repeating: 0, count: dimension)
        var offset = 0
        for (part, columns) in columns.enumerated() {
            let entry = offset + code(row, part: part) * columns.count
            for (index, column) in columns.enumerated() {
                let value = codebooks[entry + index]
                values[column] = isSum && part > 0 ? values[column] + value : value
            }
            offset += columns.count << bits
        }
        return values
    }

    /// Random rows and codebooks. Numbers are eighths, which every type of elements holds.
    public func random(rows: Int, using generator: inout SeededGenerator) -> (rows: [[UInt8]], codebooks: [Float]) {
        let bytes = (0..<rows).map { _ in (0..<rowBytes).map { _ in UInt8(truncatingIfNeeded: generator.next()) } }
        let books = (0..<elementCount).map { _ in Float(Int(truncatingIfNeeded: generator.next() % 2001) - 1000) / 8 }
        return (bytes, books)
    }

    /// Codebooks as they are stored.
    public func bytes(_ codebooks: [Float]) -> [UInt8] {
        codebooks.flatMap { value -> [UInt8] in
            switch element {
            case .float32: return withUnsafeBytes(of: value.bitPattern.littleEndian) { Array($0) }
            case .float16:
                return withUnsafeBytes(of: HalfReference.nearest(value).littleEndian) { Array($0) }
            }
        }
    }
}
