/// A way to compress a table, as `methods()` lists it. Adding one is a file with a `Method` and a line in
/// ``Method/all``.
public struct Method: Sendable {
    /// The identifier, such as "greedy".
    public let name: String
    /// The field's spelling, such as "GREEDY".
    public let title: String
    public let paper: String
    /// What the method is for: "post-training".
    public let kind: String
    /// One line on what it does.
    public let summary: String
    /// A formula of bytes per row.
    public let bytesPerRow: String
    /// What compressing costs, in words.
    public let cost: String
    public let options: [Option]

    /// Whether the method minimises an error, which weights can be given for.
    let takesWeights: Bool
    /// How often the method reads each row; progress counts every reading.
    let passes: Int
    /// Decides what concerns the whole table. Reports `passes - 1` readings of each row.
    let prepare: @Sendable (CompressionInput, OptionValues, ProgressCounter) throws -> any RowCompressor

    /// Every method, in the order of the papers.
    public static let all: [Method] = [
        .table, .sym, .gss, .asym, .aciq, .histApprox, .histBrute, .greedy, .leastSquares, .kmeans,
        .kmeansClusters, .prune, .eden, .int8, .int16, .pq,
    ]

    /// The method of that name.
    public static func named(_ name: String) throws -> Method {
        guard let method = all.first(where: { $0.name == name }) else {
            let names = all.map(\.name).joined(separator: ", ")
            throw EmbedCompressError.invalidArgument("there is no method '\(name)'; the methods are \(names)")
        }
        return method
    }
}

// MARK: - Methods that choose ranges

extension Method {
    enum Fallback { case never, optional, always }
    /// Bits of the methods that are made for few codes.
    static let paperWidths = Array(1...8)

    /// A method that chooses a range for each row, or each group of its columns. Its format options are common to all,
    /// and a budget chooses the bits.
    ///
    /// - Parameters:
    ///   - takesWeights: Whether the search minimises an error.
    ///   - fallback: Whether rows that plain min-max serves better take its range.
    static func ranges(
        name: String, title: String, paper: String = "Guan et al. 2019, arXiv 1911.02079", summary: String,
        cost: String, takesWeights: Bool, fallback: Fallback, bits: [Int] = Uniform.bitWidths, options: [Option] = [],
        search: @escaping @Sendable (OptionValues, UniformFormat) throws -> any RangeSearch
    ) -> Method {
        Method(
            name: name, title: title, paper: paper, kind: "post-training", summary: summary,
            bytesPerRow: "ceil(d * bits / 8) + groups * 2 * (2 for f16, 4 for f32)", cost: cost,
            options: formatOptions(bits: bits) + (fallback == .optional ? [fallbackOption] : []) + options,
            takesWeights: takesWeights, passes: 1
        ) { input, options, _ in
            let format = try uniformFormat(options, name: name, widths: bits, source: input.source)
            let isWanted = fallback == .optional ? try options.flag("fallback") : fallback == .always
            return UniformCompressor(
                layout: try format.layout(dimension: input.source.dimension), search: try search(options, format),
                fallsBack: isWanted)
        }
    }

    private static let fallbackOption = Option(
        "fallback", .flag, default: .bool(true), "rows that plain min-max serves better take its range")

    private static func formatOptions(bits: [Int]) -> [Option] {
        [
            bitsOption(bits),
            Option(
                "group", .integer(1...maximumDimension), default: .null,
                "columns that share a scale, a multiple of 8; the row if not given"),
            Option(
                "scale_dtype", .choice(["auto"] + ScaleType.allCases.map(\.rawValue)), default: .string("auto"),
                "type of scale and bias; auto is f16 up to 8 bits and f32 for 16"),
            budgetOption,
        ]
    }

    static func bitsOption(_ widths: [Int]) -> Option {
        Option("bits", .integerFrom(widths), default: .integer(4), "bits of a code")
    }

    static let budgetOption = Option(
        "budget", .integer(0...Int.max), default: .null, "most bytes of the result; chooses bits")

    private static func uniformFormat(
        _ options: OptionValues, name: String, widths: [Int], source: any Node
    ) throws -> UniformFormat {
        var format = UniformFormat(
            bits: 0, group: try options.optionalInteger("group"),
            scaleType: ScaleType(rawValue: try options.string("scale_dtype")))
        format.bits = try bits(options, name: name, widths: widths) { bits in
            format.bits = bits
            return Checked.product(source.rows, try format.layout(dimension: source.dimension).rowBytes)
        }
        return format
    }

    /// The option "bits", or the most bits that the option "budget" allows.
    ///
    /// - Parameter bytes: The bytes of the result for a number of bits; nil if they are too many to count.
    static func bits(
        _ options: OptionValues, name: String, widths: [Int], bytes: (Int) throws -> Int?
    ) throws -> Int {
        guard let budget = try options.optionalInteger("budget") else { return try options.integer("bits") }
        if options.isGiven("bits") {
            throw EmbedCompressError.invalidArgument("give \(name) either bits or a budget, not both")
        }
        var least = Int.max
        for bits in widths.sorted(by: >) {
            guard let bytes = try bytes(bits) else { continue }
            if bytes <= budget { return bits }
            least = min(least, bytes)
        }
        throw EmbedCompressError.budget(method: name, budgetBytes: budget, floorBytes: least)
    }
}
