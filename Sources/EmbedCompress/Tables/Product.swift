/// Rows of `bits`-bit codes, one for each of `parts` parts, each into the part's codebook of `2^bits` short vectors.
///
/// With the mode `concatenate` a row is its parts' entries one after the other: each has `dimension / parts` columns, and
/// the first `dimension % parts` of them one more. With `sum` every entry is as wide as the row, and a row is their sum.
/// Codes are packed to the bit: `ceil(parts * bits / 8)` bytes per row, rounded up to a multiple of the alignment if
/// rows are aligned. Codebooks, which all rows share, take `2^bits * dimension * (2 or 4)` bytes, with `sum` as many for
/// each part. A code can't be out of range.
///
/// Jégou, Douze and Schmid, "Product Quantization for Nearest Neighbor Search", 2011; with `sum`, Chen, Guan and Wang,
/// "Approximate Nearest Neighbor Search by Residual Vector Quantization", 2010.
public struct Product: RowStore {
    public static let kind = "product"

    /// Widths of codes.
    public static let bitWidths = 1...16

    /// How entries make a row.
    public enum Mode: String, Sendable, CaseIterable {
        case concatenate, sum
    }

    /// How rows and codebooks are laid out.
    struct Layout: Sendable {
        let dimension: Int
        let parts: Int
        let bits: Int
        let mode: Mode
        /// The type of a codebook's numbers.
        let element: ScaleType
        let codeBytes: Int
        /// Numbers of all codebooks.
        let entryElements: Int
        let bookBytes: Int
        let spacing: RowSpacing

        init(
            dimension: Int, parts: Int, bits: Int, mode: Mode, element: ScaleType, rowAlignment: Int = 1
        ) throws {
            guard (1...maximumDimension).contains(dimension) else {
                throw EmbedCompressError.invalidArgument(
                    "a table needs from 1 to \(maximumDimension) columns, not \(dimension)")
            }
            guard Product.bitWidths.contains(bits) else {
                throw EmbedCompressError.invalidArgument("bits must be 1 to 16, not \(bits)")
            }
            let most = Self.mostParts(dimension: dimension, mode: mode)
            guard (1...most).contains(parts) else {
                throw EmbedCompressError.invalidArgument("parts must be from 1 to \(most), not \(parts)")
            }
            self.dimension = dimension
            self.parts = parts
            self.bits = bits
            self.mode = mode
            self.element = element
            codeBytes = (parts * bits + 7) / 8
            guard let elements = Checked.product(dimension << bits, mode == .sum ? parts : 1),
                let bookBytes = Checked.product(elements, element.byteCount)
            else { throw EmbedCompressError.outOfMemory(bytes: Int.max) }
            entryElements = elements
            self.bookBytes = bookBytes
            spacing = try RowSpacing(unpaddedBytes: codeBytes, alignment: rowAlignment)
        }

        static func mostParts(dimension: Int, mode: Mode) -> Int { mode == .sum ? maximumDimension : dimension }

        var rowBytes: Int { spacing.rowBytes }
        var entryCount: Int { 1 << bits }

        /// Bytes of so many rows, and of the codebooks; nil if they are too many to count.
        func byteCount(rows: Int) -> Int? { Checked.sum(of: [Checked.product(rows, rowBytes), bookBytes]) }

        /// The columns of a part, and where its codebook begins, in numbers.
        func part(_ index: Int) -> (columns: Range<Int>, offset: Int) {
            if mode == .sum { return (0..<dimension, index * dimension << bits) }
            let (width, wider) = dimension.quotientAndRemainder(dividingBy: parts)
            let first = index * width + min(index, wider)
            return (first..<first + width + (index < wider ? 1 : 0), first << bits)
        }

        func aligned(to rowAlignment: Int) throws -> Layout {
            try Layout(
                dimension: dimension, parts: parts, bits: bits, mode: mode, element: element,
                rowAlignment: rowAlignment)
        }

        /// Bytes of the strips, or a few more.
        var stripBytes: Int {
            mode == .sum ? 0 : 2 * ((dimension / parts + 1) / 16 + 1) * MemoryLayout<PartStrip>.stride
        }

