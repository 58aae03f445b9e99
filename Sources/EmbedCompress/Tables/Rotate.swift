/// Row = inner row, rotated, plus a row that all share. The rotation is a randomised Hadamard transform, of which only
/// the seed is kept, see ``Rotation``; or a product of reflections, whose vectors are a table, see ``Reflectors``.
///
/// What a codebook of normal values holds best is a row that has been rotated: the route then turns back. EDEN (Vargaftik
/// et al., ICML 2022), DRIVE (NeurIPS 2021) and RaBitQ (SIGMOD 2024) are `Rotate` over scalar codes. Reflections turn the
/// directions out in which rows vary most and least. A pooled sum is rotated once for each segment of a block. Own bytes: 8
/// for a seed, and 4 for each column of the offset.
public struct Rotate: Node {
    public static let kind = "rotate"

    /// Which way inner rows are turned.
    public enum Direction: String, Sendable, CaseIterable {
        /// By the inverse of the seed's rotation: inner rows are rotated rows.
        case inverse
        /// By the seed's rotation itself.
        case forward
    }

    /// What a row is turned by.
    private enum Turn {
        case seeded(Rotation)
        case reflected(Reflectors, vectors: any Node)
    }

    let inner: any Node
    public let direction: Direction
    private let turn: Turn
    /// F32, one for each column.
    private let offset: Bytes?
    /// The same where whole vectors can be read.
    private let readableOffset: Bytes?

    public var rows: Int { inner.rows }
    public var dimension: Int { inner.dimension }
    /// Of the Hadamard transform; nil for reflections.
    public var seed: Int? {
        guard case .seeded(let rotation) = turn else { return nil }
        return rotation.seed
    }
    public var children: [(name: String, expression: any TableExpression)] {
        guard case .reflected(_, let vectors) = turn else { return [("inner", inner)] }
        return [("inner", inner), ("vectors", vectors)]
    }
    public var ownBytes: Int {
        Self.byteCount(dimension: dimension, hasSeed: seed != nil, hasOffset: offset != nil)
    }
    public var summary: String {
        let way = direction == .inverse ? "back" : "forward"
        let text: String
        switch turn {
        case .seeded(let rotation): text = "Rotate \(way), seed \(rotation.seed)"
        case .reflected(let reflectors, _): text = "Rotate \(way) by \(reflectors.count) reflections"
        }
        return text + (offset == nil ? "" : ", plus an f32 row")
    }

    /// Of a seed and the offset; a dimension is far from what overflows.
    static func byteCount(dimension: Int, hasSeed: Bool, hasOffset: Bool) -> Int {
        (hasSeed ? MemoryLayout<Int64>.size : 0) + (hasOffset ? MemoryLayout<Float>.size * dimension : 0)
    }

    /// - Parameter offset: What is added to each row, `dimension` f32; nil for nothing.
    init(inner: any Node, seed: Int, direction: Direction = .inverse, offset: Bytes? = nil) throws {
        try self.init(
            inner: inner, .seeded(try Rotation(dimension: inner.dimension, seed: seed)), direction: direction,
            offset: offset)
    }

    /// - Parameter vectors: As many rows as there are reflections, of as many columns as inner rows have.
    init(inner: any Node, vectors: any Node, direction: Direction = .inverse, offset: Bytes? = nil) throws {
        guard vectors.dimension == inner.dimension else {
            throw EmbedCompressError.invalidArgument(
                "rows of \(inner.dimension) columns are reflected by vectors of as many, not of \(vectors.dimension)")
        }
        try self.init(
            inner: inner, .reflected(try Reflectors(vectors, isForward: direction == .forward), vectors: vectors),
            direction: direction, offset: offset)
    }

    private init(inner: any Node, _ turn: Turn, direction: Direction, offset: Bytes?) throws {
        let offsetBytes = inner.dimension * MemoryLayout<Float>.size
        guard offset.map({ $0.count == offsetBytes }) ?? true else {
            throw EmbedCompressError.invalidArgument(
                "an offset of \(inner.dimension) columns has \(offsetBytes) bytes, not \(offset?.count ?? 0)")
        }
        self.inner = inner
        self.direction = direction
        self.offset = offset
        self.turn = turn
        readableOffset = try offset.map { try Bytes(copying: $0.buffer) }
        try checkLimits()
    }

    init(from decoder: inout NodeDecoder) throws {
        let seed = decoder.hasChild("vectors") ? nil : try decoder.integer("seed", 0...Int.max)
        let direction = try decoder.choice("direction", Direction.self, default: .inverse)
        let offset = try decoder.optionalTensor("offset", type: .f32, shape: [decoder.dimension])
        // Before inner tables, which take an allowance of their own.
        try decoder.reserve(
            (seed == nil ? 0 : Rotation.byteCount(dimension: decoder.dimension)) + (offset?.count ?? 0))
        let inner = try decoder.child("inner")
        let vectors = seed == nil ? try decoder.child("vectors") : nil
        if let vectors {
            // What is in proportion to stored vectors needs no allowance.
            let bytes = Reflectors.byteCount(dimension: vectors.dimension, count: vectors.rows) ?? Int.max
            try decoder.reserve(max(bytes - min(vectors.storedBytes, Int.max / 16) * 16, 0))
        }
        guard inner.rows == decoder.rows, inner.dimension == decoder.dimension else {
            throw EmbedCompressError.format(
                .invalidField(
                    node: Self.kind, field: "children.inner",
                    expected:
                        "a table of \(decoder.rows) x \(decoder.dimension), not \(inner.rows) x \(inner.dimension)"))
        }
        self = try decoder.checking("children.vectors") {
            guard let vectors else {
                return try Rotate(inner: inner, seed: seed ?? 0, direction: direction, offset: offset)
            }
            return try Rotate(inner: inner, vectors: vectors, direction: direction, offset: offset)
        }
    }

