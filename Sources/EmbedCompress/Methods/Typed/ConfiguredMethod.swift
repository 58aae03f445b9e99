/// A method of the registry with values for its options, such as `.leastSquares(bits: 4)`: what
/// ``Table/compressed(_:weights:progress:)`` takes.
///
/// There is a function for each method of ``Method/all``, with a parameter for each option. The compiler checks names and
/// types; whether a value is in range is checked when a table is compressed. Where a method takes either a size, such as
/// `bits`, or a budget, both parameters are nil unless they are given.
public struct ConfiguredMethod: Sendable, Equatable {
    /// The method's name in the registry, such as "least_squares".
    public let name: String
    /// By the names that ``Method/options`` has; options that are not given are not among them.
    public let options: [String: OptionValue]

    /// - Parameter others: Options of inner methods; those of the method itself go before them.
    init(
        _ name: String, _ options: [String: (any OptionConvertible)?], beside others: [String: OptionValue] = [:]
    ) {
        self.name = name
        self.options = options.compactMapValues { $0?.optionValue }.merging(others) { own, _ in own }
    }
}

/// What options are given as in Swift.
protocol OptionConvertible {
    var optionValue: OptionValue { get }
}

extension Int: OptionConvertible {
    var optionValue: OptionValue { .integer(self) }
}
extension Double: OptionConvertible {
    var optionValue: OptionValue { .number(self) }
}
extension Bool: OptionConvertible {
    var optionValue: OptionValue { .bool(self) }
}
extension String: OptionConvertible {
    var optionValue: OptionValue { .string(self) }
}
extension [Double]: OptionConvertible {
    var optionValue: OptionValue { .numbers(self) }
}
extension Budget: OptionConvertible {
    var optionValue: OptionValue { .budget(self) }
}
extension OptionConvertible where Self: RawRepresentable<String> {
    var optionValue: OptionValue { .string(rawValue) }
}
extension ScaleType: OptionConvertible {}
extension Uniform.Scope: OptionConvertible {}

extension Table {
    /// This table, compressed. The source may be any table; a dense one is what people have.
    ///
    /// - Parameters:
    ///   - method: Such as `.leastSquares(bits: 4)` or `.pq(budget: .ratio(0.05))`.
    ///   - weights: How much an error counts, for methods that minimise one: `rows x 1`, such as how often a row is
    ///     used, or `rows x dimension`, such as squared gradients. Weights of whole rows matter where rows share what
    ///     is chosen.
    ///   - progress: Told of rows; stops the call by returning false.
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for an option out of range or a row that is not finite,
    ///   ``EmbedCompressError/budget(method:budgetBytes:floorBytes:)`` for a budget that is too small, and
    ///   ``EmbedCompressError/cancelled`` if `progress` has stopped it.
    public func compressed(
        _ method: ConfiguredMethod, weights: Table? = nil, progress: ProgressCallback? = nil
    ) throws -> Table {
        try compressed(method.name, method.options, weights: weights, progress: progress)
    }
}
