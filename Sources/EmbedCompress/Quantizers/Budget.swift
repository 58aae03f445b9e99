/// The most bytes that a result may have.
public enum Budget: Sendable, Hashable {
    case bytes(Int)
    /// A share of the bytes that the table has in f32, above 0 and up to 1.
    case ratio(Double)

    /// An option's value: an integer is bytes, any other number a ratio. nil for null.
    init?(_ value: OptionValue) throws {
        switch value {
        case .null: return nil
        case .integer(let bytes): self = .bytes(bytes)
        case .number(let ratio): self = .ratio(ratio)
        default: throw EmbedCompressError.invalidArgument("budget must be a number, not \(value.text)")
        }
    }

    /// The budget in bytes, for a table that has `fullBytes` in f32.
    ///
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for a negative number of bytes, or a ratio out of range.
    public func bytes(of fullBytes: Int) throws -> Int {
        switch self {
        case .bytes(let bytes):
            guard bytes >= 0 else {
                throw EmbedCompressError.invalidArgument("budget must not be negative, not \(bytes)")
            }
            return bytes
        case .ratio(let ratio):
            guard ratio > 0, ratio <= 1 else {
                throw EmbedCompressError.invalidArgument(
                    "a budget that is a float is a ratio of the f32 size, from 0 to 1, not \(ratio)")
            }
            return Int(exactly: (ratio * Double(fullBytes)).rounded(.towardZero)) ?? fullBytes
        }
    }

    /// Options with the budget among them in bytes.
    static func inBytes(
        _ options: [String: OptionValue], rows: Int, dimension: Int
    ) throws -> [String: OptionValue] {
        guard let value = options["budget"], let budget = try Budget(value) else { return options }
        let fullBytes = Checked.product(4, rows, dimension) ?? Int.max
        return options.merging(["budget": .integer(try budget.bytes(of: fullBytes))]) { $1 }
    }
}

extension Budget: ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral {
    public init(integerLiteral value: Int) { self = .bytes(value) }
    public init(floatLiteral value: Double) { self = .ratio(value) }
}

extension OptionValue {
    /// The value of the option "budget".
    public static func budget(_ budget: Budget) -> OptionValue {
        switch budget {
        case .bytes(let bytes): return .integer(bytes)
        case .ratio(let ratio): return .number(ratio)
        }
    }
}
