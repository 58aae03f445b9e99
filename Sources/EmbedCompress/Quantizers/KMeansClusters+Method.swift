extension Method {
    static let kmeansClusters = Method(
        name: "kmeans_cls", title: "KMEANS-CLS", family: .codebookQuantization,
        paper: "Guan et al. 2019, arXiv 1911.02079",
        summary: "clusters of rows by k-means, and a codebook for each cluster by k-means of its values",
        bytesPerRow: "ceil(d * bits / 8) + index bytes + clusters * 2^bits * (2 for f16, 4 for f32) / rows",
        cost: "rounds * 2 * sqrt(clusters) passes over the table",
        options: codebookOptions + [
            Option(
                "clusters", .integer(1...Codebook.maximumClusters), default: .null,
                "clusters of rows; if not given, as many as the uniform methods' bytes have room for, at most 65536"),
            Option("rounds", .integer(1...100_000), default: .integer(10), "most rounds of k-means of rows"),
            Option("seed", .integer(0...Int.max), default: .integer(0), "of the rows that k-means starts from"),
            Option(
                "budget", .budget, default: .null,
                "most bytes of the result; chooses clusters, and bits unless they are given"),
        ],
        takesWeights: true, passes: 4
    ) { input, options, progress in
        let given = ScaleType(rawValue: try options.string("entry_dtype"))
        func layout(_ type: ScaleType) throws -> Codebook.Layout {
            try ClusterPlan(source: input.source, options: options, type: type).layout()
        }
        var chosen = try layout(given ?? .float16)
        if given == nil {
            // Codebooks of rows stand for those of clusters.
            chosen = try ScaleChoice.better(chosen, of: input, wide: { try layout(.float32) }, steps: 1) {
                KMeans(
                    layout: try Codebook.Layout(
                        dimension: $0.dimension, bits: $0.bits, entryType: $0.entryType, scope: .row), rounds: nil)
            }
        }
        return try KMeansClusters(
            input, layout: chosen, rounds: try options.integer("rounds"), seed: try options.integer("seed"),
            progress: progress)
    }
}

/// How many clusters there are, and how wide codes.
private struct ClusterPlan {
    let source: any Node
    let options: OptionValues
    let type: ScaleType

    func layout() throws -> Codebook.Layout {
        let bits = try options.integer("bits")
        let clusters = try options.optionalInteger("clusters")
        guard let budget = try options.optionalInteger("budget") else {
            if let clusters {
                guard clusters <= max(source.rows, 1) else {
                    throw EmbedCompressError.invalidArgument(
                        "kmeans_cls: clusters must be at most the table's \(source.rows) rows, not \(clusters)")
                }
                return try layout(bits, clusters)
            }
            let uniform = try UniformFormat(bits: bits, scaleType: type).layout(dimension: source.dimension)
            let room = Checked.product(source.rows, uniform.rowBytes) ?? Int.max
            return try layout(bits, min(try most(bits, in: room) ?? 1, 65_536))
        }
        if clusters != nil {
            throw EmbedCompressError.invalidArgument("give kmeans_cls either clusters or a budget, not both")
        }
        let widths = options.isGiven("bits") ? [bits] : Codebook.bitWidths.reversed()
        for bits in widths {
            if let clusters = try most(bits, in: budget) { return try layout(bits, clusters) }
        }
        let least = try bytes(try layout(widths.last ?? bits, 1)) ?? Int.max
        throw EmbedCompressError.budget(method: "kmeans_cls", budgetBytes: budget, floorBytes: least)
    }

    private func layout(_ bits: Int, _ clusters: Int) throws -> Codebook.Layout {
        try Codebook.Layout(
            dimension: source.dimension, bits: bits, entryType: type, scope: .cluster, clusters: clusters)
    }

    private func bytes(_ layout: Codebook.Layout) throws -> Int? {
        guard let rows = Checked.product(source.rows, layout.rowBytes),
            let books = Checked.product(layout.clusters, layout.bookBytes)
        else { return nil }
        return Checked.sum(rows, books)
    }

    /// The most clusters, no more than rows, that so many bytes have room for; nil if not even one fits.
    private func most(_ bits: Int, in room: Int) throws -> Int? {
        // Fewer clusters are never larger, so the bound can be found by halving.
        func fits(_ clusters: Int) throws -> Bool { try bytes(try layout(bits, clusters)).map { $0 <= room } ?? false }
        guard try fits(1) else { return nil }
        var (low, high) = (1, min(max(source.rows, 1), Codebook.maximumClusters) + 1)
        while high - low > 1 {
            let middle = (low + high) / 2
            if try fits(middle) { low = middle } else { high = middle }
        }
        return low
    }
}
