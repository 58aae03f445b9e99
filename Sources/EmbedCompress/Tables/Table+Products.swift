/// A node whose rows can be multiplied where they lie.
protocol MultipliedStore: Node {
    /// Vectors in the layout that ``multiply(_:_:into:context:)`` takes; nil if the rows are to be decoded first.
    func productVectors(_ vectors: UnsafePointer<Float>, count: Int) throws -> ProductVectors?
    /// Adds the products of a block's rows with vectors to what is in `output`.
    func multiply(_ ids: IDBlock, _ vectors: ProductVectors, into output: ProductBlock, context: LookupContext)
}

extension Table {
    /// The products of rows `range` with vectors: what a linear layer without a bias computes whose matrix this table is.
    /// In f32. Rows of a `Uniform` of 2, 3, 4 or 8 bits, and of a `Codebook` of 3 or 4 bits with f16 entries, are decoded in
    /// registers as they are multiplied, all others before.
    ///
    /// - Parameters:
    ///   - vectors: `count` vectors of `dimension` floats.
    ///   - bias: One number for each row of the range, or nil.
    ///   - output: `count` times as many numbers as there are rows: the products of a vector one after the other.
    package func multiply(
        _ range: Range<Int>, with vectors: UnsafePointer<Float>, count: Int, bias: UnsafePointer<Float>?,
        into output: UnsafeMutablePointer<Float>
    ) throws {
        try checkRows(range)
        for vector in 0..<count {
            let target = output + vector * range.count
            if let bias {
                target.update(from: bias, count: range.count)
            } else {
                target.update(repeating: 0, count: range.count)
            }
        }
        guard count > 0, !range.isEmpty else { return }
        try reading { try addProducts(range, vectors, count, ProductBlock(base: output, stride: range.count)) }
    }

    private func addProducts(
        _ range: Range<Int>, _ vectors: UnsafePointer<Float>, _ count: Int, _ output: ProductBlock
    ) throws {
        let context = LookupContext(onInvalid: .raise)
        let dimension = dimension
        let store = root as? any MultipliedStore
        if let store, let prepared = try store.productVectors(vectors, count: count), prepared.areSmall {
            forEachBlock(count: range.count) { start, rows, ids in
                for index in 0..<rows { ids[index] = Int64(range.lowerBound + start + index) }
                store.multiply(
                    IDBlock(ids: ids, count: rows), prepared, into: output.rows(from: start), context: context)
            }
        } else {
            let decoded = DecodedRows(dimension: dimension)
            let prepared = try decoded.productVectors(vectors, count: count)
            let most = tileRows(dimension: dimension)
            forEachBlock(count: range.count) { start, rows, ids in
                Scratch.with(min(most, rows) * dimension + 16, of: Float.self) { values in
                    for first in stride(from: 0, to: rows, by: most) {
                        let taken = min(most, rows - first)
                        for index in 0..<taken { ids[index] = Int64(range.lowerBound + start + first + index) }
                        root.gather(
                            IDBlock(ids: ids, count: taken), into: RowBlock(base: values, stride: dimension),
                            context: context)
                        for index in 0..<taken { ids[index] = Int64(index) }
                        decoded.multiply(
                            values, IDBlock(ids: ids, count: taken), prepared,
                            into: output.rows(from: start + first), context: context)
                    }
                }
            }
        }
        _ = try context.finish()
    }
}

/// Rows of floats that were decoded into scratch.
private struct DecodedRows {
    let dimension: Int

    private var groups: ColumnGroups {
        ColumnGroups(dimension: dimension, width: dimension, bits: 32, parameterOffset: 0, parameterStep: 0)
    }

    func productVectors(_ vectors: UnsafePointer<Float>, count: Int) throws -> ProductVectors {
        try ProductVectors(vectors, count: count, dimension: dimension, groups: groups, ordered: FloatRows.ordered)
    }

    func multiply(
        _ values: UnsafeMutablePointer<Float>, _ ids: IDBlock, _ vectors: ProductVectors, into output: ProductBlock,
        context: LookupContext
    ) {
        let start = UnsafeRawPointer(values)
        let places = RowPlaces(
            start: start, rows: ids.count, rowBytes: 4 * dimension, byteCount: 4 * dimension * ids.count, zeros: start,
            spare: start, copiedFrom: ids.count)
        RowKernels<FloatRows, Unscaled>.multiply(
            places, groups: groups, shared: nil, ids: ids, vectors, into: output, context: context)
    }
}

extension Uniform: MultipliedStore {
    func productVectors(_ vectors: UnsafePointer<Float>, count: Int) throws -> ProductVectors? {
        let ordered: (Tile) -> Tile
        switch bits {
        case 2: ordered = Codes2.ordered
        case 3: ordered = Codes3.ordered
        case 4: ordered = Codes4.ordered
        case 8: ordered = Codes8.ordered
        default: return nil
        }
        return try ProductVectors(
            vectors, count: count, dimension: dimension, groups: layout.groups, ordered: ordered)
    }

    func multiply(_ ids: IDBlock, _ vectors: ProductVectors, into output: ProductBlock, context: LookupContext) {
        @inline(__always)
        func multiply<Format: CodeFormat>(_: Format.Type) {
            scaleType == .float16
                ? RowKernels<Format, HalfScaled>.multiply(
                    memory.places, groups: layout.groups, shared: shared, ids: ids, vectors, into: output,
                    context: context)
                : RowKernels<Format, FloatScaled>.multiply(
                    memory.places, groups: layout.groups, shared: shared, ids: ids, vectors, into: output,
                    context: context)
        }
        switch bits {
        case 2: multiply(Codes2.self)
        case 3: multiply(Codes3.self)
        case 4: multiply(Codes4.self)
        default: multiply(Codes8.self)
        }
    }
}

extension Codebook: MultipliedStore {
    func productVectors(_ vectors: UnsafePointer<Float>, count: Int) throws -> ProductVectors? {
        guard bits == 4 || bits == 3, entryType == .float16 else { return nil }
        return try ProductVectors(
            vectors, count: count, dimension: dimension, groups: groups,
            ordered: bits == 4 ? Codes4.ordered : Codes3.ordered)
    }

    func multiply(_ ids: IDBlock, _ vectors: ProductVectors, into output: ProductBlock, context: LookupContext) {
        @inline(__always)
        func multiply<Codes: CodeFormat>(_: Codes.Type) {
            rowScale == nil
                ? RowKernels<RegisterBook<Codes, HalfEntries>, Unscaled>.multiply(
                    memory.places, groups: groups, shared: shared, ids: ids, vectors, into: output, context: context)
                : RowKernels<RegisterBook<Codes, HalfEntries>, HalfRowScaled>.multiply(
                    memory.places, groups: groups, shared: shared, ids: ids, vectors, into: output, context: context)
        }
        bits == 4 ? multiply(Codes4.self) : multiply(Codes3.self)
    }
}
