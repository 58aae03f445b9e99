/// How the scales and biases of rows, or of groups of their columns, are chosen. A method of the 4-bit paper is one of
/// these.
protocol RangeSearch: Sendable {
    /// The ranges to store. No row's squared error may be larger than under `batch.widest`.
    func ranges(of batch: RowBatch) -> Ranges
}

/// What codes look like: everything about uniform quantization that is not the choice of ranges.
struct UniformFormat: Sendable {
    var bits = 4
    /// Columns that share a scale and a bias; nil for the row.
    var group: Int?
    /// nil: f16 up to 8 bits, f32 for 16, whose steps are finer than f16's.
    var scaleType: ScaleType?

    /// The largest code.
    var lastCode: Float { Float((1 << bits) - 1) }

    func layout(dimension: Int) throws -> Uniform.Layout {
        try Uniform.Layout(
            dimension: dimension, bits: bits, group: group, scaleType: scaleType ?? (bits > 8 ? .float32 : .float16))
    }
}

extension Uniform {
    /// Quantizes every row of `source`, in parallel over blocks of rows.
    static func quantize(
        _ source: any Node, format: UniformFormat, search: some RangeSearch, progress callback: ProgressCallback?
    ) throws -> Uniform {
        let layout = try format.layout(dimension: source.dimension)
        let rows = source.rows
        guard let byteCount = Checked.product(rows, layout.rowBytes) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        let bytes = Bytes(try ByteStorage.allocate(byteCount))
        let target = bytes.mutablePointer
        let encoder = UniformEncoder(layout: layout, search: search)
        try RowReader.forEachBlock(of: source, progress: ProgressCounter(total: rows, callback: callback)) {
            first, count, values in
            for start in stride(from: 0, to: count, by: RowBatch.lanes) {
                let block = FloatBlock(base: values.row(start), stride: values.stride)
                try encoder.encode(
                    block, rows: first + start..<first + min(start + RowBatch.lanes, count),
                    to: target + (first + start) * layout.rowBytes)
            }
        }
        return try Uniform(bytes, rows: rows, layout: layout)
    }
}

/// Turns up to sixteen rows of floats into stored rows.
private struct UniformEncoder<Search: RangeSearch> {
    let layout: Uniform.Layout
    let search: Search

    func encode(_ values: FloatBlock, rows: Range<Int>, to target: UnsafeMutableRawPointer) throws {
        let format = RangeFormat(bits: layout.bits, type: layout.scaleType)
        // ASYM looks at nothing but the extents, which need no columns.
        let columnSpace = Search.self == MinMax.self ? 1 : layout.group
        try withUnsafeTemporaryAllocation(of: Floats16.self, capacity: columnSpace) { space in
            guard let columns = space.baseAddress else { return }
            for group in layout.groups {
                let batch = try self.batch(group, values, rows, format, columns)
                let ranges = search.ranges(of: batch)
                for lane in 0..<rows.count {
                    let row = target + lane * layout.rowBytes
                    let source = RowValues(base: values.row(lane) + group.firstColumn, count: group.columns)
                    encode(source, ranges.row(lane), format, to: row + group.offset)
                    layout.scaleType.store(ranges, lane, at: row + group.parameterOffset)
                }
            }
        }
    }

    /// The rows' columns of a group side by side. Lanes past the last row repeat it.
    @inline(__always)
    private func batch(
        _ group: ColumnGroup, _ values: FloatBlock, _ rows: Range<Int>, _ format: RangeFormat,
        _ columns: UnsafeMutablePointer<Floats16>
    ) throws -> RowBatch {
        var minimum = Floats16()
        var maximum = Floats16()
        for lane in 0..<RowBatch.lanes {
            let source = min(lane, rows.count - 1)
            let row = RowValues(base: values.row(source) + group.firstColumn, count: group.columns)
            guard let extent = row.extent() else {
                throw nonFinite(values.row(source), row: rows.lowerBound + source)
            }
            minimum[lane] = extent.minimum
            maximum[lane] = extent.maximum
            if Search.self != MinMax.self {
                let floats = UnsafeMutableRawPointer(columns).assumingMemoryBound(to: Float.self) + lane
                for column in 0..<group.columns { floats[column &* RowBatch.lanes] = row.base[column] }
            }
        }
        let batch = RowBatch(columns: columns, count: group.columns, minimum: minimum, maximum: maximum, format: format)
        let finite = batch.widest.isFinite
        for lane in 0..<rows.count where !finite[lane] {
            throw EmbedCompressError.invalidArgument(
                "row \(rows.lowerBound + lane) has values from \(minimum[lane]) to \(maximum[lane]), beyond the range of "
                    + (format.type == .float16 ? "f16 scales (65504); use scale_dtype 'f32'" : "f32 scales"))
        }
        return batch
    }

    @inline(__always)
    private func encode(
        _ values: RowValues, _ ranges: Ranges, _ format: RangeFormat, to target: UnsafeMutableRawPointer
    ) {
        switch layout.bits {
        case 1: values.encode(ranges, format, as: Codes1.self, to: target)
        case 2: values.encode(ranges, format, as: Codes2.self, to: target)
        case 3: values.encode(ranges, format, as: Codes3.self, to: target)
        case 4: values.encode(ranges, format, as: Codes4.self, to: target)
        case 5: values.encode(ranges, format, as: Codes5.self, to: target)
        case 6: values.encode(ranges, format, as: Codes6.self, to: target)
        case 7: values.encode(ranges, format, as: Codes7.self, to: target)
        case 8: values.encode(ranges, format, as: Codes8.self, to: target)
        default: values.encode(ranges, format, as: Codes16.self, to: target)
        }
    }

    private func nonFinite(_ values: UnsafePointer<Float>, row: Int) -> EmbedCompressError {
        for column in 0..<layout.dimension where !values[column].isFinite {
            return .invalidArgument("row \(row) has \(values[column]) in column \(column); every value must be finite")
        }
        return .invalidArgument("row \(row) is not finite")
    }
}

extension ScaleType {
    @inline(__always)
    fileprivate func store(_ ranges: Ranges, _ lane: Int, at place: UnsafeMutableRawPointer) {
        switch self {
        case .float16:
            let both = UInt32(halfFromFloat(ranges.scale[lane])) | UInt32(halfFromFloat(ranges.bias[lane])) << 16
            place.storeBytes(of: both.littleEndian, as: UInt32.self)
        case .float32:
            place.storeBytes(of: ranges.scale[lane], as: Float.self)
            (place + 4).storeBytes(of: ranges.bias[lane], as: Float.self)
        }
    }
}
