/// A way to compress a table that is there. Adding one is a file with a `Method` and a line in ``Method/builtIn``.
public struct Method: Sendable {
    /// The identifier, such as "greedy".
    public let name: String
    /// The field's spelling, such as "GREEDY".
    public let title: String
    public let family: Family
    public let paper: String
    /// One line on what it does.
    public let summary: String
    /// A formula of bytes per row.
    public let bytesPerRow: String
    /// What compressing costs, in words.
    public let cost: String
    public let options: [Option]

    /// What compresses a table that is there works after training.
    public var stage: Stage { .afterTraining }

    /// Whether the method minimises an error, which weights can be given for.
    let takesWeights: Bool
    /// How often the method reads each row; progress counts every reading.
    let passes: Int
    /// Whether a budget is solved for ``CompressionInput/budgetRows``; those of other methods are cut down to a sample.
    var countsSampledRows = false
    /// Decides what concerns the whole table. Reports `passes - 1` readings of each row.
    let prepare: @Sendable (CompressionInput, OptionValues, ProgressCounter) throws -> any RowCompressor

    /// Every method that works after training: this module's, in the order of the papers, and those that others registered.
    public static var all: [Method] { builtIn + registered.items }

    /// Methods from outside this module.
    static let registered = Registry<Method>([])
    static let builtIn: [Method] = [
        .table, .sym, .gss, .asym, .aciq, .histApprox, .histBrute, .greedy, .leastSquares, .multipoint,
        .kmeans, .kmeansClusters, .eden, .trellis, .int8, .int16, .pq, .rq, .prune, .dedup,
        .magnitudeProduct, .optimizedProduct, .svd, .magnitudeSVD, .tensorTrain, .hotCold, .tiers, .exact,
    ]
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
            name: name, title: title, family: .uniformQuantization, paper: paper, summary: summary,
            bytesPerRow: "ceil(d * bits / 8) + groups * 2 * (2 for f16, 4 for f32)", cost: cost,
            options: formatOptions(bits: bits) + (fallback == .optional ? [fallbackOption] : []) + options,
            takesWeights: takesWeights, passes: 1
        ) { input, options, _ in
            let isWanted = fallback == .optional ? try options.flag("fallback") : fallback == .always
            func compressor(_ format: UniformFormat, rangeFactors: [Float]?) throws -> UniformCompressor {
                UniformCompressor(
                    layout: try format.layout(dimension: input.source.dimension), search: try search(options, format),
                    fallsBack: isWanted, rangeFactors: rangeFactors)
            }
            let factors = try rangeFactors(options, name: name, rows: input.source.rows)
            let format = try uniformFormat(options, name: name, widths: bits, input: input) {
                try compressor($0, rangeFactors: nil)
            }
            return try compressor(format, rangeFactors: factors)
        }
    }

    /// How the errors of a search count.
    static let normOption = Option(
        "p", .number(ErrorNorm.range), default: .number(2),
        "a multiple of 0.25: the search minimises the sum of errors to the power p, and with it their L_p norm")

    static func norm(_ options: OptionValues, name: String) throws -> ErrorNorm? {
        try ErrorNorm(p: try options.number("p"), method: name)
    }

    private static let largestFactor = 1024.0

    private static func rangeFactors(_ options: OptionValues, name: String, rows: Int) throws -> [Float]? {
        guard let factors = try options.optionalNumbers("range_factors") else { return nil }
        guard factors.count == rows else {
            throw EmbedCompressError.invalidArgument(
                "\(name): range_factors must be \(rows) numbers, one for each row, not \(factors.count)")
        }
        for (row, factor) in factors.enumerated() where !(factor > 0 && factor <= largestFactor) {
            throw EmbedCompressError.invalidArgument(
                "\(name): range_factors has \(factor) for row \(row); a factor is above 0 and at most "
                    + "\(Int(largestFactor))")
        }
        return factors.map { Float($0) }
    }

    private static let fallbackOption = Option(
        "fallback", .flag, default: .bool(true), "rows that plain min-max serves better take its range")

    private static func formatOptions(bits: [Int]) -> [Option] {
        [
            bitsOption(bits),
            Option(
                "group", .integer(1...maximumDimension), default: .null,
                "columns that share a scale, a multiple of 8; the row if not given"),
            scaleTypeOption,
            Option(
                "range_factors", .rowNumbers, default: .null,
                "what the width of each row's range is multiplied by, about its middle, once it is chosen; rows of one "
                    + "value keep theirs"),
            budgetOption,
        ]
    }

    static let scaleTypeOption = Option(
        "scale_dtype", .choice(["auto"] + ScaleType.allCases.map(\.rawValue)), default: .string("auto"),
        "type of scale and bias; auto is f32 for 16 bits, where f16 costs more than a tenth of the error, and for values "
            + "beyond f16, else f16")

    static func bitsOption(_ widths: [Int]) -> Option {
        Option("bits", .integerFrom(widths), default: .integer(4), "bits of a code")
    }

    static let budgetOption = Option(
        "budget", .budget, default: .null, "most bytes of the result; chooses bits")

    /// - Parameter compressor: Makes rows of a format, by which the type of scales is chosen.
    private static func uniformFormat(
        _ options: OptionValues, name: String, widths: [Int], input: CompressionInput,
        compressor: (UniformFormat) throws -> UniformCompressor
    ) throws -> UniformFormat {
        let source = input.source
        let group = try options.optionalInteger("group")
        func format(_ scaleType: ScaleType?) throws -> UniformFormat {
            var format = UniformFormat(bits: 0, group: group, scaleType: scaleType)
            format.bits = try bits(options, name: name, widths: widths) { bits in
                format.bits = bits
                return Checked.product(source.rows, try format.layout(dimension: source.dimension).rowBytes)
            }
            return format
        }
        let given = ScaleType(rawValue: try options.string("scale_dtype"))
        let narrow = try format(given)
        guard given == nil, narrow.bits <= 8 else { return narrow }
        return try ScaleChoice.better(
            narrow, of: input, wide: { try format(.float32) }, steps: 1 << narrow.bits - 1, compressor: compressor)
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
