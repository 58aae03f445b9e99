/// A run of a table's rows that a method compresses.
struct CompressionInput: Sendable {
    let source: any Node
    /// How much an error counts: `rows x dimension` for each element, `rows x 1` for each row, nil for all alike.
    let weights: (any Node)?
    /// Where the run starts in the whole table.
    let firstRow: Int
    /// Rows that a budget is for, if the source is a sample of them; the knobs are then those of the whole.
    let countedRows: Int?
    /// Where a method says that it chose f32 for what is mostly f16.
    let wideScales = WideScales()

    init(source: any Node, weights: (any Node)? = nil, firstRow: Int = 0, countedRows: Int? = nil) {
        self.source = source
        self.weights = weights
        self.firstRow = firstRow
        self.countedRows = countedRows
    }

    /// Rows that bytes are counted for.
    var budgetRows: Int { countedRows ?? source.rows }

    /// Weights that differ within a row; those of whole rows change nothing about a row that is compressed by itself.
    var elementWeights: (any Node)? { weights.flatMap { $0.dimension == source.dimension ? $0 : nil } }

    /// Rows `range` of this run.
    func sliced(_ range: Range<Int>) throws -> CompressionInput {
        CompressionInput(
            source: try source.sliced(range), weights: try weights?.sliced(range),
            firstRow: firstRow + range.lowerBound)
    }

    /// Lets go of what reading this run has brought into memory.
    func discard() {
        source.discardPages()
        weights?.discardPages()
    }
}

/// A method that has decided everything about the whole table: it compresses any run of rows by itself. A run that
/// starts where a block of ``RowReader`` does gets the bytes that it has within the whole.
protocol RowCompressor: Sendable {
    /// The whole table, of a method that can't compress rows run by run; ``compress(_:tally:progress:)`` gives slices.
    var finished: (any Node)? { get }
    /// Whether the result depends on all rows together, once they are compressed: ``compress(_:tally:progress:)`` then gets the
    /// whole table.
    var needsWholeTable: Bool { get }
    /// Whether the products and sums that rows are decoded by might leave the range of f32, because the table has very
    /// large values. The result is then decoded once, and refused if a row is not finite.
    var mayOverflow: Bool { get }
    /// What was chosen for options that leave it open.
    var choices: [MethodChoice] { get }
    func compress(_ input: CompressionInput, tally: FallbackTally, progress: ProgressCounter) throws -> any Node
}

extension RowCompressor {
    var finished: (any Node)? { nil }
    var needsWholeTable: Bool { false }
    var mayOverflow: Bool { false }
    var choices: [MethodChoice] { [] }
}

/// Products and sums of numbers up to this stay far within the range of f32, whatever the size of a table.
let safeMagnitude: Float = 0x1p64

/// What a method has to say that makes a table at once.
struct FinishedTable: RowCompressor {
    let node: any Node
    var mayOverflow = false
    var finished: (any Node)? { node }

    func compress(_ input: CompressionInput, tally: FallbackTally, progress: ProgressCounter) throws -> any Node {
        try node.sliced(input.firstRow..<input.firstRow + input.source.rows)
    }
}

/// Counts the rows, or groups of columns, for which a search found nothing better than plain min-max, or than least squares, and
/// those whose f16 scale is coarse.
final class FallbackTally: Sendable {
    struct Counts {
        var fallbacks = 0
        /// See ``RangeFormat/areCoarse(_:)``.
        var coarseScales = 0

        static func += (counts: inout Counts, other: Counts) {
            counts.fallbacks += other.fallbacks
            counts.coarseScales += other.coarseScales
        }
    }

    private let ranges = AtomicInt()
    private let compared = AtomicInt()
    private let fallbacks = AtomicInt()
    private let coarseScales = AtomicInt()

    /// - Parameter areCompared: Whether a search was compared with plain min-max.
    func add(_ counts: Counts, ranges count: Int, areCompared: Bool) {
        ranges.add(count)
        if areCompared { compared.add(count) }
        fallbacks.add(counts.fallbacks)
        coarseScales.add(counts.coarseScales)
    }

    /// nil if no search was compared.
    var share: Double? { Self.share(fallbacks, compared) }
    /// nil if there are no ranges.
    var coarseShare: Double? { Self.share(coarseScales, ranges) }

    private static func share(_ some: AtomicInt, _ all: AtomicInt) -> Double? {
        all.value == 0 ? nil : Double(some.value) / Double(all.value)
    }
}

extension Method {
    /// Checks what the method is given, and lets it decide about the whole table.
    func begin(
        _ source: Table, _ options: [String: OptionValue], weights: Table? = nil, countedRows: Int? = nil,
        progress: ProgressCounter
    ) throws -> (input: CompressionInput, compressor: any RowCompressor) {
        var options = try Budget.inBytes(options, rows: countedRows ?? source.rows, dimension: source.dimension)
        if let countedRows, !countsSampledRows, case .integer(let budget) = options["budget"] {
            let share = max(budget, 0).multipliedFullWidth(by: source.rows)
            options["budget"] = .integer(share.high == 0 ? Int(share.low / UInt(max(countedRows, 1))) : Int.max)
        }
        let values = try OptionValues(options, for: self)
        if let weights { try check(weights, against: source) }
        let input = CompressionInput(source: source.root, weights: weights?.root, countedRows: countedRows)
        return (input, try prepare(input, values, progress))
    }

