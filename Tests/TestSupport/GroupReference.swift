import EmbedCompress

/// Quantization of a matrix in groups, element by element.
public struct GroupReference {
    public let groups: MatrixGroups
    public let rows: Int
    public let columns: Int
    public let bits: Int
    public let scaleType: ScaleType

    public init(_ groups: MatrixGroups, rows: Int, columns: Int, bits: Int, scaleType: ScaleType) {
        (self.groups, self.rows, self.columns) = (groups, rows, columns)
        (self.bits, self.scaleType) = (bits, scaleType)
    }

    private func size(_ length: Int, _ count: Int) -> Int { (length + count - 1) / count }

    /// The group of an element, by the words of the documentation.
    public func group(row: Int, column: Int) -> Int {
        switch groups {
        case .tensor: return 0
        case .rows(let count): return row / size(rows, count)
        case .columns(let count): return column / size(columns, count)
        case .blocks(let block):
            let width = block ?? columns
            return row * ((columns + width - 1) / width) + column / width
        }
    }

    public var count: Int { group(row: rows - 1, column: columns - 1) + 1 }

    private func stored(_ value: Float) -> Float {
        groups != .tensor && scaleType == .float16 ? HalfReference.rounded(value) : value
    }

    /// Scales and biases from the least to the largest element of each group.
    public func minMax(_ values: [Float]) -> (scales: [Float], biases: [Float]) {
        var lows = [Float](repeating: .infinity, count: count)
        var highs = [Float](repeating: -.infinity, count: count)
        for (place, value) in values.enumerated() {
            let group = group(row: place / columns, column: place % columns)
            (lows[group], highs[group]) = (min(lows[group], value), max(highs[group], value))
        }
        let last = Float((1 << bits) - 1)
        return (zip(lows, highs).map { stored(($1 - $0) / last) }, lows.map(stored))
    }

    /// What the codes that are nearest to the values stand for.
    public func decoded(_ values: [Float], scales: [Float], biases: [Float]) -> [Float] {
        values.enumerated().map { place, value in
            let group = group(row: place / columns, column: place % columns)
            let (scale, bias) = (scales[group], biases[group])
            guard scale > 0 else { return bias }
            let code = ((value - bias) / scale).rounded(.toNearestOrEven)
            return scale * min(max(code, 0), Float((1 << bits) - 1)) + bias
        }
    }
}
