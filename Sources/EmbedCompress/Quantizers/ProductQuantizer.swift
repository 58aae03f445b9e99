/// PQ: rows in parts, and a codebook for each part by k-means.
///
/// Jégou, Douze and Schmid 2011. Codebooks are learned from up to `2^bits * 256` rows and no fewer than 65,536, drawn
/// evenly from the table. Each code is the nearest of the entries as they are stored.
struct ProductQuantizer: RowCompressor {
    let layout: Product.Layout
    private let books: Bytes
    private let parts: [Part]
    /// What rows are multiplied by; see ``RowSample/unit``.
    private let unit: Float

    /// What encodes the columns of a part.
    private struct Part {
        let columns: Range<Int>
        /// Taken away from rows times the unit before they are compared, for the sake of precision.
        let means: [Float]
        let search: CenterSearch
    }

    /// Learns the codebooks; counts as one reading of each row.
    init(_ input: CompressionInput, layout: Product.Layout, rounds: Int, seed: Int, progress: ProgressCounter) throws {
        self.layout = layout
        books = Bytes(try ByteStorage.allocate(layout.bookBytes))
        let count = layout.entryCount
        let sample = try RowSample(
            input, atMost: max(count * 256, 65_536), seed: seed, watch: progress.watch)
        unit = sample.unit
        let found = PartList(count: layout.parts)
        let (books, rows, watch) = (books, input.source.rows, progress.watch)
        /// Everything about one part. Each has random numbers of its own.
        func learn(_ index: Int) throws {
            let (columns, offset) = layout.part(index)
            let width = columns.count
            var random = SeededRandom(seed: seed &* 1_000_003 &+ index)
            try sample.withColumns(columns) { data, means in
                let memory = try Buffer<Float>(count: Checked.product(count, width) ?? Int.max)
                defer { memory.keep() }
                let centers = memory.base
                try PartKMeans(
                    data: data, count: sample.count, width: width, weights: sample.weights.map { UnsafePointer($0) },
                    centerCount: count, watch: watch
                ).train(rounds: rounds, random: &random, to: centers)
                let place = books.mutablePointer + offset * layout.element.byteCount
                try store(centers, count: count, means, unit: sample.unit, to: place, layout.element)
                let search = try CenterSearch(count: count, width: width)
                search.set(centers)
                found.set(index, Part(columns: columns, means: means, search: search))
            }
            progress.advance(
                by: Checked.share(of: rows, index + 1, of: layout.parts)
                    - Checked.share(of: rows, index, of: layout.parts))
        }
        // Parts side by side, unless one takes long: there may be fewer parts than threads.
        let width = (layout.dimension + layout.parts - 1) / layout.parts
        let steps = Checked.product(sample.count, count, width, rounds) ?? Int.max
        if layout.parts >= 2, steps < Self.longSteps {
            try Parallel.forEach(count: layout.parts, grain: 1, progress: watch) { range in
                for index in range { try learn(index) }
            }
        } else {
            for index in 0..<layout.parts { try learn(index) }
        }
        try progress.report()
        parts = found.parts
    }

    /// Some tenths of a second.
    private static let longSteps = 1 << 34

    /// The parts as they are found, by any thread.
    private final class PartList: @unchecked Sendable {
        private let lock = Lock()
        private var found: [Part?]

        init(count: Int) { found = Array(repeating: nil, count: count) }

        func set(_ index: Int, _ part: Part) { lock.withLock { found[index] = part } }
        var parts: [Part] { found.compactMap { $0 } }
    }

    func compress(_ input: CompressionInput, tally: FallbackTally, progress: ProgressCounter) throws -> any Node {
        let rows = input.source.rows
        guard let byteCount = Checked.product(rows, layout.rowBytes) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        let bytes = Bytes(try ByteStorage.allocate(byteCount))
        let target = bytes.mutablePointer
        try RowReader.forEachBlock(of: input.source, progress: progress) { first, rows, values in
            try checkFinite(values, rows, layout.dimension, firstRow: input.firstRow + first)
            encode(values, rows, to: target + first * layout.rowBytes)
        }
        return try Product(bytes, rows: rows, layout: layout, codebooks: books)
    }

    private func encode(_ values: FloatBlock, _ rows: Int, to target: UnsafeMutableRawPointer) {
        let width = (layout.dimension + layout.parts - 1) / layout.parts
        Scratch.with(rows * width, of: Float.self) { columns in
            Scratch.with(rows, of: Int32.self) { codes in
                Scratch.with(rows, of: Float.self) { scores in
                    for (number, part) in parts.enumerated() {
                        let width = part.columns.count
                        part.means.withUnsafeBufferPointer { means in
                            for index in 0..<rows {
                                let row = values.row(index) + part.columns.lowerBound
                                for column in 0..<width {
                                    columns[index &* width &+ column] = row[column] * unit - means[column]
                                }
                            }
                        }
                        part.search.nearest(columns, stride: width, count: rows, to: codes, scores: scores)
                        storeCodes(codes, rows, part: number, bits: layout.bits, to: target, rowBytes: layout.rowBytes)
                    }
                }
            }
        }
    }
}

/// Throws if a value of a block is not finite; the error names its row. Returns the largest magnitude.
@discardableResult
func checkFinite(_ values: FloatBlock, _ rows: Int, _ dimension: Int, firstRow: Int) throws -> Float {
    var largest: Float = 0
    for index in 0..<rows {
        let row = RowValues(base: values.row(index), count: dimension)
        guard let extent = row.extent() else { throw nonFinite(row, row: firstRow + index) }
        largest = max(largest, -extent.minimum, extent.maximum)
    }
    return largest
}
