import EmbedCompress

/// Pooled lookups, one bag and one column at a time, in double precision: what `torch.nn.EmbeddingBag` means.
public struct BagReference {
    /// The rows of the table. A value's magnitude is the size of what it was computed from, such as `scale * code` and
    /// `bias`, which kernels may sum apart.
    public var rows: [[ReferenceValue]]
    public var dimension: Int

    public init(_ values: [ReferenceValue], dimension: Int) {
        rows = stride(from: 0, to: values.count, by: dimension).map { Array(values[$0..<$0 + dimension]) }
        self.dimension = dimension
    }

    /// - Parameter values: `rows.count * dimension` numbers, row after row.
    public init(_ values: [Float], dimension: Int) {
        self.init(values.map { ReferenceValue(Double($0), magnitude: Double($0.magnitude)) }, dimension: dimension)
    }

    /// Bag after bag; ids outside the table stand for a row of zeros.
    public func pool(
        _ ids: [Int], offsets: [Int], pooling: Pooling = .sum, weights: [Float]? = nil, paddingID: Int? = nil,
        includesLastOffset: Bool = false
    ) -> [ReferenceValue] {
        let starts = includesLastOffset ? Array(offsets.dropLast()) : offsets
        var result: [ReferenceValue] = []
        for (bag, start) in starts.enumerated() {
            let end = bag + 1 < offsets.count ? offsets[bag + 1] : ids.count
            let positions = (start..<end).filter { ids[$0] != paddingID }
            for column in 0..<dimension {
                let terms = positions.map { position -> ReferenceValue in
                    guard rows.indices.contains(ids[position]) else { return ReferenceValue(0, magnitude: 0) }
                    let value = rows[ids[position]][column]
                    let weight = Double(weights?[position] ?? 1)
                    return ReferenceValue(weight * value.value, magnitude: abs(weight) * value.magnitude)
                }
                result.append(pool(terms, pooling))
            }
        }
        return result
    }

    private func pool(_ terms: [ReferenceValue], _ pooling: Pooling) -> ReferenceValue {
        guard let largest = terms.map(\.value).max() else { return ReferenceValue(0, magnitude: 0) }
        let sum = terms.reduce(0) { $0 + $1.value }
        let magnitude = terms.reduce(0) { $0 + $1.magnitude }
        switch pooling {
        case .sum: return ReferenceValue(sum, magnitude: magnitude)
        case .mean: return ReferenceValue(sum / Double(terms.count), magnitude: magnitude / Double(terms.count))
        case .max: return ReferenceValue(largest, magnitude: 0)
        }
    }
}
