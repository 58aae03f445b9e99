/// EDEN: rows rotated at random, and then the nearest levels for a normal distribution, at a scale of the row's own.
///
/// After the rotation the coordinates of any row look normally distributed, so that one codebook, which is known before
/// any data is seen, serves every row: that of Lloyd and Max for a coordinate of a random point on the sphere. A row has
/// its codes and one scale. For the least squared error that is `<z, q> / <q, q>`, where `z` is the rotated row and `q`
/// its levels; `|z|² / <z, q>` makes scalar products with the row right on average over seeds.
///
/// Vargaftik et al., "DRIVE", NeurIPS 2021, and "EDEN", ICML 2022; RaBitQ (Gao and Long, SIGMOD 2024) has the same scale.
/// As the multi-bit RaBitQ does, rows are tried at several scales before their codes are chosen, which takes up to a
/// quarter of the squared error away where a row is short or codes are long. The mean of the rows is kept apart, in f32.
///
/// Bytes per row: `ceil(d * bits / 8)` and 2 or 4. One rotation, and a pass over the row for each scale that is tried.
struct Eden: RowCompressor {
    let layout: Codebook.Layout
    let seed: Int
    let rotation: Rotation
    let book: SymmetricBook
    /// The levels as they are stored, ascending.
    let codebook: Bytes
    /// What is taken from each row; nil for nothing.
    let center: MeanRow?
    let isUnbiased: Bool
    /// Scales that are tried beside the first.
    let candidates: Int
    /// The largest magnitude of the mean row.
    let largestOfCenter: Float

    init(
        layout: Codebook.Layout, seed: Int, center: MeanRow?, isUnbiased: Bool, candidates: Int
    ) throws {
        self.layout = layout
        self.seed = seed
        self.center = center
        largestOfCenter = center?.values.map(\.magnitude).max() ?? 0
        self.isUnbiased = isUnbiased
        self.candidates = layout.bits == 1 ? 0 : candidates
        rotation = try Rotation(dimension: layout.dimension, seed: seed)
        let positive = SphereLevels(dimension: layout.dimension).positive(layout.entryCount / 2).map {
            layout.entryType == .float16 ? floatFromHalf(halfFromFloat(Float($0))) : Float($0)
        }
        book = try SymmetricBook(bits: layout.bits, levels: positive)
        codebook = Bytes(try ByteStorage.allocate(layout.bookBytes))
        let all = positive.reversed().map { -$0 } + positive
        for (index, level) in all.enumerated() {
            switch layout.entryType {
            case .float16:
                codebook.mutablePointer.storeBytes(
                    of: halfFromFloat(level).littleEndian, toByteOffset: 2 * index, as: UInt16.self)
            case .float32: codebook.mutablePointer.storeBytes(of: level, toByteOffset: 4 * index, as: Float.self)
            }
        }
    }

    func compress(_ input: CompressionInput, tally: FallbackTally, progress: ProgressCounter) throws -> any Node {
        let rows = input.source.rows
        guard let byteCount = Checked.product(rows, layout.rowBytes) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        let bytes = Bytes(try ByteStorage.allocate(byteCount))
        let target = bytes.mutablePointer
        let stride = (layout.dimension + 15) / 16 * 16
        try withExtendedLifetime((bytes, book)) {
            try RowReader.forEachBlock(of: input.source, progress: progress) { first, count, values in
                try Scratch.with((count + 1) * stride, of: Float.self) { space in
                    let encoder = EdenEncoder(eden: self, magnitudes: space + count * stride)
                    try encoder.load(values, count: count, to: space, stride: stride, firstRow: input.firstRow + first)
                    for index in 0..<count {
                        try encoder.encode(
                            space + index * stride, to: target + (first + index) * layout.rowBytes,
                            values.row(index), index: input.firstRow + first + index)
                    }
                }
            }
        }
        let codes = try Codebook(bytes, rows: rows, layout: layout, codebooks: codebook)
        let offset = try center.map { try $0.values.withUnsafeBytes { try Bytes(copying: $0) } }
        return try Rotate(inner: codes, seed: seed, offset: offset)
    }
}

/// Encodes the rows of a block.
private struct EdenEncoder {
    private let eden: Eden
    private let layout: Codebook.Layout
    private let dimension: Int
    /// Room for a row, in whole vectors.
    private let magnitudes: UnsafeMutablePointer<Float>

    init(eden: Eden, magnitudes: UnsafeMutablePointer<Float>) {
        self.eden = eden
        layout = eden.layout
        dimension = eden.layout.dimension
        self.magnitudes = magnitudes
    }