    func encode(into encoder: inout NodeEncoder) {
        if let seed { encoder.set("seed", seed) }
        // A file without the field means the inverse.
        if direction != .inverse { encoder.set("direction", direction.rawValue) }
        if let offset { encoder.add("offset", type: .f32, shape: [dimension], bytes: offset) }
        encoder.add("inner", inner)
        if case .reflected(_, let vectors) = turn { encoder.add("vectors", vectors) }
    }

    /// The same turn of other rows.
    func with(_ inner: any Node) throws -> Rotate {
        try Rotate(inner: inner, turn, direction: direction, offset: offset)
    }

    func sliced(_ range: Range<Int>) throws -> any Node { try with(try inner.sliced(range)) }

    func aligned(to rowAlignment: Int, progress: ProgressCounter) throws -> any Node {
        var turn = turn
        if case .reflected(let reflectors, let vectors) = turn {
            turn = .reflected(reflectors, vectors: try vectors.aligned(to: rowAlignment, progress: progress))
        }
        return try Rotate(
            inner: try inner.aligned(to: rowAlignment, progress: progress), turn, direction: direction, offset: offset)
    }

    func gather(_ ids: IDBlock, into output: RowBlock, context: LookupContext) {
        inner.gather(ids, into: output, context: context)
        var start = 0
        while start < ids.count {
            // Rows of zeros stay what they are.
            if ids.ids[start] < 0 {
                start &+= 1
                continue
            }
            var end = start &+ 1
            while end < ids.count, ids.ids[end] >= 0 { end &+= 1 }
            turn(output.row(start), stride: output.stride, count: end &- start)
            if let offset = readableOffset?.pointer.assumingMemoryBound(to: Float.self) {
                for index in start..<end {
                    addRow(offset, weight: 1, to: output.row(index), count: dimension, replaces: false)
                }
            }
            start = end
        }
    }

    private func turn(_ rows: UnsafeMutablePointer<Float>, stride: Int, count: Int) {
        switch (turn, direction) {
        case (.seeded(let rotation), .inverse): rotation.restore(rows, stride: stride, count: count)
        case (.seeded(let rotation), .forward): rotation.rotate(rows, stride: stride, count: count)
        case (.reflected(let reflectors, _), _):
            reflectors.turn(rows, stride: stride, count: count)
        }
    }

    func accumulate(_ block: BagBlock, context: LookupContext) {
        let capacity = min(tileRows(dimension: dimension), block.segmentCount)
        let stride = (dimension + 15) / 16 * 16
        Scratch.with(capacity * stride, of: Float.self) { sums in
            Scratch.with(capacity, of: Segment.self) { segments in
                for first in Swift.stride(from: 0, to: block.segmentCount, by: capacity) {
                    let count = min(capacity, block.segmentCount - first)
                    accumulate(block, first..<first + count, sums, stride: stride, segments, context)
                }
            }
        }
    }

    /// Sums the inner rows of some of a block's segments, and turns the sums.
    private func accumulate(
        _ block: BagBlock, _ range: Range<Int>, _ sums: UnsafeMutablePointer<Float>, stride: Int,
        _ segments: UnsafeMutablePointer<Segment>, _ context: LookupContext
    ) {
        let isWhole = range.count == block.segmentCount
        let start = isWhole ? 0 : block.segments[range.lowerBound].start
        let end = block.segments[range.upperBound - 1].end
        for (index, number) in range.enumerated() {
            let segment = block.segments[number]
            segments[index] = Segment(
                start: segment.start - start, end: segment.end - start, output: sums + index * stride, replaces: true)
        }
        inner.accumulate(
            BagBlock(
                ids: isWhole ? block.ids : block.ids.range(start, end - start), weights: block.weights + start,
                isWeighted: block.isWeighted, segments: segments, segmentCount: range.count, space: block.space),
            context: context)
        turn(sums, stride: stride, count: range.count)
        let offset = readableOffset?.pointer.assumingMemoryBound(to: Float.self)
        for (index, number) in range.enumerated() {
            let segment = block.segments[number]
            let sum = sums + index * stride
            if let offset {
                var weight: Float = 0
                for id in segment.start..<segment.end where block.ids.ids[id] >= 0 { weight += block.weights[id] }
                addRow(offset, weight: weight, to: sum, count: dimension, replaces: false)
            }
            addRow(sum, weight: 1, to: segment.output, count: dimension, replaces: segment.replaces)
        }
    }
}

extension Table {
    /// The rows of this table, rotated at random: by the rotation of `seed`, or by its inverse. Computed as they are
    /// looked up.
    ///
    /// - Parameter offset: What is then added to each row.
    public func rotated(seed: Int, direction: Rotate.Direction, offset: [Float]? = nil) throws -> Table {
        Table(try Rotate(self, seed: seed, direction: direction, offset: offset))
    }
}
