// Methods whose rows are codes of few bits while they train.

extension TrainedMethods {
    static let dpq = entry(
        "dpq", "DPQ", .productQuantization, paper: "Chen, Li and Sun, ICML 2020, arXiv 1908.09756",
        summary: "codes into centroids of sub-vectors of a row, learnt by straight-through gradients or a softmax",
        bytesPerRow: "ceil(parts * bits / 8) + 4 * d * 2^bits / n", cost: productCost,
        options: productOptions(bits: 1...12, of: "a code"))

    static let mgqe = entry(
        "mgqe", "MGQE", .productQuantization, paper: "Kang et al., WWW 2020, arXiv 2002.08530",
        summary: "learnt codes into centroids of sub-vectors, of which rare rows may choose the first quarter only",
        bytesPerRow: "ceil(parts * bits / 8), ceil(parts * (bits - 2) / 8) if rare, + 5 * d * 2^bits / n + 0.14",
        cost: productCost,
        options: productOptions(bits: 3...12, of: "a frequent row's code") + [
            Option("frequent", .number(0...1), default: 0.1, "the share of rows that have all centroids")
        ])

    private static let productCost = "2^bits * d products for each row, and a full table of queries while training"

    private static func productOptions(bits: ClosedRange<Int>, of code: String) -> [Option] {
        [
            Option("kind", .choice(["vq", "sx"]), default: "vq", "the nearest centroid, or a softmax over them"),
            Option("bits", .integer(bits), default: .null, "of \(code); the budget chooses if not given"),
            Option(
                "parts", .integer(1...maximumDimension), default: .null,
                "codes of a row, a divisor of d; the budget chooses if not given"),
            Option(
                "commitment", .number(0 ... .infinity), default: 1.0, "weight of the loss that moves centroids; for vq"),
            Option(
                "centroid_bits", .integer(2...8), default: .null,
                "of codes that the numbers of centroids are rounded to while training, and stored as; f32 if not given"),
        ]
    }

    static let int4 = integers(bits: 4, codes: "ceil(d / 2)")
    static let int8 = integers(bits: 8, codes: "d")
    static let int16 = integers(bits: 16, codes: "2 * d")

    private static func integers(bits: Int, codes: String) -> MethodEntry {
        entry(
            "int\(bits)", "INT\(bits)", .uniformQuantization, paper: "Xu et al., SIGMOD 2021",
            summary: "codes of \(bits) bits, rounded up or down at random after each step; the grid grows as needed",
            bytesPerRow: "\(codes) + 8 / n with a scale of the table, \(codes) + 8 with scales of rows",
            cost: "that of torch.nn.Embedding, and rounding what each step moves; training takes the full table",
            options: [Option("scope", .choice(["table", "row"]), default: "table", "what shares a scale")]
                + (bits < 16 ? [highPrecision] : []))
    }

    private static let highPrecision = Option(
        "high_precision", .number(0...1), default: .null,
        "for a table with an optimizer of its own: the most share of rows that are kept in f16, as the budget has room: "
            + "those of the fields of fewest ids or, with counts, of the ids that are used the most; 0.1 if not given")

    static let alpt = entry(
        "alpt", "ALPT", .uniformQuantization, paper: "Li et al., AAAI 2023, arXiv 2212.05735",
        summary: "codes of b bits with a scale of each row that is learnt, rounded up or down at random",
        bytesPerRow: "ceil(d * b / 8) + 4 + 4 * 2^b / n",
        cost: "rounding the rows of each batch; training takes the full table",
        options: [
            Option(
                "bits", .integer(2...8), default: .null, "of a code; the widest of 8, 4, 2 that fits if not given"),
            Option("reach", aboveZero, default: 0.5, "the magnitude up to which the first scales go"),
            Option(
                "passes", .integer(1...2), default: .null,
                "for a table with an optimizer of its own: whether scales learn from a second pass over the batch, as "
                    + "in the paper, or from the first one; 2 if not given"),
            Option(
                "scale_rate", .number(0...1), default: .null,
                "for such a table: how far a step moves a scale; 0.005 if not given"),
            highPrecision,
        ])

    /// What is divided by, or a duration.
    static let aboveZero = Option.Kind.number(1e-9 ... .infinity)
}
