#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

extension Method {
    static let pq = Method(
        name: "pq", title: "PQ", family: .productQuantization, paper: "Jégou, Douze and Schmid 2011, IEEE TPAMI 33 (1)",
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
                "budget", .budget, default: .null,
                "most bytes of the result; chooses parts, and bits unless they are given"),
        ],
        takesWeights: true, passes: 2
    ) { input, options, progress in
        try checkRowWeights(input, "pq")
        return try ProductQuantizer(
            input, layout: try ProductPlan.layout(input, options, .concatenate, "pq"),
            rounds: try options.integer("rounds"), seed: try options.integer("seed"), progress: progress)
    }

    static let rq = Method(
        name: "rq", title: "RQ", family: .productQuantization, paper: "Chen, Guan and Wang 2010, Sensors 10 (12)",
        summary: "each row a sum of an entry of each level's codebook, found by beam search",
        bytesPerRow: "ceil(parts * bits / 8) + parts * 2^bits * d * (2 for f16, 4 for f32) / rows",
        cost: "(rounds + refits * beam) * parts * 2^bits * d steps for each of 256 * 2^bits rows, and "
            + "beam * parts * 2^bits * d for each row",
        options: [
            Option("parts", .integer(1...maximumDimension), default: .integer(8), "levels of codebooks"),
            Option("bits", .integer(Product.bitWidths), default: .integer(8), "bits of a code"),
            entryOption,
            Option("beam", .integer(1...256), default: .integer(5), "sums that encoding keeps of each row"),
            Option("rounds", .integer(1...100_000), default: .integer(20), "most rounds of k-means of a level"),
            Option("refits", .integer(0...1000), default: .integer(3), "times that codebooks are fitted to codes"),
            seedOption,
            Option(
                "budget", .budget, default: .null,
                "most bytes of the result; chooses parts, up to 2 bits a column, and bits unless they are given"),
        ],
        takesWeights: true, passes: 2
    ) { input, options, progress in
        try checkRowWeights(input, "rq")
        return try ResidualQuantizer(
            input, layout: try ProductPlan.layout(input, options, .sum, "rq"),
            beam: try options.integer("beam"), rounds: try options.integer("rounds"),
            refits: try options.integer("refits"), seed: try options.integer("seed"), progress: progress)
    }

    static let entryOption = Option(
        "entry_dtype", .choice(["auto"] + ScaleType.allCases.map(\.rawValue)), default: .string("auto"),
        "type of a codebook's entries; auto is f16 unless that loses more than a 64th of the rows' norm")
    static let seedOption = Option(
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
    /// Bits of a code that a budget chooses among.
    static let widths = Array(4...12)

    let source: any Node
    let options: OptionValues
    let mode: Product.Mode
    let name: String
    let element: ScaleType

    /// The layout that options and a budget choose.
    static func layout(
        _ input: CompressionInput, _ options: OptionValues, _ mode: Product.Mode, _ name: String
    ) throws -> Product.Layout {
        try ScaleChoice.withNumberType("entry_dtype", options, of: input, mixesColumns: mode == .sum) { element in
            try ProductPlan(source: input.source, options: options, mode: mode, name: name, element: element).layout()
        }
    }

    private func layout() throws -> Product.Layout {
        let dimension = source.dimension
        let parts = try options.optionalInteger("parts")
        if let parts, parts > mostParts {
            throw EmbedCompressError.invalidArgument(
                "\(name): parts must be at most \(mostParts), not \(parts)")
        }
        guard let budget = try options.optionalInteger("budget") else {
            return try layout(parts ?? (dimension + 3) / 4, try options.integer("bits"))
        }
        if options.isGiven("parts") {
            throw EmbedCompressError.invalidArgument("give \(name) either parts or a budget, not both")
        }
        let widths = options.isGiven("bits") ? [try options.integer("bits")] : Self.widths
        var best: (error: Double, layout: Product.Layout)?
        var least = Int.max
        for bits in widths {
            if let bytes = try bytes(try layout(1, bits)) { least = min(least, bytes) }
            guard let most = try mostParts(bits, in: budget) else { continue }
            // Learning sums of more bits takes hours where codes of each column take seconds.
            let sums = min(most, max(2 * dimension / bits, 1))
            for parts in mode == .sum ? sums...sums : 1...most {
                let error = error(parts, bits)
                if error < best?.error ?? .infinity { best = (error, try layout(parts, bits)) }
            }
        }
        guard let best else {
            throw EmbedCompressError.budget(method: name, budgetBytes: budget, floorBytes: least)
        }
        return best.layout
    }

    private var mostParts: Int { Product.Layout.mostParts(dimension: source.dimension, mode: mode) }

    /// The squared error that normally distributed rows of variance 1 are expected to have.
    private func error(_ parts: Int, _ bits: Int) -> Double {
        let dimension = source.dimension
        if mode == .sum {
            return Self.fit(bits, rows: source.rows)
                * Self.error(bits: Double(parts * bits), columns: Double(dimension))
        }
        return Self.error(rows: source.rows, dimension: dimension, parts: parts, bits: bits)
    }

    /// The same of sub-vectors side by side, of all columns together.
    static func error(rows: Int, dimension: Int, parts: Int, bits: Int) -> Double {
        let (width, wider) = dimension.quotientAndRemainder(dividingBy: parts)
        let (narrow, wide) = (Double(width), Double(width + 1))
        return fit(bits, rows: rows)
            * (Double(parts - wider) * narrow * error(bits: Double(bits), columns: narrow)
                + Double(wider) * wide * error(bits: Double(bits), columns: wide))
    }

    /// With few rows for each entry, a codebook fits its own rows better than others.
    private static func fit(_ bits: Int, rows: Int) -> Double {
        max(1 - Double(1 << bits) / Double(max(rows, 1)), 0x1p-20)
    }

    /// The error of a column of a part. At high rates that of an optimal quantiser, whose cells are the rounder the more
    /// columns there are (Gersho 1979): 2.72 times that of the rate-distortion function for one column, 1 for very many.
    private static func error(bits: Double, columns: Double) -> Double {
        let rate = bits / columns
        return pow(4, -rate) * (1 + 1.72 * pow(columns, -0.76) * (1 - exp(-0.4 * rate)))
    }

    private func layout(_ parts: Int, _ bits: Int) throws -> Product.Layout {
        try Product.Layout(dimension: source.dimension, parts: parts, bits: bits, mode: mode, element: element)
    }

    private func bytes(_ layout: Product.Layout) throws -> Int? {
        guard let rows = Checked.product(source.rows, layout.rowBytes) else { return nil }
        return Checked.sum(rows, layout.bookBytes)
    }

    /// The most parts that so many bytes have room for; nil if not even one fits.
    private func mostParts(_ bits: Int, in room: Int) throws -> Int? {
        func fits(_ parts: Int) throws -> Bool { try bytes(try layout(parts, bits)).map { $0 <= room } ?? false }
        guard try fits(1) else { return nil }
        var (low, high) = (1, mostParts + 1)
        while high - low > 1 {
            let middle = (low + high) / 2
            if try fits(middle) { low = middle } else { high = middle }
        }
        return low
    }
}
