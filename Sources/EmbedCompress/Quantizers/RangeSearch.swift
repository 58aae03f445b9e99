/// How the scales and biases of rows, or of groups of their columns, are chosen. A method of the 4-bit paper is one of
/// these.
protocol RangeSearch: Sendable {
    /// The ranges to store.
    func ranges(of batch: RowBatch) -> Ranges
    /// Whether the search looks at more than each row's smallest and largest value.
    var needsColumns: Bool { get }
    /// How errors count in the search; nil for their squares.
    var norm: ErrorNorm? { get }
}

extension RangeSearch {
    var needsColumns: Bool { true }
    var norm: ErrorNorm? { nil }
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

/// Rows of codes, each with the range that a search chose for it.
struct UniformCompressor: RowCompressor {
    let layout: Uniform.Layout
    let search: any RangeSearch
    /// Whether rows that plain min-max serves better take its range.
    let fallsBack: Bool
    /// What the width of each row's range is multiplied by in the end; nil for 1.
    var rangeFactors: [Float]?
    /// The range of every row, where the layout stores it once.
    var shared: Ranges?

    func compress(_ input: CompressionInput, tally: FallbackTally, progress: ProgressCounter) throws -> any Node {
        let rows = input.source.rows
        guard let byteCount = Checked.product(rows, layout.rowBytes) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        let bytes = Bytes(try ByteStorage.allocate(byteCount, zeroed: false))
        let target = bytes.mutablePointer
        let encoder = UniformEncoder(compressor: self, firstRow: input.firstRow)
        try RowReader.forEachBlock(
            of: input.source, and: input.elementWeights, takesChanging: encoder.keepsRows, progress: progress
        ) { first, count, values, weights in
            let found = try encoder.encode(
                values, weights: weights, firstRow: first, count: count, to: target + first * layout.rowBytes)
            tally.add(found, ranges: count * layout.groups.count, areCompared: fallsBack)
        }
        return try Uniform(bytes, rows: rows, layout: layout, parameters: try parameters())
    }
}

extension UniformCompressor {
    /// The shared range as it is stored.
    private func parameters() throws -> Bytes? {
        guard let shared else { return nil }
        let bytes = Bytes(try ByteStorage.allocate(2 * layout.scaleType.byteCount))
        layout.scaleType.store(shared, count: 1, at: bytes.mutablePointer, stride: 0)
        return bytes
    }
}

/// Turns rows of floats into stored rows, sixteen at a time.
private struct UniformEncoder {
    let layout: Uniform.Layout
    let search: any RangeSearch
    let fallsBack: Bool
    let rangeFactors: [Float]?
    let needsColumns: Bool
    let format: RangeFormat
    /// What the first row is called in errors.
    let firstRow: Int

    init(compressor: UniformCompressor, firstRow: Int) {
        layout = compressor.layout
        search = compressor.search
        fallsBack = compressor.fallsBack
        rangeFactors = compressor.rangeFactors
        needsColumns = fallsBack || search.needsColumns
        format = RangeFormat(bits: layout.bits, type: layout.scaleType)
        self.firstRow = firstRow
    }

    /// Whether rows that may change are copied a batch at a time. Wide ones are copied before.
    var keepsRows: Bool { layout.dimension <= 4096 }

    /// Returns how many ranges are plain min-max for want of a better one, and how many have coarse scales.
    func encode(
        _ values: FloatBlock, weights: FloatBlock?, firstRow: Int, count: Int, to target: UnsafeMutableRawPointer
    ) throws -> FallbackTally.Counts {
        let mayNeedColumns = needsColumns || layout.scaleType == .float16
        let columns = mayNeedColumns ? (weights == nil ? layout.group : 2 * layout.group) : 0
        // The last column's chunk begins with it, at most.
        let kept = values.isChanging ? (layout.dimension + 30) / 16 * 16 : 0
        var counts = FallbackTally.Counts()
        try Scratch.with(columns + 2 * RowBatch.lanes + RowBatch.lanes * kept / 16, of: Floats16.self) { space in
            let copies = RowBlock(
                base: UnsafeMutableRawPointer(space + columns + 2 * RowBatch.lanes).assumingMemoryBound(to: Float.self),
                stride: kept)
            for start in stride(from: 0, to: count, by: RowBatch.lanes) {
                counts += try encode(
                    values.from(start), weights?.from(start),
                    rows: firstRow + start..<firstRow + min(start + RowBatch.lanes, count),
                    to: target + start * layout.rowBytes, space, copies)
            }
        }
        return counts
    }

