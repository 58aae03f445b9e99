/// RQ: each row is the sum of an entry of each level's codebook.
///
/// Chen, Guan and Wang 2010. Codebooks are learned level by level, each by k-means of what the levels before it leave.
/// Then, `refits` times, the sample is encoded by beam search and all codebooks are moved to the least squares that its
/// codes allow, one after the other (Babenko and Lempitsky, "Additive Quantization for Extreme Vector Compression", 2014,
/// solve them at once). Up to `2^bits * 256` rows are learned from, and no fewer than 65,536.
struct ResidualQuantizer: RowCompressor {
    let layout: Product.Layout
    private let books: Bytes
    private let means: [Float]
    /// What rows are multiplied by; see ``RowSample/unit``.
    private let unit: Float
    private let centers: ByteStorage
    private let search: BeamSearch
    let mayOverflow: Bool

    /// Learns the codebooks; counts as one reading of each row.
    init(
        _ input: CompressionInput, layout: Product.Layout, beam: Int, rounds: Int, refits: Int, seed: Int,
        progress: ProgressCounter
    ) throws {
        self.layout = layout
        books = Bytes(try ByteStorage.allocate(layout.bookBytes))
        let (count, dimension, rows) = (layout.entryCount, layout.dimension, input.source.rows)
        let watch = progress.watch
        guard let byteCount = Checked.product(layout.entryElements, 4) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        centers = try ByteStorage.allocate(byteCount)
        let floats = centers.base.assumingMemoryBound(to: Float.self)
        let sample = try RowSample(input, atMost: max(count * 256, 65_536), seed: seed, watch: watch)
        unit = sample.unit
        mayOverflow = sample.largest > safeMagnitude
        var random = SeededRandom(seed: seed)
        let steps = layout.parts + refits
        var done = 0
        func advance() throws {
            progress.advance(
                by: Checked.share(of: rows, done + 1, of: steps) - Checked.share(of: rows, done, of: steps))
            done += 1
            try progress.report()
        }
        let books = books
        (means, search) = try sample.withColumns(0..<dimension) { data, means in
            let fit = ResidualFit(
                layout: layout, data: data, rows: sample.count, weights: sample.weights.map { UnsafePointer($0) },
                centers: floats, watch: watch)
            try fit.learn(rounds: rounds, random: &random, afterLevel: advance)
            for _ in 0..<refits {
                try fit.refit(beam: beam)
                try advance()
            }
            // The means are in the first level's entries.
            for level in 0..<layout.parts {
                let start = level * count * dimension
                let added = level == 0 ? means : try [Float](allocating: 0, count: dimension)
                try store(
                    floats + start, count: count, added, unit: sample.unit,
                    to: books.mutablePointer + start * layout.element.byteCount, layout.element)
            }
            return (means, try fit.search(beam: beam))
        }
    }

    func compress(_ input: CompressionInput, tally: FallbackTally, progress: ProgressCounter) throws -> any Node {
        let (rows, dimension) = (input.source.rows, layout.dimension)
        guard let byteCount = Checked.product(rows, layout.rowBytes) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        let bytes = Bytes(try ByteStorage.allocate(byteCount))
        let target = bytes.mutablePointer
        try RowReader.forEachBlock(of: input.source, progress: progress) { first, rows, values in
            try checkFinite(values, rows, dimension, firstRow: input.firstRow + first)
            Scratch.with(rows * dimension, of: Float.self) { differences in
                Scratch.with(rows * layout.parts, of: Int32.self) { codes in
                    for index in 0..<rows {
                        let row = values.row(index)
                        for column in 0..<dimension {
                            differences[index &* dimension &+ column] = row[column] * unit - means[column]
                        }
                    }
                    search.encode(differences, count: rows, codes: codes, codeStride: rows)
                    for level in 0..<layout.parts {
                        storeCodes(
                            codes + level * rows, rows, part: level, bits: layout.bits,
                            to: target + first * layout.rowBytes, rowBytes: layout.rowBytes)
                    }
                }
            }
        }
        return try withExtendedLifetime(centers) {
            try Product(bytes, rows: rows, layout: layout, codebooks: books)
        }
    }
}

