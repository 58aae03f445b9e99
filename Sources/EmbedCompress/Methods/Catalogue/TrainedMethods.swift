/// The methods that learn a table in its compressed form: those of the study by Zhang et al. (PVLDB 17(4), 2024, arXiv
/// 2311.15578), their ancestors, and successors. In formulas n is the number of rows, and d that of columns.
enum TrainedMethods {
    static let all = [
        full, hash, compo, tt, dhe, robe, dedup, dpq, mgqe, adapt, int4, int8, int16, alpt, mde, autodim, optembed,
        deeplight, gmp, pep, autosrh, cce, cafe,
    ]

    /// An entry of this stage.
    static func entry(
        _ name: String, _ title: String, _ family: Family, paper: String, summary: String, bytesPerRow: String,
        cost: String, options: [Option] = []
    ) -> MethodEntry {
        MethodEntry(
            name: name, title: title, family: family, stage: .whileTraining, paper: paper, summary: summary,
            bytesPerRow: bytesPerRow, cost: cost, options: options)
    }

    private static let full = entry(
        "full", "Full", .uncompressed, paper: "-", summary: "a row of its own for every id",
        bytesPerRow: "4 * d, or 2 * d of bf16 or f16", cost: "that of torch.nn.Embedding",
        options: [
            Option(
                "dtype", .choice(["f32", "bf16", "f16"]), default: "f32",
                "of the rows; bf16 and f16 for tables with an optimizer of their own")
        ])
}

// MARK: - Rows that ids share

extension TrainedMethods {
    private static let hash = entry(
        "hash", "Hash", .hashing, paper: "Weinberger et al., ICML 2009, arXiv 0902.2206",
        summary: "id x has the row x mod m of a smaller table", bytesPerRow: "4 * d * m / n",
        cost: "that of torch.nn.Embedding")

    private static let compo = entry(
        "compo", "CompoEmb", .hashing, paper: "Shi et al., KDD 2020, arXiv 1909.02107",
        summary: "the product of a row chosen by id div k and one chosen by id mod k",
        bytesPerRow: "4 * d * (ceil(n / k) + k) / n", cost: "two lookups and a product",
        options: [
            Option("operation", .choice(["product", "sum"]), default: "product", "how both rows make one")
        ])

    private static let tt = entry(
        "tt", "TT-Rec", .decomposition, paper: "Yin et al., MLSys 2021, arXiv 2101.11714",
        summary: "the product of three small matrices, chosen by three digits of the id",
        bytesPerRow: "4 * R * (N0 * d0 + N1 * d1 * R + N2 * d2) / n", cost: "d0 * d1 * R^2 products for each row")

    private static let dhe = entry(
        "dhe", "DHE", .hashing, paper: "Kang et al., KDD 2021, arXiv 2010.10784",
        summary: "a network for each field, of many hashes of the id, in place of a table",
        bytesPerRow: "(4 * ((k + 1) * h + 4 * h * (h + 1) + (h + 1) * d) + 24 * k + 8) / n",
        cost: "h * (k + 4 * h + d) products for each id",
        options: [
            Option("hashes", .integer(1...65_536), default: 1024, "of an id; an even number with normal"),
            Option("encoding", .choice(["uniform", "normal"]), default: "uniform", "how hashes become numbers"),
        ])

    private static let robe = entry(
        "robe", "ROBE", .hashing, paper: "Desai et al., MLSys 2022, arXiv 2108.02191",
        summary: "runs of one array that all ids share, each with a sign, where a hash of the id says",
        bytesPerRow: "4 * M / n", cost: "a hash for each run, and d numbers from anywhere",
        options: [
            Option(
                "block", .integer(1...maximumDimension), default: .null,
                "columns of a run, at most d; the whole row if not given"),
            Option("signs", .flag, default: true, "whether a run has a sign, which its hash gives"),
            Option(
                "own", .number(0...1), default: 0.0,
                "the most of the budget for rows of their own of the fields with the fewest ids, all but the largest; "
                    + "the other fields share the array"),
        ])

    private static let dedup = entry(
        "dedup", "Dedup", .deduplication, paper: "Zhou et al., PVLDB 15, 2022",
        summary: "trains the full table, makes blocks of rows that are alike one, and trains on",
        bytesPerRow: "(4 * d * b * kept + blocks * ceil(log2(kept)) / 8) / n with blocks of b rows",
        cost: "that of torch.nn.Embedding and a lookup in the map; the full table in the first stage",
        options: [
            Option(
                "block", .integer(1...Int.max), default: .null, "rows of a block; the budget chooses if not given")
        ])

    private static let adapt = entry(
        "adapt", "AdaptEmb", .hybrid, paper: "Alibaba DeepRec; Zhang et al., PVLDB 17(4), 2024, arXiv 2311.15578",
        summary: "rows of their own for ids that are used often, shared rows for the others; needs counts",
        bytesPerRow: "4 * d * rows / n + 9 / 64, or less", cost: "that of torch.nn.Embedding",
        options: [
            Option(
                "top_percent", .number(0...1), default: .null,
                "the share of ids with rows of their own; if not given, split decides"),
            Option(
                "split", .choice(["even", "counts"]), default: "even",
                "which rows are of ids alone: half of those that the budget pays for, but at most 0.1 of the ids; or as "
                    + "many as leave the least error of shared rows, by the counts of ids"),
            Option(
                "hot_bits", .integer(2...8), default: .null,
                "of the rows of frequent ids in a table with bits, which are those of the shared rows; the same if not "
                    + "given"),
        ])

    private static let cce = entry(
        "cce", "CCE", .hashing, paper: "Tsang and Ahle, NeurIPS 2023, arXiv 2210.05974",
        summary: "sums of a row chosen by a learnt cluster and one chosen by a hash, for each chunk of columns",
        bytesPerRow: "chunks * ceil(log2(k)) / 8 + 8 * d * k / n",
        cost: "two lookups and a sum for each chunk; k-means of all ids, a few times while training",
        options: [
            Option(
                "chunks", .integer(1...maximumDimension), default: .null,
                "pieces of a row, a divisor of d; the budget chooses among 4, 2 and 1 if not given"),
            Option("interval", .integer(1...Int.max), default: 1000, "steps before each clustering"),
            Option("clusterings", .integer(0...Int.max), default: 6, "how often ids are clustered"),
        ])

    private static let cafe = entry(
        "cafe", "CAFE", .hybrid, paper: "Zhang et al., SIGMOD 2024, arXiv 2312.03256",
        summary:
            "ids whose gradients are large have rows of their own, the others share rows; moves ids while training",
        bytesPerRow: "4 * d * (shared + hot) / n + 0.14, or 4 * d * shared / n + 9 * d * hot / n",
        cost: "that of torch.nn.Embedding, norms of gradients, and choosing hot ids every so many steps",
        options: [
            Option("hot", .number(0...1), default: 0.9, "the share of the budget for ids with rows of their own"),
            Option("interval", .integer(1...Int.max), default: 100, "steps between choices of hot ids"),
            Option("decay", .number(0...1), default: 0.98, "what remains of importance after an interval"),
            Option(
                "tracking", .choice(["sketch", "exact"]), default: "sketch",
                "what has the importance of ids while training: a sketch of the most important ones, within the "
                    + "budget, or 8 bytes for every id beside it"),
        ])
}
