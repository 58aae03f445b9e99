/// Sixteen columns of a row as floats: codes, or dense elements.
protocol RowFormat {
    /// Columns `16 * chunk ..< 16 * chunk + 16` of the row at `row`. May read up to `rowOverread` bytes past the last column.
    static func floats(_ row: UnsafeRawPointer, chunk: Int) -> Floats16
}

enum CodeRows<Format: CodeFormat>: RowFormat {
    @inline(__always)
    static func floats(_ row: UnsafeRawPointer, chunk: Int) -> Floats16 {
        EmbedCompress.floats(Format.load(row, chunk: chunk))
    }
}
enum FloatRows: RowFormat {
    @inline(__always)
    static func floats(_ row: UnsafeRawPointer, chunk: Int) -> Floats16 { load16(row + chunk * 64) }
}
enum HalfRows: RowFormat {
    @inline(__always)
    static func floats(_ row: UnsafeRawPointer, chunk: Int) -> Floats16 { floatsFromHalves(row + chunk * 32) }
}
enum BrainFloatRows: RowFormat {
    @inline(__always)
    static func floats(_ row: UnsafeRawPointer, chunk: Int) -> Floats16 { floatsFromBrainFloats(row + chunk * 32) }
}

/// The columns of a row that share a scale and a bias.
struct ColumnGroup {
    let firstColumn: Int
    let columns: Int
    /// Bytes from the start of the row to the group's first column.
    let offset: Int
    /// Bytes from the start of the row to the group's scale; the bias follows it. nil: scale 1, bias 0.
    let scaleOffset: Int?
    let scaleType: ScaleType

    /// The group's scale and bias in the row at `row`.
    @inline(__always)
    func parameters(_ row: UnsafeRawPointer) -> (scale: Float, bias: Float) {
        guard let scaleOffset else { return (1, 0) }
        let place = row + scaleOffset
        switch scaleType {
        case .float16:
            let both = place.loadUnaligned(as: UInt32.self)
            return (
                floatFromHalf(UInt16(truncatingIfNeeded: both)), floatFromHalf(UInt16(truncatingIfNeeded: both >> 16))
            )
        case .float32:
            return (place.loadUnaligned(as: Float.self), (place + 4).loadUnaligned(as: Float.self))
        }
    }
}

/// The type of stored scales and biases.
public enum ScaleType: String, Sendable, CaseIterable {
    case float16 = "f16"
    case float32 = "f32"

    /// Bytes of one scale.
    var byteCount: Int { self == .float16 ? 2 : 4 }
}

/// How many rows ahead of its use a row is prefetched.
private let prefetchDistance = 16

/// The loops over rows, compiled for each format.
enum RowKernels<Format: RowFormat> {
    /// Row by row, `scale * x + bias`.
    static func gather(_ memory: RowMemory, groups: [ColumnGroup], ids: IDBlock, into output: RowBlock) {
        for index in 0..<min(prefetchDistance, ids.count) { memory.prefetch(ids.ids[index]) }
        for index in 0..<ids.count {
            if index + prefetchDistance < ids.count { memory.prefetch(ids.ids[index + prefetchDistance]) }
            let row = memory.pointer(ids.ids[index])
            let target = output.row(index)
            for group in groups {
                let source = row + group.offset
                let place = target + group.firstColumn
                var chunk = 0
                if group.scaleOffset == nil {
                    while chunk * 16 < group.columns {
                        put16(Format.floats(source, chunk: chunk), to: place + chunk * 16, count: group.columns - chunk * 16)
                        chunk += 1
                    }
                } else {
                    let (scale, bias) = group.parameters(row)
                    let scales = Floats16(repeating: scale)
                    let biases = Floats16(repeating: bias)
                    while chunk * 16 < group.columns {
                        put16(
                            multiplyAdd(Format.floats(source, chunk: chunk), scales, biases), to: place + chunk * 16,
                            count: group.columns - chunk * 16)
                        chunk += 1
                    }
                }
            }
        }
    }