/// The codebooks of levels, as they are learned from rows.
private struct ResidualFit {
    let layout: Product.Layout
    let data: UnsafePointer<Float>
    let rows: Int
    /// One for each row; nil for all alike.
    let weights: UnsafePointer<Float>?
    /// Level after level.
    let centers: UnsafeMutablePointer<Float>
    let watch: ProgressCounter

    private var count: Int { layout.entryCount }
    private var dimension: Int { layout.dimension }
    private var grain: Int { max(16_384 / dimension, 1) }
    private func level(_ index: Int) -> UnsafeMutablePointer<Float> { centers + index * count * dimension }

    func learn(rounds: Int, random: inout SeededRandom, afterLevel: () throws -> Void) throws {
        let memory = try Buffer<Float>(count: rows * dimension)
        defer { memory.keep() }
        let left = memory.base
        left.update(from: data, count: rows * dimension)
        for index in 0..<layout.parts {
            let centers = level(index)
            try PartKMeans(
                data: left, count: rows, width: dimension, weights: weights, centerCount: count, watch: watch
            ).train(rounds: rounds, random: &random, to: centers)
            let search = try CenterSearch(count: count, width: dimension)
            search.set(centers)
            try Parallel.forEach(count: rows, grain: grain, progress: watch) { range in
                Scratch.with(range.count, of: Int32.self) { codes in
                    Scratch.with(range.count, of: Float.self) { scores in
                        let start = left + range.lowerBound * dimension
                        search.nearest(start, stride: dimension, count: range.count, to: codes, scores: scores)
                        for row in 0..<range.count {
                            let center = centers + Int(codes[row]) * dimension
                            for column in 0..<dimension { start[row &* dimension &+ column] -= center[column] }
                        }
                    }
                }
            }
            try afterLevel()
        }
    }

    func search(beam: Int) throws -> BeamSearch {
        let levels = try (0..<layout.parts).map { index in
            let search = try CenterSearch(count: count, width: dimension)
            search.set(level(index))
            return search
        }
        return BeamSearch(levels: levels, centers: centers, count: count, dimension: dimension, beam: beam)
    }

    /// Encodes the rows, and moves each level's entries to the weighted means of what the others leave of their rows.
    func refit(beam: Int) throws {
        let search = try search(beam: beam)
        guard let codeCount = Checked.product(rows, layout.parts),
            let floats = Checked.product(rows + count, dimension)
        else { throw EmbedCompressError.outOfMemory(bytes: Int.max) }
        let (codeMemory, memory) = (try Buffer<Int32>(count: codeCount), try Buffer<Float>(count: floats))
        defer {
            codeMemory.keep()
            memory.keep()
        }
        let codes = codeMemory.base
        let (left, moves) = (memory.base, memory.base + rows * dimension)
        try Parallel.forEach(count: rows, grain: min(grain, 64), progress: watch) { range in
            search.encode(
                data + range.lowerBound * dimension, count: range.count, codes: codes + range.lowerBound,
                codeStride: rows, residuals: left + range.lowerBound * dimension)
        }
        for _ in 0..<Self.sweeps {
            for index in 0..<layout.parts {
                try move(level(index), UnsafePointer(codes + index * rows), left, moves)
            }
        }
    }

    private static let sweeps = 3

    private func move(
        _ centers: UnsafeMutablePointer<Float>, _ codes: UnsafePointer<Int32>, _ left: UnsafeMutablePointer<Float>,
        _ moves: UnsafeMutablePointer<Float>
    ) throws {
        let members = try ClusterMembers(count: rows, clusters: count) { Int(codes[$0]) }
        let dimension = dimension
        try Parallel.forEach(count: count, grain: max(1, 4096 / dimension), progress: watch) { range in
            for index in range {
                let move = moves + index * dimension
                move.update(repeating: 0, count: dimension)
                var weight: Float = 0
                members.forEach(of: index) { row in
                    let factor = weights?[row] ?? 1
                    weight += factor
                    let source = left + row &* dimension
                    for column in 0..<dimension { move[column] += factor * source[column] }
                }
                guard weight > 0 else { continue }
                let center = centers + index * dimension
                for column in 0..<dimension {
                    move[column] /= weight
                    center[column] += move[column]
                }
                members.forEach(of: index) { row in
                    let place = left + row &* dimension
                    for column in 0..<dimension { place[column] -= move[column] }
                }
            }
        }
    }
}
