/// The value of a method's option.
public enum OptionValue: Sendable, Equatable {
    case null
    case bool(Bool)
    case integer(Int)
    case number(Double)
    case string(String)
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

        /// In words, for errors and documentation.
        public var description: String {
            switch self {
            case .integer(let range) where range.upperBound == Int.max:
                return "an integer, at least \(range.lowerBound)"
            case .integer(let range): return "an integer from \(range.lowerBound) to \(range.upperBound)"
            case .integerFrom(let values): return "one of " + values.map(String.init).joined(separator: ", ")
            case .number(let range): return "a number from \(range.lowerBound) to \(range.upperBound)"
            case .choice(let names): return "one of " + names.map { "'\($0)'" }.joined(separator: ", ")
            case .flag: return "true or false"
            }
        }

        fileprivate func accepts(_ value: OptionValue) -> Bool {
            switch (self, value) {
            case (.integer(let range), .integer(let value)): return range.contains(value)
            case (.integerFrom(let values), .integer(let value)): return values.contains(value)
            case (.number(let range), .integer(let value)): return range.contains(Double(value))
            case (.number(let range), .number(let value)): return range.contains(value)
            case (.choice(let names), .string(let value)): return names.contains(value)
            case (.flag, .bool): return true
            default: return false
            }
        }
    }

    public let name: String
    public let kind: Kind
    /// The value when the option is not given; null means that it then plays no part.
    public let defaultValue: OptionValue
    public let summary: String

    init(_ name: String, _ kind: Kind, default defaultValue: OptionValue, _ summary: String) {
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
    fileprivate var text: String {
        switch self {
        case .null: return "null"
        case .bool(let value): return String(value)
        case .integer(let value): return String(value)
        case .number(let value): return String(value)
        case .string(let value): return "'\(value)'"
        }
    }
}

/// A call's options, checked against what the method declares.
struct OptionValues: Sendable {
    private let values: [String: OptionValue]
    private let given: Set<String>

    init(_ given: [String: OptionValue], for method: Method) throws {
        var values = Dictionary(
            method.options.map { ($0.name, $0.defaultValue) }, uniquingKeysWith: { first, _ in first })
        for (name, value) in given.sorted(by: { $0.key < $1.key }) {
            guard let option = method.options.first(where: { $0.name == name }) else {
                let names = method.options.map(\.name).joined(separator: ", ")
                throw EmbedCompressError.invalidArgument(
                    "\(method.name) has no option '\(name)'; its options are \(names)")
            }
            try option.check(value, method: method.name)
            values[name] = value
        }
        self.values = values
        self.given = Set(given.filter { $0.value != .null }.keys)
    }

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

    /// A method that asks for what it has not declared: a mistake of this library, not of its user.
    private func undeclared(_ name: String) -> EmbedCompressError {
        .invalidArgument("option '\(name)' has no value of the type that the method asks for")
    }
}