    /// Adds each segment's `sum(weight * (scale * x + bias))` to its output. The bias part is summed once for the row, not for each
    /// column; scales are multiplied by weights before the loop over columns.
    static func accumulate(_ memory: RowMemory, groups: [ColumnGroup], _ block: BagBlock) {
        let count = block.ids.count
        withUnsafeTemporaryAllocation(of: UnsafeRawPointer.self, capacity: blockCapacity) { pointers in
            withUnsafeTemporaryAllocation(of: Float.self, capacity: 2 * blockCapacity) { factors in
                guard let rows = pointers.baseAddress, let scales = factors.baseAddress else { return }
                let biases = scales + blockCapacity
                let ids = block.ids.ids
                for index in 0..<min(prefetchDistance, count) { memory.prefetch(ids[index]) }
                for (position, group) in groups.enumerated() {
                    for index in 0..<count {
                        if position == 0 {
                            if index + prefetchDistance < count { memory.prefetch(ids[index + prefetchDistance]) }
                            rows[index] = memory.pointer(ids[index])
                        }
                        let (scale, bias) = group.parameters(rows[index])
                        let weight = block.weights.map { $0[index] } ?? 1
                        scales[index] = scale * weight
                        biases[index] = bias * weight
                    }
                    for index in 0..<block.segmentCount {
                        accumulate(block.segments[index], group: group, rows: rows, scales: scales, biases: biases)
                    }
                }
            }
        }
    }

    @inline(__always)
    private static func accumulate(
        _ segment: Segment, group: ColumnGroup, rows: UnsafePointer<UnsafeRawPointer>, scales: UnsafePointer<Float>,
        biases: UnsafePointer<Float>
    ) {
        var bias: Float = 0
        if group.scaleOffset != nil {
            for index in segment.start..<segment.end { bias += biases[index] }
        }
        let chunks = (group.columns + 15) / 16
        var chunk = 0
        @inline(__always)
        func tile(_ width: Int) {
            sum(segment, group: group, rows: rows, scales: scales, bias: bias, chunk: chunk, width: width)
            chunk += width
        }
        while chunks - chunk >= tileWidth { tile(tileWidth) }
        switch chunks - chunk {
        case 1: tile(1)
        case 2: tile(2)
        case 3: tile(3)
        default: break
        }
    }

    /// One segment's columns of up to four chunks, in registers.
    @inline(__always)
    private static func sum(
        _ segment: Segment, group: ColumnGroup, rows: UnsafePointer<UnsafeRawPointer>, scales: UnsafePointer<Float>,
        bias: Float, chunk: Int, width: Int
    ) {
        var sum0 = Floats16(repeating: bias)
        var sum1 = sum0
        var sum2 = sum0
        var sum3 = sum0
        for index in segment.start..<segment.end {
            let source = rows[index] + group.offset
            let scale = Floats16(repeating: scales[index])
            sum0 = multiplyAdd(Format.floats(source, chunk: chunk), scale, sum0)
            if width > 1 { sum1 = multiplyAdd(Format.floats(source, chunk: chunk + 1), scale, sum1) }
            if width > 2 { sum2 = multiplyAdd(Format.floats(source, chunk: chunk + 2), scale, sum2) }
            if width > 3 { sum3 = multiplyAdd(Format.floats(source, chunk: chunk + 3), scale, sum3) }
        }
        let target = segment.output + group.firstColumn + chunk * 16
        let left = group.columns - chunk * 16
        add16(sum0, to: target, count: left)
        if width > 1 { add16(sum1, to: target + 16, count: left - 16) }
        if width > 2 { add16(sum2, to: target + 32, count: left - 32) }
        if width > 3 { add16(sum3, to: target + 48, count: left - 48) }
    }
}

/// Chunks that are summed in one pass over a segment's rows: as many as the registers hold.
@inline(__always)
private var tileWidth: Int { hasWideRegisters ? 4 : 2 }