    /// Copies rows less their center, and rotates them.
    func load(
        _ values: FloatBlock, count: Int, to rows: UnsafeMutablePointer<Float>, stride: Int, firstRow: Int
    ) throws {
        for index in 0..<count {
            let source = RowValues(base: values.row(index), count: dimension)
            guard source.extent() != nil else { throw nonFinite(source, row: firstRow + index) }
            let row = rows + index * stride
            row.update(from: source.base, count: dimension)
            (row + dimension).update(repeating: 0, count: stride - dimension)
            if let center = eden.center { for column in 0..<dimension { row[column] -= center.values[column] } }
        }
        eden.rotation.rotate(rows, stride: stride, count: count)
    }

    /// Encodes a rotated row, which becomes scratch. A row of zeros has codes and a scale of 0.
    func encode(
        _ row: UnsafeMutablePointer<Float>, to target: UnsafeMutableRawPointer, _ source: UnsafePointer<Float>,
        index: Int
    ) throws {
        guard let extent = RowValues(base: row, count: dimension).extent() else {
            throw tooLarge(source, index, "too large to be rotated in f32")
        }
        let largest = max(-extent.minimum, extent.maximum)
        if largest == 0 { return }
        // A power of two brings the row to where squares neither overflow nor vanish.
        let unit = Float(sign: .plus, exponent: -max(min(largest.exponent, 126), -126), significand: 1)
        let chunks = (dimension + 15) / 16
        var squares = Floats16()
        for chunk in 0..<chunks {
            let value = load16(row + chunk * 16) * unit
            squares += value * value
            store16(value, to: row + chunk * 16)
        }
        let norm = Double(total(squares)).squareRoot()
        let factor = Float(Double(dimension).squareRoot() / norm)
        for chunk in 0..<chunks {
            let value = load16(row + chunk * 16) * factor
            store16(value, to: row + chunk * 16)
            store16(mostOf(value, -value), to: magnitudes + chunk * 16)
        }
        var (best, score) = bestFactor()
        let size = 1 / (Double(factor) * Double(unit))
        var scale =
            eden.isUnbiased
            ? size * Double(dimension) / Double(score.product) : size * Double(score.product) / Double(score.square)
        if layout.entryType == .float16, scale < 0x1p-14, !eden.isUnbiased {
            (best, scale) = bestHalf(near: scale, size: size, factor: best, score)
        }
        for chunk in 0..<chunks { store16(load16(row + chunk * 16) * best, to: row + chunk * 16) }
        eden.book.encode(RowValues(base: row, count: dimension), to: target)
        // What a rotation adds up on the way back, and the mean.
        let reach = Float(scale) * Float(dimension) * SphereLevels.largest + eden.largestOfCenter
        guard reach.isFinite || layout.entryType == .float16 else {
            throw tooLarge(source, index, "too large to be rotated in f32")
        }
        try store(Float(scale), to: target + layout.codeBytes, source, index)
    }

    /// What to multiply the row by before its nearest levels are taken.
    private func bestFactor() -> (factor: Float, score: SymmetricBook.Score) {
        let book = eden.book
        var factor: Float = 1
        var score = book.score(magnitudes, count: dimension, factor: factor)
        if eden.candidates > 0 {
            var (quickFactor, quickest) = (factor, book.quickScore(magnitudes, count: dimension, factor: factor).value)
            for candidate in 0..<eden.candidates {
                let next = Self.least + Self.span * (Float(candidate) + 0.5) / Float(eden.candidates)
                let value = book.quickScore(magnitudes, count: dimension, factor: next).value
                if value > quickest { (quickFactor, quickest) = (next, value) }
            }
            keep(quickFactor, &factor, &score)
        }
        // Levels at their scale, and the scale for these levels, by turns.
        if layout.bits > 1 { for _ in 0..<2 where !keep(1 / score.scale, &factor, &score) { break } }
        return (factor, score)
    }

    /// Scales beyond these are hardly ever the best.
    private static let least: Float = 0.75
    private static let span: Float = 0.5

    /// Takes a factor if it is better; returns whether it is.
    @discardableResult
    private func keep(_ next: Float, _ factor: inout Float, _ score: inout SymmetricBook.Score) -> Bool {
        if next == factor { return false }
        let found = eden.book.score(magnitudes, count: dimension, factor: next)
        guard found.value > score.value else { return false }
        (factor, score) = (next, found)
        return true
    }

    /// The f16 scale of least error, and what to multiply the row by for it: the one nearest to a scale that suits the row
    /// with the levels that it has, or that or its neighbour with levels of their own. f16 numbers below 2^-14 are so far
    /// apart that they may miss much of a scale.
    ///
    /// - Parameter size: What a scale of the normalised row is multiplied by.
    private func bestHalf(
        near scale: Double, size: Double, factor: Float, _ score: SymmetricBook.Score
    ) -> (factor: Float, scale: Double) {
        /// The squared error, less the row's own square.
        func error(_ stored: Double, _ score: SymmetricBook.Score) -> Double {
            let relative = stored / size
            return relative * (relative * Double(score.square) - 2 * Double(score.product))
        }
        let step = Double(ScaleType.leastHalf)
        let nearest = (scale / step).rounded(.toNearestOrEven) * step
        var found = (factor: factor, scale: nearest)
        var least = error(nearest, score)
        let below = (scale / step).rounded(.down) * step
        for stored in [below, below + step] where stored > 0 {
            let other = Float(size / stored)
            let error = error(stored, eden.book.score(magnitudes, count: dimension, factor: other))
            if error < least { (found, least) = ((other, stored), error) }
        }
        return found
    }

