/// A call of a method that may be best for a table's shape and a budget.
struct Candidate: Sendable {
    /// An option, or the counts of rows, which stand in the place of a value.
    struct Option: Sendable {
        let name: String
        /// Nil for the counts.
        let value: OptionValue?
    }

    let method: Method
    /// Beside the budget.
    var options: [Option] = []
    /// Whether the method gets the counts as weights.
    var isWeighted = false
    /// Of product codes: how many sub-vectors or levels a budget for the whole table has room for, as far as can be said
    /// before.
    var parts: Int?
    /// A method that does about as well on any sample, where this one's knobs can't be those of the whole table.
    var follows: String?

    /// Of k-means for product codes on the sample, and of the rotation.
    private static let (sampleRounds, sampleTurns) = (8, 4)

    /// What the method is given.
    ///
    /// - Parameter uses: Nil if they are not known; no candidate then asks for them.
    func arguments(_ uses: RowUses?) throws -> (options: [String: OptionValue], weights: Table?) {
        let values = options.compactMap { option in
            (option.value ?? uses.map { .numbers($0.counts) }).map { (option.name, $0) }
        }
        return (
            Dictionary(values, uniquingKeysWith: { first, _ in first }), isWeighted ? try uses?.weights() : nil
        )
    }

    /// Compresses the whole table.
    func compress(_ table: Table, budget: Int, uses: RowUses?, progress: ProgressCallback?) throws -> Table {
        var (options, weights) = try arguments(uses)
        options["budget"] = .integer(budget)
        return try table.compressed(method.name, options, weights: weights, progress: progress)
    }

    /// Compresses a sample with the knobs that the budget means for a table of so many rows.
    func compressSample(
        _ sample: Table, rows: Int, budget: Int, uses: RowUses?, progress: ProgressCallback?
    ) throws -> Table {
        var (options, weights) = try arguments(uses)
        guard let parts else {
            options["budget"] = .integer(budget)
            return try method.compress(
                sample, options, weights: weights, countedRows: rows, progress: progress)
        }
        options["parts"] = .integer(parts)
        options["rounds"] = .integer(Self.sampleRounds)
        if method.options.contains(where: { $0.name == "turns" }) { options["turns"] = .integer(Self.sampleTurns) }
        return try sample.compressed(method.name, options, weights: weights, progress: progress)
    }
}

extension Candidate: CustomStringConvertible {
    /// As a call has it.
    var description: String {
        let given = options.map { "\($0.name)=\($0.value?.plainText ?? "counts")" }
        return ([method.name] + given + (isWeighted ? ["weights=weights"] : [])).joined(separator: ", ")
    }
}

extension OptionValue {
    /// As people write it, without quotes.
    fileprivate var plainText: String {
        if case .string(let value) = self { return value }
        return text
    }
}
