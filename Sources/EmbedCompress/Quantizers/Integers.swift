/// INT8 and INT16: whole numbers at a scale of the row's own, or at one of the table with stochastic rounding.
///
/// The rows' way is ASYM at 8 or 16 bits. The table's way is that of the study (Zhang et al., "Experimental Analysis of
/// Large-scale Learnable Vector Storage Compression", VLDB 2024): `floor(v / step + U)` with `U` uniform in `[0, 1)`,
/// which is right on average, clipped to the codes that there are. The study's step of 0.01 clips whatever is beyond 1.28
/// at 8 bits; here the largest magnitude of the table has the largest code unless a step is given.
///
/// Bytes per row: `d` or `2 d`, and 4 or 8 for a row's scale and bias in f16 or f32, or 8 for the table's.
private struct StochasticRounding: RowCompressor {
    let layout: Uniform.Layout
    let step: Float
    let seed: Int

    func compress(_ input: CompressionInput, tally: FallbackTally, progress: ProgressCounter) throws -> any Node {
        let rows = input.source.rows
        guard let byteCount = Checked.product(rows, layout.rowBytes) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        let bytes = Bytes(try ByteStorage.allocate(byteCount))
        let target = bytes.mutablePointer
        let rounding = StochasticRows(bits: layout.bits, step: step, seed: seed, dimension: layout.dimension)
        try RowReader.forEachBlock(of: input.source, progress: progress) { first, count, values in
            for index in 0..<count {
                let row = RowValues(base: values.row(index), count: layout.dimension)
                guard row.extent() != nil else { throw nonFinite(row, row: input.firstRow + first + index) }
                rounding.encode(
                    row.base, row: input.firstRow + first + index, to: target + (first + index) * layout.rowBytes)
            }
        }
        let parameters = Bytes(try ByteStorage.allocate(8))
        parameters.mutablePointer.storeBytes(of: step, as: Float.self)
        parameters.mutablePointer.storeBytes(of: -step * Float(1 << (layout.bits - 1)), toByteOffset: 4, as: Float.self)
        return try Uniform(bytes, rows: rows, layout: layout, parameters: parameters)
    }
}

extension Method {
    static let int8 = integers(name: "int8", title: "INT8", bits: 8)
    static let int16 = integers(name: "int16", title: "INT16", bits: 16)

    private static func integers(name: String, title: String, bits: Int) -> Method {
        Method(
            name: name, title: title, family: .uniformQuantization, paper: "Zhang et al. 2024, arXiv 2311.15578",
            summary: "\(bits)-bit whole numbers, at a scale of each row or of the table",
            bytesPerRow: "\(bits / 8) * d + 2 * (2 for f16, 4 for f32), or \(bits / 8) * d, and 8 for the table",
            cost: "one pass over the row, and one more for a step that is not given",
            options: [
                Option(
                    "scale", .choice(["row", "table"]), default: .string("row"),
                    "row has a range for each row; table has one step, and rounds up or down at random"),
                scaleTypeOption,
                Option(
                    "step", .number(0...Double(Float.greatestFiniteMagnitude)), default: .null,
                    "of the scale table; the largest magnitude over the largest code if not given"),
                Option("seed", .integer(0...Int.max), default: .null, "of the scale table's rounding; 0 if not given"),
                Option("budget", .budget, default: .null, "most bytes of the result"),
            ],
            takesWeights: false, passes: 2
        ) { input, options, progress in
            let isTable = try options.string("scale") == "table"
            let given = ScaleType(rawValue: try options.string("scale_dtype"))
            let budget = try options.optionalInteger("budget")
            func layout(_ scaleType: ScaleType) throws -> Uniform.Layout {
                let layout = try Uniform.Layout(
                    dimension: input.source.dimension, bits: bits, group: nil, scaleType: scaleType,
                    scope: isTable ? .table : .row)
                guard let budget else { return layout }
                let bytes = Checked.sum(of: [Checked.product(input.source.rows, layout.rowBytes), isTable ? 8 : 0])
                guard let bytes, bytes <= budget else {
                    throw EmbedCompressError.budget(method: name, budgetBytes: budget, floorBytes: bytes ?? Int.max)
                }
                return layout
            }
            guard isTable else {
                for option in ["step", "seed"] where options.isGiven(option) {
                    throw EmbedCompressError.invalidArgument("\(name): \(option) goes with the scale 'table' only")
                }
                func compressor(_ layout: Uniform.Layout) -> UniformCompressor {
                    UniformCompressor(layout: layout, search: MinMax(), fallsBack: false)
                }
                var chosen = try layout(given ?? (bits == 8 ? .float16 : .float32))
                if given == nil, bits == 8 {
                    chosen = try ScaleChoice.better(
                        chosen, of: input, wide: { try layout(.float32) }, steps: 1 << bits - 1,
                        compressor: compressor)
                }
                progress.advance(by: input.source.rows)
                return compressor(chosen)
            }
            if let given {
                throw EmbedCompressError.invalidArgument(
                    "\(name): scale_dtype goes with the scale 'row' only, not \(given.rawValue) with 'table'")
            }
            let layout = try layout(.float32)
            let step = try step(input.source, options, bits: bits, name: name, progress: progress)
            return StochasticRounding(
                layout: layout, step: step, seed: try options.optionalInteger("seed") ?? 0)
        }
    }

    private static func step(
        _ source: any Node, _ options: OptionValues, bits: Int, name: String, progress: ProgressCounter
    ) throws -> Float {
        // A row is decoded as a code from 0 to 2^bits - 1 times the step, and half of the codes less.
        func isHeld(_ step: Float) -> Bool { (step * Float(1 << bits - 1)).isFinite }
        var step: Float
        if options.isGiven("step") {
            progress.advance(by: source.rows)
            step = Float(try options.number("step"))
            guard step > 0 else {
                throw EmbedCompressError.invalidArgument("\(name): step must be above 0, not \(step)")
            }
        } else {
            let extent = try extent(source, progress: progress)
            let last = Float(1 << (bits - 1) - 1)
            step = extent.largest.value.magnitude / last
            if step == 0 { step = 1 }
            guard isHeld(step) else { throw extent.tooLarge("beyond the range of an f32 step") }
        }
        guard isHeld(step) else {
            throw EmbedCompressError.invalidArgument("\(name): a step of \(step) is beyond the range of f32")
        }
        return step
    }
}