        /// What kernels work through, for the mode `concatenate`.
        var strips: [PartStrip] {
            let (width, wider) = dimension.quotientAndRemainder(dividingBy: parts)
            var strips: [PartStrip] = []
            for (first, end, width) in [(0, wider, width + 1), (wider, parts, width)] where first < end {
                let (columns, offset) = part(first)
                let entryBytes = width * element.byteCount
                for start in stride(from: 0, to: width, by: 16) {
                    strips.append(
                        PartStrip(
                            firstPart: first, count: end - first, column: columns.lowerBound + start,
                            columnStride: width, width: min(16, width - start),
                            offset: (offset + start) * element.byteCount, entryBytes: entryBytes,
                            partBytes: entryBytes << bits))
                }
            }
            return strips
        }
    }

    let layout: Layout
    let memory: RowMemory
    let books: Bytes
    private let strips: [PartStrip]

    public var rows: Int { memory.rows }
    public var dimension: Int { layout.dimension }
    public var parts: Int { layout.parts }
    public var bits: Int { layout.bits }
    public var mode: Mode { layout.mode }
    /// The type of a codebook's numbers.
    public var element: ScaleType { layout.element }
    var spacing: RowSpacing { layout.spacing }
    public var ownBytes: Int { memory.bytes.count + books.count }
    public var summary: String {
        let kind = mode == .sum ? "sum of \(parts)" : "\(parts)"
        return "Product \(kind) x \(bits)-bit, \(layout.entryCount.grouped) \(element.rawValue) entries per part"
            + spacing.summary
    }

    /// - Parameter codebooks: Part after part, entry after entry.
    init(_ bytes: Bytes, rows: Int, layout: Layout, codebooks: Bytes) throws {
        guard codebooks.count == layout.bookBytes else {
            throw EmbedCompressError.invalidArgument(
                "codebooks of \(layout.bookBytes) bytes are needed, not of \(codebooks.count)")
        }
        self.layout = layout
        memory = try RowMemory(bytes, rows: rows, rowBytes: layout.rowBytes)
        books = codebooks
        strips = layout.mode == .sum ? [] : layout.strips
        try checkLimits()
    }

    init(from decoder: inout NodeDecoder) throws {
        let bits = try decoder.integer("bits", Self.bitWidths)
        let mode = try decoder.choice("mode", Mode.self)
        let most = Layout.mostParts(dimension: decoder.dimension, mode: mode)
        let layout = try Layout(
            dimension: decoder.dimension, parts: try decoder.integer("parts", 1...most), bits: bits, mode: mode,
            element: try decoder.choice("element", ScaleType.self), rowAlignment: try decoder.rowAlignment())
        try decoder.reserve(layout.stripBytes)
        let rows = try decoder.tensor("rows", type: .u8, shape: [decoder.rows, layout.rowBytes])
        let books = try decoder.tensor(
            "codebooks", type: layout.element.elementType, shape: [layout.entryElements])
        try self.init(rows, rows: decoder.rows, layout: layout, codebooks: books)
    }

    func encode(into encoder: inout NodeEncoder) {
        encoder.set("parts", parts)
        encoder.set("bits", bits)
        encoder.set("mode", mode.rawValue)
        encoder.set("element", element.rawValue)
        encoder.set(spacing)
        encoder.add("rows", type: .u8, shape: [rows, layout.rowBytes], bytes: memory.bytes)
        encoder.add("codebooks", type: element.elementType, shape: [layout.entryElements], bytes: books)
    }

    func sliced(_ range: Range<Int>) throws -> any Node {
        try Product(try memory.sliced(range).bytes, rows: range.count, layout: layout, codebooks: books)
    }

    func with(_ bytes: Bytes, spacing: RowSpacing) throws -> Product {
        try Product(bytes, rows: rows, layout: try layout.aligned(to: spacing.alignment), codebooks: books)
    }

    // MARK: - Lookup

    var ownScratchBytes: Int {
        blockScratchBytes + tileBytes(dimension: dimension) + parts * MemoryLayout<UnsafeRawPointer>.size
    }

    func gather(_ ids: IDBlock, into output: RowBlock, context: LookupContext) {
        withRows(ids) { source in
            if mode == .sum {
                let rows = AdditiveRows(source: source, parts: parts, dimension: dimension, element: element)
                rows.forEachRow(prefetches: true) { index in
                    AdditiveRows.Target(place: output.row(index), weight: 1, replaces: true)
                }
            } else {
                for (position, strip) in strips.enumerated() {
                    PartGather(source: source, output: output, isFirst: position == 0).run(
                        strip, bits: bits, element: element)
                }
            }
            for index in 0..<ids.count where ids.ids[index] < 0 {
                output.row(index).update(repeating: 0, count: dimension)
            }
        }
    }