    /// Compresses a table.
    ///
    /// - Parameters:
    ///   - countedRows: Rows that a budget is for, if the source is a sample of them: the result has the knobs that the
    ///     budget means for a table of so many rows.
    /// - Throws: As ``Table/compressed(_:_:weights:progress:)``.
    package func compress(
        _ source: Table, _ options: [String: OptionValue] = [:], weights: Table? = nil, countedRows: Int? = nil,
        progress callback: ProgressCallback? = nil
    ) throws -> Table {
        let progress = progress(rows: source.rows, callback)
        return try MappedFile.reading(source.root.storages + (weights?.root.storages ?? [])) {
            let (input, compressor) = try begin(
                source, options, weights: weights, countedRows: countedRows, progress: progress)
            return Table(try finish(compressor, input, progress: progress), choices: compressor.choices)
        }
    }

    /// The same for a part of a longer call.
    ///
    /// - Parameter progress: Told of ``passes`` readings of each row.
    func compress(
        _ source: Table, _ options: [String: OptionValue], weights: Table? = nil, countedRows: Int? = nil,
        progress: ProgressCounter
    ) throws -> any Node {
        let (input, compressor) = try begin(
            source, options, weights: weights, countedRows: countedRows, progress: progress)
        return try finish(compressor, input, progress: progress)
    }

    private func finish(
        _ compressor: any RowCompressor, _ input: CompressionInput, progress: ProgressCounter
    ) throws -> any Node {
        let source = Table(input.source)
        guard let node = compressor.finished else {
            let node = try compressor.compress(input, tally: FallbackTally(), progress: progress)
            if compressor.mayOverflow { try checkDecoded(node, of: source, progress: progress.watch) }
            return node
        }
        if compressor.mayOverflow { try checkDecoded(node, of: source, progress: progress.watch) }
        progress.advance(by: source.rows)
        try progress.report()
        return node
    }

    /// Refuses a result with rows that are not finite.
    private func checkDecoded(_ node: any Node, of source: Table, progress: ProgressCounter) throws {
        try RowReader.forEachBlock(of: node, progress: progress) { first, count, values in
            for index in 0..<count
            where RowValues(base: values.row(index), count: node.dimension).extent() == nil {
                let extent = try Self.extent(source.root, progress: progress)
                throw extent.tooLarge("too large for what \(name) computes in f32")
            }
        }
    }

    /// Counts every reading of so many rows.
    func progress(rows: Int, _ callback: ProgressCallback?) -> ProgressCounter {
        ProgressCounter(total: Checked.product(rows, passes) ?? Int.max, callback: callback)
    }

    private func check(_ weights: Table, against source: Table) throws {
        guard takesWeights else {
            throw EmbedCompressError.invalidArgument(
                "\(name) minimises no error, so it takes no weights; those that take them are "
                    + Method.all.filter(\.takesWeights).map(\.name).joined(separator: ", "))
        }
        guard weights.rows == source.rows, [1, source.dimension].contains(weights.dimension) else {
            throw EmbedCompressError.invalidArgument(
                "weights must be \(source.rows) x 1 or \(source.rows) x \(source.dimension), "
                    + "not \(weights.rows) x \(weights.dimension)")
        }
        try RowReader.forEachBlock(of: weights.root, progress: ProgressCounter(total: 0, callback: nil)) {
            first, count, values in
            for index in 0..<count {
                let row = values.row(index)
                for column in 0..<weights.dimension where !(row[column] >= 0 && row[column] < .infinity) {
                    throw EmbedCompressError.invalidArgument(
                        "weights of row \(first + index) have \(row[column]) in column \(column); "
                            + "a weight is finite and not negative")
                }
            }
        }
    }
}

extension Table {
    /// This table, compressed by a method of the registry. The source may be any table; a dense one is what people
    /// have.
    ///
    /// - Parameters:
    ///   - options: By name; those left out have their defaults. See ``Method/options``.
    ///   - weights: How much an error counts, for methods that minimise one: `rows x 1`, such as how often a row is
    ///     used, or `rows x dimension`, such as squared gradients. Weights of whole rows matter where rows share what
    ///     is chosen.
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for an unknown method or option, a value out of range, or a
    ///   row that is not finite; ``EmbedCompressError/budget(method:budgetBytes:floorBytes:)`` for a budget that is too
    ///   small.
    public func compressed(
        _ method: String, _ options: [String: OptionValue] = [:], weights: Table? = nil,
        progress callback: ProgressCallback? = nil
    ) throws -> Table {
        try Method.named(method).compress(self, options, weights: weights, progress: callback)
    }
}
