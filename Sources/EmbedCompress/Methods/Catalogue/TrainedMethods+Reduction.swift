// Methods that find which columns or numbers of a table are worth their bytes while it is trained.

extension TrainedMethods {
    // MARK: Mixed dimension

    static let mde = entry(
        "mde", "MDE", .mixedDimension, paper: "Ginart et al., ISIT 2021, arXiv 1909.11810",
        summary: "rows that are the narrower the larger their field is, and a matrix for each field",
        bytesPerRow: "4 * w * (1 + d / n)", cost: "w * d products for each row",
        options: [
            Option(
                "alpha", .number(0 ... .infinity), default: .null,
                "how fast fields narrow; the budget chooses if not given"),
            Option(
                "widths", .choice(["any", "powers"]), default: "any",
                "any whole numbers, or powers of two, as in the study"),
        ])

    static let autodim = entry(
        "autodim", "AutoDim", .mixedDimension, paper: "Zhao et al., WWW 2021, arXiv 2006.14827",
        summary: "a number of columns for each field, searched for by a softmax over candidates, and a matrix to d",
        bytesPerRow: "sum over fields of 4 * min(n_f * d_f + d_f * d + d, n_f * d) / n",
        cost: "d_f * d products for each row; about two full tables while searching, and training twice",
        options: [
            Option(
                "tables", .choice(["own", "shared"]), default: "own",
                "of candidates while searching: shared ones are columns of one"),
            Option(
                "anneal_steps", aboveZero, default: 312_500.0, "steps in which the temperature falls from 1 to 0.01"),
        ])

    static let optembed = entry(
        "optembed", "OptEmbed", .mixedDimension, paper: "Lyu et al., CIKM 2022, arXiv 2208.04482",
        summary: "rows that pass a learnt norm, with the first columns only, as many as a search finds for each field",
        bytesPerRow: "sum over fields of (4 * kept * columns + the fewer of n * log2(kept) / 8 and n * 9 / 64) / n",
        cost: "a full table while training, training twice, and evaluations for the search",
        options: [
            Option("alpha", .number(0 ... .infinity), default: 1e-5, "weight of the sum of exp(-t) in the loss"),
            Option("threshold_rate", .number(0 ... .infinity), default: 1e-4, "the learning rate of thresholds"),
            Option("rounds", .integer(0...Int.max), default: 5, "of the search for columns; 20 evaluations each"),
        ])

    // MARK: Pruning

    private static let sparseBytes =
        "min(kept * (v + i) + 4 * (n + 1), kept * (v + i + 4)) / n, of values v = 4 or 2 and columns i = 1, 2 or 4"
    private static let valuesOption = Option(
        "values", .choice(["f32", "f16"]), default: "f32", "what values that are kept are stored as")

    static let deeplight = entry(
        "deeplight", "DeepLight", .pruning, paper: "Deng et al., WSDM 2021, arXiv 2002.06987",
        summary: "the smallest numbers of the table become zero, more and more of them as training goes on",
        bytesPerRow: sparseBytes, cost: "a full table while training, and two passes over it every interval",
        options: [
            Option("interval", .integer(1...Int.max), default: 10, "steps from one pruning to the next"),
            Option(
                "decay_steps", aboveZero, default: .null,
                "steps in which the numbers left to prune fall by 1 %; 100, or what the training has steps for, if not "
                    + "given"),
            valuesOption,
        ])

    static let gmp = entry(
        "gmp", "GMP", .pruning, paper: "Zhu and Gupta, 2017, arXiv 1710.01878",
        summary: "gradual magnitude pruning: the smallest numbers become zero in one pass, most of them early on",
        bytesPerRow: sparseBytes, cost: "a full table while training, and two passes over it every interval",
        options: [
            Option("interval", .integer(1...Int.max), default: 10, "steps from one pruning to the next"),
            Option("begin", .number(0...1), default: 0.3, "share of the steps after which pruning begins"),
            Option("end", .number(0...1), default: 0.9, "share of the steps after which all is pruned"),
            valuesOption,
        ])

    static let pep = entry(
        "pep", "PEP", .pruning, paper: "Liu et al., ICLR 2021, arXiv 2101.07577",
        summary: "numbers above thresholds that are learnt, trained again from the start without the others",
        bytesPerRow: sparseBytes, cost: "up to two full tables while training, and training twice",
        options: [
            Option(
                "granularity", .choice(["element", "row", "dimension", "global"]), default: "element",
                "what has a threshold of its own"),
            Option(
                "initial_threshold", .number(-80...80), default: -15.0, "s at first; its sigmoid is the threshold"),
            Option(
                "decay", .number(0...1), default: .null,
                "the share by which every s comes nearer to 0 at each step of the search, as by weight decay; if not "
                    + "given, as much as makes a sixteenth of it in the steps that the search has, or 0.001"),
            valuesOption,
        ])

    static let autosrh = entry(
        "autosrh", "AutoSrh", .pruning, paper: "Kong et al., TKDE 2023",
        summary:
            "pruned by magnitude times a weight of the column, learnt for each group of ids that are used as often",
        bytesPerRow: sparseBytes,
        cost: "a full table while training, and three stages; if gradual, one, which reads all of it every 5 batches",
        options: [
            Option("groups", .integer(1...256), default: 6, "groups of ids, by how often they are used"),
            Option("l1", .number(0 ... .infinity), default: 1e-5, "weight of the sum of alpha in the loss"),
            Option(
                "schedule", .choice(["once", "gradual"]), default: "once",
                "whether numbers are pruned before retraining, or more and more of them in one pass that also searches"),
            valuesOption,
        ])
}