    func accumulate(_ block: BagBlock, context: LookupContext) {
        let ids = block.ids
        withRows(ids) { source in
            let segments = UnsafeBufferPointer(start: block.segments, count: block.segmentCount)
            if mode == .sum { return accumulateSums(ids, block, source) }
            var isComplete = true
            for index in 0..<ids.count where ids.ids[index] < 0 { isComplete = false }
            if isComplete {
                sum(source, block.isWeighted ? block.weights : nil, segments)
            } else {
                withRowsThatAre(ids, block, source) { sum($0, $1, $2) }
            }
        }
    }

    private func sum(
        _ source: PartRows, _ weights: UnsafePointer<Float>?, _ segments: UnsafeBufferPointer<Segment>
    ) {
        for (position, strip) in strips.enumerated() {
            PartSums(source: source, weights: weights, segments: segments, isFirst: position == 0).run(
                strip, bits: bits, element: element)
        }
    }

    private func accumulateSums(_ ids: IDBlock, _ block: BagBlock, _ source: PartRows) {
        let rows = AdditiveRows(source: source, parts: parts, dimension: dimension, element: element)
        var segment = 0
        var replaces = block.segmentCount > 0 && block.segments[0].replaces
        rows.forEachRow(prefetches: true) { index in
            while segment < block.segmentCount, index >= block.segments[segment].end {
                finish(block.segments[segment], replaces)
                segment &+= 1
                replaces = segment < block.segmentCount && block.segments[segment].replaces
            }
            guard segment < block.segmentCount, index >= block.segments[segment].start, ids.ids[index] >= 0 else {
                return nil
            }
            defer { replaces = false }
            return AdditiveRows.Target(
                place: block.segments[segment].output, weight: block.weights[index], replaces: replaces)
        }
        while segment < block.segmentCount {
            finish(block.segments[segment], replaces)
            segment &+= 1
            replaces = segment < block.segmentCount && block.segments[segment].replaces
        }
    }

    /// Of a segment whose ids have all been seen: zeros if no row was written.
    private func finish(_ segment: Segment, _ replaces: Bool) {
        if replaces { segment.output.update(repeating: 0, count: dimension) }
    }

    /// Calls `body` with the rows of a block.
    @inline(__always)
    private func withRows(_ ids: IDBlock, _ body: (PartRows) -> Void) {
        let places = memory.places
        Scratch.with(ids.count + ids.ahead, of: UnsafeRawPointer.self) { pointers in
            places.locate(ids, pointers)
            if places.isWorthPrefetching, !ids.wereAhead {
                for index in 0..<min(places.prefetchDistance, ids.count) { places.prefetch(pointers[index]) }
            }
            withExtendedLifetime((memory, books)) {
                body(
                    PartRows(
                        places: places, rows: pointers, count: ids.count, prefetched: ids.count + ids.ahead,
                        books: books.pointer, bits: bits))
            }
        }
    }

    /// Calls `body` with the rows, weights and segments of a block without those for the id -1.
    private func withRowsThatAre(
        _ ids: IDBlock, _ block: BagBlock, _ source: PartRows,
        _ body: (PartRows, UnsafePointer<Float>?, UnsafeBufferPointer<Segment>) -> Void
    ) {
        Scratch.with(ids.count, of: UnsafeRawPointer.self) { rows in
            Scratch.with(ids.count, of: Float.self) { weights in
                Scratch.with(block.segmentCount, of: Segment.self) { segments in
                    var count = 0
                    for position in 0..<block.segmentCount {
                        var segment = block.segments[position]
                        let start = count
                        for index in segment.start..<segment.end where ids.ids[index] >= 0 {
                            rows[count] = source.rows[index]
                            weights[count] = block.weights[index]
                            count += 1
                        }
                        (segment.start, segment.end) = (start, count)
                        (segments + position).initialize(to: segment)
                    }
                    let source = PartRows(
                        places: source.places, rows: rows, count: count, prefetched: count, books: source.books,
                        bits: bits)
                    body(
                        source, block.isWeighted ? UnsafePointer(weights) : nil,
                        UnsafeBufferPointer(start: segments, count: block.segmentCount))
                }
            }
        }
    }
}
