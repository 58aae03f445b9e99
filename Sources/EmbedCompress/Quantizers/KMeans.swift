/// KMEANS: a codebook for each row, by k-means of the row's values.
///
/// Guan et al. 2019 start Lloyd's algorithm from the grid of ASYM, which stops at a local minimum. k-means of numbers can
/// be solved exactly, which is the default. Entries are then rounded to the stored type, and values take the nearest.
/// A row with no more than `2^bits` distinct values is exact but for that rounding. f16 entries have steps of 1/2048 of
/// their size: rows whose values lie close together far from zero want f32.
///
/// Some `2^bits * d` steps a row, and sorting it.
struct KMeans: RowCompressor {
    let layout: Codebook.Layout
    /// Most rounds of Lloyd's algorithm; nil solves exactly.
    let rounds: Int?

    func compress(_ input: CompressionInput, tally: FallbackTally, progress: ProgressCounter) throws -> any Node {
        let rows = input.source.rows
        guard let byteCount = Checked.product(rows, layout.rowBytes) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        let bytes = Bytes(try ByteStorage.allocate(byteCount))
        let target = bytes.mutablePointer
        let encoder = CodebookRows(layout: layout, firstRow: input.firstRow)
        try RowReader.forEachBlock(of: input.source, and: input.elementWeights, progress: progress) {
            first, count, values, weights in
            let solver = try ScalarKMeans(capacity: layout.dimension, clusters: layout.entryCount)
            try Scratch.with(2 * layout.entryCount, of: Float.self) { space in
                for index in 0..<count {
                    let row = RowValues(base: values.row(index), count: layout.dimension)
                    try encoder.check(row, index: first + index)
                    solver.load(row.base, weights: weights?.row(index), count: row.count)
                    if let rounds {
                        solver.iterate(clusters: layout.entryCount, rounds: rounds)
                    } else {
                        solver.solve(clusters: layout.entryCount)
                    }
                    let book = SortedBook(
                        solver.result, count: layout.entryCount, type: layout.entryType, space: space)
                    let place = target + (first + index) * layout.rowBytes
                    encoder.encode(row, book, to: place)
                    book.store(layout.entryType, to: place + layout.codeBytes)
                }
            }
        }
        return try Codebook(bytes, rows: rows, layout: layout)
    }
}

extension Method {
    /// Options of every method that makes codebooks.
    static let codebookOptions = [
        bitsOption(Codebook.bitWidths),
        Option(
            "entry_dtype", .choice(["auto"] + ScaleType.allCases.map(\.rawValue)), default: .string("auto"),
            "type of a codebook's entries; auto is f16 unless that costs more than a tenth of the error, or values "
                + "are beyond it"),
    ]

    static let kmeans = Method(
        name: "kmeans", title: "KMEANS", family: .codebookQuantization, paper: "Guan et al. 2019, arXiv 1911.02079",
        summary: "a codebook for each row, by k-means of its values, solved exactly",
        bytesPerRow: "ceil(d * bits / 8) + 2^bits * (2 for f16, 4 for f32)",
        cost: "sorting each row, and some 2^bits passes over it",
        options: codebookOptions + [
            Option(
                "solver", .choice(["exact", "lloyd"]), default: .string("exact"),
                "lloyd is the paper's: Lloyd's algorithm from the grid of ASYM"),
            Option("rounds", .integer(1...100_000), default: .integer(300), "most rounds of the solver lloyd"),
            budgetOption,
        ],
        takesWeights: true, passes: 1
    ) { input, options, _ in
        let given = ScaleType(rawValue: try options.string("entry_dtype"))
        func layout(_ type: ScaleType) throws -> Codebook.Layout {
            func layout(_ bits: Int) throws -> Codebook.Layout {
                try Codebook.Layout(dimension: input.source.dimension, bits: bits, entryType: type, scope: .row)
            }
            return try layout(
                try bits(options, name: "kmeans", widths: Codebook.bitWidths) { bits in
                    Checked.product(input.source.rows, try layout(bits).rowBytes)
                })
        }
        let rounds = try options.string("solver") == "lloyd" ? try options.integer("rounds") : nil
        let narrow = try layout(given ?? .float16)
        guard given == nil else { return KMeans(layout: narrow, rounds: rounds) }
        let chosen = try ScaleChoice.better(narrow, of: input, wide: { try layout(.float32) }, steps: 1) {
            KMeans(layout: $0, rounds: rounds)
        }
        return KMeans(layout: chosen, rounds: rounds)
    }
}