    private func store(
        _ scale: Float, to target: UnsafeMutableRawPointer, _ source: UnsafePointer<Float>, _ index: Int
    ) throws {
        guard layout.entryType == .float16 else {
            guard scale.isFinite else { throw tooLarge(source, index, "beyond the range of f32 scales") }
            return target.storeBytes(of: scale, as: Float.self)
        }
        let half = halfFromFloat(scale)
        guard floatFromHalf(half).isFinite else {
            throw tooLarge(source, index, "beyond the range of f16 scales (65504); use scale_dtype 'f32'")
        }
        target.storeBytes(of: half.littleEndian, as: UInt16.self)
    }

    private func tooLarge(_ source: UnsafePointer<Float>, _ index: Int, _ text: String) -> EmbedCompressError {
        let extent = RowValues(base: source, count: dimension).extent() ?? (0, 0)
        let own = max(-extent.minimum, extent.maximum)
        if let center = eden.center, eden.largestOfCenter > own {
            let cause = center.extent.largest
            return .invalidArgument(
                "row \(cause.row) has the value \(cause.value), which makes the mean row so large that row \(index) "
                    + "less the mean is \(text); center false takes no mean away")
        }
        return .invalidArgument("row \(index) has values from \(extent.minimum) to \(extent.maximum), \(text)")
    }
}

extension Method {
    static let eden = Method(
        name: "eden", title: "EDEN", family: .codebookQuantization,
        paper: "Vargaftik et al. 2022, arXiv 2108.08842; DRIVE 2021, arXiv 2105.08339; RaBitQ 2024, arXiv 2405.12497",
        summary: "a random rotation, then the levels of Lloyd and Max for normal values at a scale of the row's own",
        bytesPerRow: "ceil(d * bits / 8) + (2 for f16, 4 for f32), and 8 + 4 * d + 2^bits * (2 or 4) for the table",
        cost: "a rotation of the row, and a pass over it for each scale that is tried",
        options: [
            bitsOption(Codebook.bitWidths),
            Option("seed", .integer(0...Int.max), default: .integer(0), "of the rotation"),
            Option(
                "scale_dtype", .choice(["auto"] + ScaleType.allCases.map(\.rawValue)), default: .string("auto"),
                "type of a row's scale and of the levels; auto is f16 unless that costs more than a tenth of the error, or "
                    + "values are beyond it"),
            Option(
                "scale", .choice(["mse", "unbiased"]), default: .string("mse"),
                "mse has the least squared error; unbiased has right scalar products on average"),
            Option("center", .flag, default: .bool(true), "keeps the mean row apart, in 4 bytes a column"),
            Option("search", .integer(0...1024), default: .integer(16), "scales that are tried for each row"),
            budgetOption,
        ],
        takesWeights: false, passes: 2
    ) { input, options, progress in
        let dimension = input.source.dimension
        let given = ScaleType(rawValue: try options.string("scale_dtype"))
        let (isCentered, seed) = (try options.flag("center"), try options.integer("seed"))
        func layout(_ type: ScaleType) throws -> Codebook.Layout {
            func layout(_ bits: Int) throws -> Codebook.Layout {
                try Codebook.Layout(dimension: dimension, bits: bits, entryType: type, scope: .table, rowScale: type)
            }
            let bits = try bits(options, name: "eden", widths: Codebook.bitWidths) { bits in
                let layout = try layout(bits)
                return Checked.sum(of: [
                    Checked.product(input.source.rows, layout.rowBytes), layout.bookBytes, 8,
                    isCentered ? 4 * dimension : 0,
                ])
            }
            return try layout(bits)
        }
        var chosen = try layout(given ?? .float16)
        let candidates = try options.integer("search")
        let center = isCentered ? try meanRow(of: input.source, progress: progress) : nil
        if !isCentered { progress.advance(by: input.source.rows) }
        if given == nil {
            chosen = try ScaleChoice.better(chosen, of: input, wide: { try layout(.float32) }, steps: 1) {
                try Eden(layout: $0, seed: seed, center: center, isUnbiased: false, candidates: candidates)
            }
        }
        return try Eden(
            layout: chosen, seed: seed, center: center,
            isUnbiased: try options.string("scale") == "unbiased", candidates: candidates)
    }
}
