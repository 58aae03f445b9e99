/// How the scale and bias of a row, or of a group of its columns, are chosen. A method of the 4-bit paper is one of these.
protocol RangeSearch: Sendable {
    /// The range to store for `row`. `widest` is the one from its minimum to its maximum, as stored; the result's squared error must
    /// not be larger than that one's.
    func range(of row: RowValues, extent: (minimum: Float, maximum: Float), widest: StoredRange, lastCode: Float, type: ScaleType)
        -> StoredRange
}

/// What codes look like: everything about uniform quantization that is not the choice of ranges.
struct UniformFormat: Sendable {
    var bits = 4
    /// Columns that share a scale and a bias; nil for the row.
    var group: Int?
    /// nil: f16 up to 8 bits, f32 for 16, whose steps are finer than f16's.
    var scaleType: ScaleType?

    func layout(dimension: Int) throws -> Uniform.Layout {
        try Uniform.Layout(
            dimension: dimension, bits: bits, group: group, scaleType: scaleType ?? (bits > 8 ? .float32 : .float16))
    }
}

extension Uniform {
    /// Quantizes every row of `source`, in parallel over rows.
    static func quantize(
        _ source: any Node, format: UniformFormat, search: some RangeSearch, progress callback: Progress.Callback?
    ) throws -> Uniform {
        let layout = try format.layout(dimension: source.dimension)
        let rows = source.rows
        guard let byteCount = Checked.product(rows, layout.rowBytes) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        let bytes = Bytes(try ByteStorage.allocate(byteCount))
        let target = bytes.mutablePointer
        try RowReader.forEachBlock(of: source, progress: Progress(total: rows, callback: callback)) { first, count, values in
            try withUnsafeTemporaryAllocation(of: UInt16.self, capacity: layout.dimension + 16) { codes in
                guard let codes = codes.baseAddress else { return }
                for index in 0..<count {
                    let row = first + index
                    try quantize(
                        values.row(index), row: row, layout: layout, search: search, codes: codes,
                        to: target + row * layout.rowBytes)
                }
            }
        }
        return try Uniform(bytes, rows: rows, layout: layout)
    }

    private static func quantize(
        _ values: UnsafePointer<Float>, row: Int, layout: Layout, search: some RangeSearch,
        codes: UnsafeMutablePointer<UInt16>, to target: UnsafeMutableRawPointer
    ) throws {
        let lastCode = Float((1 << layout.bits) - 1)
        for group in layout.groups {
            let columns = RowValues(base: values + group.firstColumn, count: group.columns)
            guard columns.isFinite() else { throw nonFinite(values, dimension: layout.dimension, row: row) }
            let extent = columns.extent()
            let widest = StoredRange(
                minimum: extent.minimum, maximum: extent.maximum, lastCode: lastCode, type: layout.scaleType)
            guard widest.isFinite else {
                throw EmbedCompressError.invalidArgument(
                    "row \(row) has values from \(extent.minimum) to \(extent.maximum), beyond the range of "
                        + (layout.scaleType == .float16 ? "f16 scales (65504); use scale_dtype 'f32'" : "f32 scales"))
            }
            let range = search.range(of: columns, extent: extent, widest: widest, lastCode: lastCode, type: layout.scaleType)
            columns.encode(range, lastCode: lastCode, to: codes + group.firstColumn)
            layout.scaleType.store(range, at: target + group.scaleOffset)
        }
        CodePacking.pack(codes, count: layout.dimension, bits: layout.bits, to: target)
    }

    private static func nonFinite(_ values: UnsafePointer<Float>, dimension: Int, row: Int) -> EmbedCompressError {
        for column in 0..<dimension where !values[column].isFinite {
            return .invalidArgument("row \(row) has \(values[column]) in column \(column); every value must be finite")
        }
        return .invalidArgument("row \(row) has differences beyond the range of f32")
    }
}

extension ScaleType {
    fileprivate func store(_ range: StoredRange, at place: UnsafeMutableRawPointer) {
        switch self {
        case .float16:
            let both = UInt32(halfFromFloat(range.scale)) | UInt32(halfFromFloat(range.bias)) << 16
            place.storeBytes(of: both.littleEndian, as: UInt32.self)
        case .float32:
            place.storeBytes(of: range.scale, as: Float.self)
            (place + 4).storeBytes(of: range.bias, as: Float.self)
        }
    }
}
