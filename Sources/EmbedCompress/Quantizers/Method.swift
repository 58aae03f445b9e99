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

    let run: @Sendable (_ source: any Node, _ options: OptionValues, _ progress: ProgressCallback?) throws -> any Node

    /// Every method, in the order of the papers.
    public static let all: [Method] = [.asym, .greedy, .leastSquares]

    /// The method of that name.
    public static func named(_ name: String) throws -> Method {
        guard let method = all.first(where: { $0.name == name }) else {
            let names = all.map(\.name).joined(separator: ", ")
            throw EmbedCompressError.invalidArgument("there is no method '\(name)'; the methods are \(names)")
        }
        return method
    }
}

extension Table {
    /// This table, compressed by a method of the registry. The source may be any table; a dense one is what people
    /// have.
    ///
    /// - Parameter options: By name; those left out have their defaults. See ``Method/options``.
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for an unknown method or option, a value out of range, or a
    ///   row that is not finite; ``EmbedCompressError/budget(method:budgetBytes:floorBytes:)`` for a budget that is too
    ///   small.
    public func compressed(
        _ method: String, _ options: [String: OptionValue] = [:], progress: ProgressCallback? = nil
    ) throws -> Table {
        let method = try Method.named(method)
        return Table(try method.run(root, try OptionValues(options, for: method), progress))
    }
}

// MARK: - Methods that choose ranges

extension Method {
    /// A method of the 4-bit paper: its format options are common to all, and a budget chooses the bits.
    static func ranges(
        name: String, title: String, paper: String = "Guan et al. 2019, arXiv 1911.02079", summary: String,
        cost: String,
        options: [Option] = [], search: @escaping @Sendable (OptionValues, UniformFormat) throws -> any RangeSearch
    ) -> Method {
        Method(
            name: name, title: title, paper: paper, kind: "post-training", summary: summary,
            bytesPerRow: "ceil(d * bits / 8) + groups * 2 * (2 for f16, 4 for f32)", cost: cost,
            options: formatOptions + options
        ) { source, options, progress in
            let format = try uniformFormat(options, name: name, source: source)
            return try Uniform.quantize(source, format: format, search: try search(options, format), progress: progress)
        }
    }

    private static let formatOptions = [
        Option("bits", .integerFrom(Uniform.bitWidths), default: .integer(4), "bits of a code"),
        Option(
            "group", .integer(1...maximumDimension), default: .null,
            "columns that share a scale, a multiple of 8; the row if not given"),
        Option(
            "scale_dtype", .choice(["auto"] + ScaleType.allCases.map(\.rawValue)), default: .string("auto"),
            "type of scale and bias; auto is f16 up to 8 bits and f32 for 16"),
        Option("budget", .integer(0...Int.max), default: .null, "most bytes of the result; chooses bits"),
    ]

    private static func uniformFormat(_ options: OptionValues, name: String, source: any Node) throws -> UniformFormat {
        var format = UniformFormat(
            bits: try options.integer("bits"), group: try options.optionalInteger("group"),
            scaleType: ScaleType(rawValue: try options.string("scale_dtype")))
        guard let budget = try options.optionalInteger("budget") else { return format }
        if options.isGiven("bits") {
            throw EmbedCompressError.invalidArgument("give \(name) either bits or a budget, not both")
        }
        var least = Int.max
        for bits in Uniform.bitWidths.reversed() {
            format.bits = bits
            let rowBytes = try format.layout(dimension: source.dimension).rowBytes
            guard let bytes = Checked.product(source.rows, rowBytes) else { continue }
            if bytes <= budget { return format }
            least = min(least, bytes)
        }
        throw EmbedCompressError.budget(method: name, budgetBytes: budget, floorBytes: least)
    }
}