    /// Encodes up to sixteen rows.
    private func encode(
        _ values: FloatBlock, _ weights: FloatBlock?, rows: Range<Int>, to target: UnsafeMutableRawPointer,
        _ space: UnsafeMutablePointer<Floats16>, _ copies: RowBlock
    ) throws -> FallbackTally.Counts {
        var counts = FallbackTally.Counts()
        let kept = values.isChanging ? FloatBlock(base: UnsafePointer(copies.base), stride: copies.stride) : values
        for group in layout.groups {
            let batch = try self.batch(group, values, weights, rows, space, copies)
            if !needsColumns, any(format.areCoarse(batch.widest.scale)) {
                for lane in 0..<RowBatch.lanes {
                    spread(
                        kept.row(min(lane, rows.count - 1)) + group.firstColumn, count: group.columns,
                        to: space + 2 * RowBatch.lanes, lane: lane)
                }
            }
            let (ranges, found) = try self.ranges(of: batch, rows: rows)
            counts += found
            encode(group, kept, rows.count, ranges, to: target)
            if layout.scope == .row {
                layout.scaleType.store(
                    ranges, count: rows.count, at: target + group.parameterOffset, stride: layout.rowBytes)
            }
        }
        return counts
    }

    /// The rows' columns of a group side by side, if they are needed in any case. Lanes past the last row repeat it. Rows that may change are copied.
    @inline(__always)
    private func batch(
        _ group: ColumnGroup, _ values: FloatBlock, _ weights: FloatBlock?, _ rows: Range<Int>,
        _ space: UnsafeMutablePointer<Floats16>, _ copies: RowBlock
    ) throws -> RowBatch {
        let (lows, highs, columns) = (space, space + RowBatch.lanes, space + 2 * RowBatch.lanes)
        var strange = Floats16()
        for lane in 0..<RowBatch.lanes {
            let source = min(lane, rows.count - 1)
            var row = RowValues(base: values.row(source) + group.firstColumn, count: group.columns)
            if values.isChanging { row = row.copied(to: copies.row(source) + group.firstColumn) }
            let extremes = row.extremes
            lows[lane] = extremes.low
            highs[lane] = -extremes.high
            strange += extremes.strange
            guard needsColumns else { continue }
            spread(row.base, count: group.columns, to: columns, lane: lane)
            if let weights {
                let row = weights.row(source) + group.firstColumn
                spread(
                    row, count: group.columns, to: columns + layout.group, lane: lane,
                    factor: Self.unit(of: row, count: group.columns))
            }
        }
        if !isZero(strange) {
            for lane in 0..<rows.count {
                let row = RowValues(base: values.row(lane), count: layout.dimension)
                guard row.extent() != nil else { throw nonFinite(row, row: firstRow + rows.lowerBound + lane) }
            }
        }
        let batch = RowBatch(
            columns: columns, weights: weights == nil ? nil : UnsafePointer(columns + layout.group),
            count: group.columns, minimum: leastOfRows(lows), maximum: -leastOfRows(highs), format: format,
            norm: search.norm)
        return batch
    }

