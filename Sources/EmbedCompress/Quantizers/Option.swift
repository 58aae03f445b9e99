/// The value of a method's option.
public enum OptionValue: Sendable, Equatable {
    case null
    case bool(Bool)
    case integer(Int)
    case number(Double)
    case string(String)
    /// An array, such as a number for each row.
    case numbers([Double])
}

extension OptionValue: ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral, ExpressibleByStringLiteral,
    ExpressibleByBooleanLiteral
{
    public init(integerLiteral value: Int) { self = .integer(value) }
    public init(floatLiteral value: Double) { self = .number(value) }
    public init(stringLiteral value: String) { self = .string(value) }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
}

/// A knob of a method.
public struct Option: Sendable {
    /// What values an option takes.
    public enum Kind: Sendable, Equatable {
        case integer(ClosedRange<Int>)
        case integerFrom([Int])
        case number(ClosedRange<Double>)
        case choice([String])
        case flag
        /// An array of a number for each row, none of which is negative.
        case rowNumbers
        /// The name of a method that compresses a part of the result, or "dense", "f16" or "bf16" for values as they
        /// are. The method's own options are given beside it.
        case method
        /// Bytes, or a ratio of the table's bytes in f32; see ``Budget``.
        case budget

        /// In words, for errors and documentation.
        public var description: String {
            switch self {
            case .integer(let range) where range.upperBound == Int.max:
                return "an integer, at least \(range.lowerBound)"
            case .integer(let range): return "an integer from \(range.lowerBound) to \(range.upperBound)"
            case .integerFrom(let values): return "one of " + values.map(String.init).joined(separator: ", ")
            case .number(let range) where range.upperBound == .infinity:
                return "a number, at least \(range.lowerBound)"
            case .number(let range): return "a number from \(range.lowerBound) to \(range.upperBound)"
            case .choice(let names): return "one of " + names.map { "'\($0)'" }.joined(separator: ", ")
            case .flag: return "true or false"
            case .rowNumbers: return "(rows,) numbers, at least 0"
            case .method: return "dense, f16, bf16 or a method's name"
            case .budget: return "an integer of bytes, or a ratio of the f32 size up to 1.0"
            }
        }

        func accepts(_ value: OptionValue) -> Bool {
            switch (self, value) {
            case (.integer(let range), .integer(let value)): return range.contains(value)
            case (.integerFrom(let values), .integer(let value)): return values.contains(value)
            case (.number(let range), .integer(let value)): return range.contains(Double(value))
            case (.number(let range), .number(let value)): return range.contains(value)
            case (.choice(let names), .string(let value)): return names.contains(value)
            case (.flag, .bool), (.rowNumbers, .numbers), (.method, .string): return true
            case (.budget, .integer(let value)): return value >= 0
            default: return false
            }
        }
    }

    public let name: String
    public let kind: Kind
    /// The value when the option is not given; null means that it then plays no part.
    public let defaultValue: OptionValue
    public let summary: String

    public init(_ name: String, _ kind: Kind, default defaultValue: OptionValue, _ summary: String) {
        self.name = name
        self.kind = kind
        self.defaultValue = defaultValue
        self.summary = summary
    }

    fileprivate func check(_ value: OptionValue, method: String) throws {
        if value == .null, defaultValue == .null { return }
        guard kind.accepts(value) else {
            throw EmbedCompressError.invalidArgument(
                "\(method): \(name) must be \(kind.description), not \(value.text)")
        }
    }
}

extension OptionValue {
    /// For messages.
    var text: String {
        switch self {
        case .null: return "null"
        case .bool(let value): return String(value)
        case .integer(let value): return String(value)
        case .number(let value): return String(value)
        case .string(let value): return "'\(value)'"
        case .numbers(let values): return "an array of \(values.count) numbers"
        }
    }
}

/// A call's options, checked against what the method declares.
struct OptionValues: Sendable {
    private let values: [String: OptionValue]
    private let given: Set<String>
    /// Options that are not the method's own, but those of a method that it is given the name of.
    let inner: [String: OptionValue]

    init(_ given: [String: OptionValue], for method: MethodEntry) throws {
        var values = Dictionary(
            method.options.map { ($0.name, $0.defaultValue) }, uniquingKeysWith: { first, _ in first })
        var inner: [String: OptionValue] = [:]
        let hasInner = method.options.contains { $0.kind == .method }
        for (name, value) in given.sorted(by: { $0.key < $1.key }) {
            guard let option = method.options.first(where: { $0.name == name }) else {
                if hasInner {
                    inner[name] = value
                    continue
                }
                let names = method.options.map(\.name).joined(separator: ", ")
                throw EmbedCompressError.invalidArgument(
                    "\(method.name) has no option '\(name)'; its options are \(names)")
            }
            try option.check(value, method: method.name)
            values[name] = value
        }
        self.values = values
        self.inner = inner
        self.given = Set(given.filter { $0.value != .null }.keys)
    }

    /// Of every option, by name.
    var all: [String: OptionValue] { values }
    func isGiven(_ name: String) -> Bool { given.contains(name) }

    func integer(_ name: String) throws -> Int {
        guard let value = try optionalInteger(name) else { throw undeclared(name) }
        return value
    }

    func optionalInteger(_ name: String) throws -> Int? {
        switch values[name] {
        case .integer(let value): return value
        case .null: return nil
        default: throw undeclared(name)
        }
    }

    /// An integer that a table's size limits further than its declaration does.
    func optionalInteger(_ name: String, atMost limit: Int, method: String) throws -> Int? {
        let value = try optionalInteger(name)
        if let value, value > limit {
            throw EmbedCompressError.invalidArgument(
                "\(method): \(name) must be an integer from 1 to \(limit), not \(value)")
        }
        return value
    }

    func number(_ name: String) throws -> Double {
        switch values[name] {
        case .integer(let value): return Double(value)
        case .number(let value): return value
        default: throw undeclared(name)
        }
    }

    func flag(_ name: String) throws -> Bool {
        guard case .bool(let value) = values[name] else { throw undeclared(name) }
        return value
    }

    func string(_ name: String) throws -> String {
        guard case .string(let value) = values[name] else { throw undeclared(name) }
        return value
    }

    func optionalNumber(_ name: String) throws -> Double? {
        if values[name] == .null { return nil }
        return try number(name)
    }

    func optionalNumbers(_ name: String) throws -> [Double]? {
        switch values[name] {
        case .numbers(let values): return values
        case .null: return nil
        default: throw undeclared(name)
        }
    }

    /// A method that asks for what it has not declared: a mistake of this library, not of its user.
    private func undeclared(_ name: String) -> EmbedCompressError {
        .invalidArgument("option '\(name)' has no value of the type that the method asks for")
    }
}
