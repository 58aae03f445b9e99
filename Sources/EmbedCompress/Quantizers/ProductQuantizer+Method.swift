extension Method {
    static let pq = Method(
        name: "pq", title: "PQ", paper: "Jégou, Douze and Schmid 2011, IEEE TPAMI 33 (1)", kind: "post-training",
        summary: "rows in parts, and a codebook of short vectors for each part by k-means",
        bytesPerRow: "ceil(parts * bits / 8) + 2^bits * d * (2 for f16, 4 for f32) / rows",
        cost: "rounds * 2^bits * d steps for each of 256 * 2^bits rows, and 2^bits * d for each row",
        options: [
            Option(
                "parts", .integer(1...maximumDimension), default: .null,
                "parts of a row, at most d; if not given, as many as have 4 columns"),
            Option("bits", .integer(Product.bitWidths), default: .integer(8), "bits of a code"),
            entryOption,
            Option("rounds", .integer(1...100_000), default: .integer(25), "most rounds of k-means"),
            seedOption,
            Option(
                "budget", .integer(0...Int.max), default: .null,
                "most bytes of the result; chooses parts, and bits unless they are given"),
        ],
        takesWeights: true, passes: 2
    ) { input, options, progress in
        try checkRowWeights(input, "pq")
        return try ProductQuantizer(
            input, layout: try ProductPlan(input.source, options, .concatenate, "pq").layout(),
            rounds: try options.integer("rounds"), seed: try options.integer("seed"), progress: progress)
    }

    fileprivate static let entryOption = Option(
        "entry_dtype", .choice(ScaleType.allCases.map(\.rawValue)), default: .string("f16"),
        "type of a codebook's entries")
    fileprivate static let seedOption = Option(
        "seed", .integer(0...Int.max), default: .integer(0), "of the rows that are learned from")

    static func checkRowWeights(_ input: CompressionInput, _ name: String) throws {
        if let weights = input.weights, weights.dimension != 1 {
            throw EmbedCompressError.invalidArgument(
                "\(name) takes weights of whole rows: \(weights.rows) x 1, not \(weights.rows) x \(weights.dimension)")
        }
    }
}

/// How many parts there are, and how wide codes.
struct ProductPlan {
    let source: any Node
    let options: OptionValues
    let mode: Product.Mode
    let name: String
    let element: ScaleType

    init(_ source: any Node, _ options: OptionValues, _ mode: Product.Mode, _ name: String) throws {
        self.source = source
        self.options = options
        self.mode = mode
        self.name = name
        element = ScaleType(rawValue: try options.string("entry_dtype")) ?? .float16
    }

    func layout() throws -> Product.Layout {
        let dimension = source.dimension
        let parts = try options.optionalInteger("parts")
        if let parts, parts > mostParts {
            throw EmbedCompressError.invalidArgument(
                "\(name): parts must be at most \(mostParts), not \(parts)")
        }
        guard let budget = try options.optionalInteger("budget") else {
            return try layout(parts ?? (dimension + 3) / 4, try options.integer("bits"))
        }
        if parts != nil {
            throw EmbedCompressError.invalidArgument("give \(name) either parts or a budget, not both")
        }
        let widths = options.isGiven("bits") ? [try options.integer("bits")] : Array(4...12)
        var best: (gain: Double, layout: Product.Layout)?
        var least = Int.max
        for bits in widths {
            if let bytes = try bytes(try layout(1, bits)) { least = min(least, bytes) }
            guard let layout = try largest(bits, in: budget) else { continue }
            let gain = gain(layout)
            if best.map({ gain > $0.gain }) ?? true { best = (gain, layout) }
        }
        guard let best else {
            throw EmbedCompressError.budget(method: name, budgetBytes: budget, floorBytes: least)
        }
        return best.layout
    }

    private var mostParts: Int { Product.Layout.mostParts(dimension: source.dimension, mode: mode) }

    /// What a layout is expected to lower the error by: bits of code per row.
    private func gain(_ layout: Product.Layout) -> Double { Double(layout.parts * layout.bits) }

    private func layout(_ parts: Int, _ bits: Int) throws -> Product.Layout {
        try Product.Layout(dimension: source.dimension, parts: parts, bits: bits, mode: mode, element: element)
    }

    private func bytes(_ layout: Product.Layout) throws -> Int? {
        guard let rows = Checked.product(source.rows, layout.rowBytes) else { return nil }
        return Checked.sum(rows, layout.bookBytes)
    }

    /// The layout with the most parts that so many bytes have room for; nil if not even one part fits.
    private func largest(_ bits: Int, in room: Int) throws -> Product.Layout? {
        func fitting(_ parts: Int) throws -> Product.Layout? {
            let layout = try layout(parts, bits)
            return try bytes(layout).map { $0 <= room } ?? false ? layout : nil
        }
        guard var best = try fitting(1) else { return nil }
        var (low, high) = (1, mostParts + 1)
        while high - low > 1 {
            let middle = (low + high) / 2
            if let layout = try fitting(middle) { (low, best) = (middle, layout) } else { high = middle }
        }
        return best
    }
}