    /// The ranges that the search chooses for the batch, how many of them are plain min-max for want of a better, and how
    /// many have coarse scales.
    private func ranges(
        of batch: RowBatch, rows: Range<Int>
    ) throws -> (ranges: Ranges, counts: FallbackTally.Counts) {
        var ranges = search.ranges(of: batch)
        try checkFinite(fallsBack ? batch.widest : ranges, batch, rows)
        var counts = FallbackTally.Counts()
        if fallsBack {
            let isWidest = batch.fallBack(&ranges)
            counts.fallbacks = (0..<rows.count).count { isWidest[$0] }
        } else {
            batch.takeBestNeighbours(&ranges)
        }
        let areCoarse = format.areCoarse(ranges.scale)
        if any(areCoarse) { counts.coarseScales = (0..<rows.count).count { areCoarse[$0] } }
        if let rangeFactors {
            var factors = Floats16(repeating: 1)
            for lane in 0..<rows.count { factors[lane] = rangeFactors[firstRow + rows.lowerBound + lane] }
            ranges = batch.stretched(ranges, by: factors)
            try checkFinite(ranges, batch, rows)
        }
        return (ranges, counts)
    }

    private func checkFinite(_ ranges: Ranges, _ batch: RowBatch, _ rows: Range<Int>) throws {
        let finite = ranges.areFinite(lastCode: format.lastCode)
        guard !all(finite) else { return }
        for lane in 0..<rows.count where !finite[lane] {
            throw EmbedCompressError.invalidArgument(
                "row \(firstRow + rows.lowerBound + lane) has values from \(batch.minimum[lane]) to "
                    + "\(batch.maximum[lane]), beyond the range of "
                    + (layout.scaleType == .float16 ? "f16 scales (65504); use scale_dtype 'f32'" : "f32 scales"))
        }
    }

    @inline(__always)
    private func spread(
        _ row: UnsafePointer<Float>, count: Int, to columns: UnsafeMutablePointer<Floats16>, lane: Int,
        factor: Float = 1
    ) {
        let floats = UnsafeMutableRawPointer(columns).assumingMemoryBound(to: Float.self) + lane
        for column in 0..<count { floats[column &* RowBatch.lanes] = row[column] * factor }
    }

    /// The power of two that brings the largest weight of a row near 1: products of weights then neither overflow nor vanish.
    private static func unit(of weights: UnsafePointer<Float>, count: Int) -> Float {
        var largest: Float = 0
        for column in 0..<count { largest = max(largest, weights[column]) }
        guard largest > 0 else { return 1 }
        return Float(sign: .plus, exponent: min(max(-Int(largest.exponent), -126), 126), significand: 1)
    }

    private func encode(
        _ group: ColumnGroup, _ values: FloatBlock, _ count: Int, _ ranges: Ranges,
        to target: UnsafeMutableRawPointer
    ) {
        @inline(__always)
        func encode<Format: CodeFormat>(_: Format.Type) {
            ranges.forEachRow(count) { lane, range in
                RowValues(base: values.row(lane) + group.firstColumn, count: group.columns).encode(
                    range, format, as: Format.self, to: target + (lane &* layout.rowBytes &+ group.offset))
            }
        }
        switch layout.bits {
        case 1: encode(Codes1.self)
        case 2: encode(Codes2.self)
        case 3: encode(Codes3.self)
        case 4: encode(Codes4.self)
        case 5: encode(Codes5.self)
        case 6: encode(Codes6.self)
        case 7: encode(Codes7.self)
        case 8: encode(Codes8.self)
        default: encode(Codes16.self)
        }
    }
}

extension ScaleType {
    /// Stores the scales and biases of the first `count` rows, `stride` bytes apart.
    fileprivate func store(_ ranges: Ranges, count: Int, at start: UnsafeMutableRawPointer, stride: Int) {
        switch self {
        case .float16:
            let (scales, biases) = (halves(ranges.scale), halves(ranges.bias))
            for lane in 0..<count {
                let both = UInt32(scales[lane]) | UInt32(biases[lane]) << 16
                (start + lane &* stride).storeBytes(of: both.littleEndian, as: UInt32.self)
            }
        case .float32:
            for lane in 0..<count {
                (start + lane &* stride).storeBytes(of: ranges.scale[lane], as: Float.self)
                (start + (lane &* stride &+ 4)).storeBytes(of: ranges.bias[lane], as: Float.self)
            }
        }
    }
}
