import EmbedCompress

/// Rows of `Uniform`, read bit by bit.
public struct UniformReference {
    public let dimension: Int
    public let bits: Int
    /// Columns that share a scale and a bias; nil for the row.
    public let group: Int?
    public let scaleType: ScaleType

    public init(dimension: Int, bits: Int, group: Int? = nil, scaleType: ScaleType = .float16) {
        (self.dimension, self.bits, self.group, self.scaleType) = (dimension, bits, group, scaleType)
    }

    public var groupColumns: Int { min(group ?? dimension, dimension) }
    public var groups: Int { (dimension + groupColumns - 1) / groupColumns }
    public var codeBytes: Int { (dimension * bits + 7) / 8 }
    private var scaleBytes: Int { scaleType == .float16 ? 2 : 4 }
    public var rowBytes: Int { codeBytes + groups * 2 * scaleBytes }

    /// The code of a column: bits `column * bits ..< column * bits + bits` of the row, low bits first.
    public func code(_ row: ArraySlice<UInt8>, column: Int) -> Int {
        var code = 0
        for bit in 0..<bits {
            let place = column * bits + bit
            if row[row.startIndex + place / 8] >> (place % 8) & 1 == 1 { code |= 1 << bit }
        }
        return code
    }

    public func codes(_ row: ArraySlice<UInt8>) -> [Int] { (0..<dimension).map { code(row, column: $0) } }

    /// The scale and bias of a group: after the codes, one pair for each group.
    public func parameters(_ row: ArraySlice<UInt8>, group: Int) -> (scale: Float, bias: Float) {
        let start = row.startIndex + codeBytes + group * 2 * scaleBytes
        func number(_ place: Int) -> Float {
            var pattern: UInt32 = 0
            for byte in 0..<scaleBytes { pattern |= UInt32(row[place + byte]) << (8 * byte) }
            return scaleType == .float16
                ? Float(HalfReference.value(UInt16(pattern))) : Float(bitPattern: pattern)
        }
        return (number(start), number(start + scaleBytes))
    }

    /// `scale * code + bias` of every column, and the largest rounding error that f32 arithmetic may add.
    public func decode(_ row: ArraySlice<UInt8>) -> [ReferenceValue] {
        (0..<dimension).map { column in
            let (scale, bias) = parameters(row, group: column / groupColumns)
            let product = Double(scale) * Double(code(row, column: column))
            return ReferenceValue(product + Double(bias), magnitude: abs(product) + abs(Double(bias)))
        }
    }

    /// A row with these codes and parameters.
    public func encode(codes: [Int], parameters: [(scale: Float, bias: Float)]) -> [UInt8] {
        var row = [UInt8](repeating: 0, count: rowBytes)
        for (column, code) in codes.enumerated() {
            for bit in 0..<bits where code >> bit & 1 == 1 {
                let place = column * bits + bit
                row[place / 8] |= 1 << (place % 8)
            }
        }
        for (group, pair) in parameters.enumerated() {
            for (index, value) in [pair.scale, pair.bias].enumerated() {
                let start = codeBytes + (2 * group + index) * scaleBytes
                let pattern = scaleType == .float16 ? UInt32(HalfReference.nearest(value)) : value.bitPattern
                for byte in 0..<scaleBytes { row[start + byte] = UInt8(truncatingIfNeeded: pattern >> (8 * byte)) }
            }
        }
        return row
    }

    /// A row of random codes with parameters of a usual size.
    public func random(using generator: inout SeededGenerator) -> [UInt8] {
        encode(
            codes: generator.integers(dimension, in: 0..<1 << bits),
            parameters: (0..<groups).map { _ in (abs(generator.normal()) / 10 + 0.01, generator.normal()) })
    }
}

/// A value in double precision, with the sum of the magnitudes that went into it.
public struct ReferenceValue: Sendable {
    public var value: Double
    public var magnitude: Double

    public init(_ value: Double, magnitude: Double) { (self.value, self.magnitude) = (value, magnitude) }

    /// Whether an f32 result is this value but for the rounding of `terms` additions.
    public func agrees(with result: Float, terms: Int = 1) -> Bool {
        abs(Double(result) - value) <= magnitude * Double(terms + 1) * 0x1p-23 + 0x1p-149
    }
}
