// Entries of the catalogue as JSON, for callers in other languages.

extension MethodEntry {
    /// Every method of both stages as a JSON array.
    package static func catalog() throws -> String { try JSON.array(all.map(\.json)).serialized() }

    private var json: JSON {
        [
            "name": .string(name), "title": .string(title), "family": .string(family.rawValue),
            "stage": .string(stage.rawValue), "paper": .string(paper), "summary": .string(summary),
            "bytesPerRow": .string(bytesPerRow), "cost": .string(cost), "options": .array(options.map(\.json)),
        ]
    }

    /// An entry from the text of a JSON object, with the members that ``catalog()`` gives.
    package init(text: String) throws {
        guard let json = try? JSON.parse(text: text) else {
            throw EmbedCompressError.invalidArgument("a method must be a JSON object")
        }
        let fields = try Fields(json, of: "a method")
        name = try fields.string("name")
        title = try fields.string("title")
        family = try fields.choice("family")
        stage = try fields.choice("stage")
        paper = try fields.string("paper")
        summary = try fields.string("summary")
        bytesPerRow = try fields.string("bytesPerRow")
        cost = try fields.string("cost")
        options = try fields.array("options").map { try Option(json: $0) }
    }

    /// The values that a call's options have, those that were not given with their defaults, as a JSON object.
    ///
    /// - Parameter given: A JSON object.
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for an option that there is none of, or a value that it does
    ///   not take.
    package func values(given: String) throws -> String {
        let values = try OptionValues(OptionValue.options(given), for: self).all
        let members = options.map { ($0.name, $0.kind.exact(values[$0.name] ?? .null).json) }
        return try JSON.object(JSONObject(members)).serialized()
    }
}

extension Option {
    /// `values` says in words what `type`, `minimum`, `maximum` and `choices` say as data; those that don't apply are
    /// null.
    fileprivate var json: JSON {
        var (type, minimum, maximum, choices) = ("", JSON.null, JSON.null, JSON.null)
        switch kind {
        case .integer(let range):
            type = "integer"
            minimum = range.lowerBound == Int.min ? .null : .integer(Int64(range.lowerBound))
            maximum = range.upperBound == Int.max ? .null : .integer(Int64(range.upperBound))
        case .integerFrom(let values):
            type = "integer"
            choices = .array(values.map { .integer(Int64($0)) })
        case .number(let range):
            type = "number"
            minimum = range.lowerBound == -.infinity ? .null : .number(range.lowerBound)
            maximum = range.upperBound == .infinity ? .null : .number(range.upperBound)
        case .choice(let names):
            type = "choice"
            choices = .array(names.map { .string($0) })
        case .flag: type = "flag"
        case .rowNumbers: type = "array"
        case .method: type = "method"
        case .budget: type = "budget"
        }
        return [
            "name": .string(name), "type": .string(type), "minimum": minimum, "maximum": maximum, "choices": choices,
            "default": defaultValue.json, "values": .string(kind.description), "summary": .string(summary),
        ]
    }

    fileprivate init(json: JSON) throws {
        let fields = try Fields(json, of: "an option")
        let (name, type) = (try fields.string("name"), try fields.string("type"))
        func fail(_ text: String) -> EmbedCompressError { .invalidArgument("option '\(name)': \(text)") }
        let kind: Kind
        switch type {
        case "integer":
            if let choices = try fields.optionalArray("choices") {
                kind = .integerFrom(
                    try choices.map {
                        guard let value = $0.integerValue else { throw fail("choices must be integers") }
                        return Int(value)
                    })
            } else {
                let low = try fields.optionalInteger("minimum") ?? Int.min
                let high = try fields.optionalInteger("maximum") ?? Int.max
                guard low <= high else { throw fail("the minimum is above the maximum") }
                kind = .integer(low...high)
            }
        case "number":
            let low = try fields.optionalNumber("minimum") ?? -.infinity
            let high = try fields.optionalNumber("maximum") ?? .infinity
            guard low <= high else { throw fail("the minimum is above the maximum") }
            kind = .number(low...high)
        case "choice":
            kind = .choice(
                try fields.array("choices").map {
                    guard let name = $0.stringValue else { throw fail("choices must be texts") }
                    return name
                })
        case "flag": kind = .flag
        default:
            throw fail("the type must be one of 'integer', 'number', 'choice', 'flag', not '\(type)'")
        }
        guard let value = OptionValue(json: fields.object["default"] ?? .null) else {
            throw fail("the default must be a number, a text, true, false or null")
        }
        self.init(name, kind, default: kind.exact(value), try fields.string("summary"))
    }
}

extension Option.Kind {
    /// A number that was written as an integer as the number that it is.
    fileprivate func exact(_ value: OptionValue) -> OptionValue {
        if case .number = self, case .integer(let integer) = value { return .number(Double(integer)) }
        return value
    }
}

/// The members of a JSON object that a caller gives.
private struct Fields {
    let object: JSONObject
    private let owner: String

    init(_ json: JSON, of owner: String) throws {
        guard case .object(let object) = json else {
            throw EmbedCompressError.invalidArgument("\(owner) must be a JSON object")
        }
        (self.object, self.owner) = (object, owner)
    }

    func string(_ name: String) throws -> String { try required(name, object[name]?.stringValue, "a text") }
    func array(_ name: String) throws -> [JSON] { try required(name, object[name]?.arrayValue, "an array") }
    func optionalArray(_ name: String) throws -> [JSON]? { isNull(name) ? nil : try array(name) }

    func optionalInteger(_ name: String) throws -> Int? {
        isNull(name) ? nil : try required(name, (object[name]?.integerValue).map { Int($0) }, "an integer")
    }

    func optionalNumber(_ name: String) throws -> Double? {
        isNull(name) ? nil : try required(name, object[name]?.numberValue, "a number")
    }

    func choice<Value: RawRepresentable & CaseIterable>(_ name: String) throws -> Value
    where Value.RawValue == String {
        let names = Value.allCases.map { "'\($0.rawValue)'" }.joined(separator: ", ")
        return try required(name, object[name]?.stringValue.flatMap { Value(rawValue: $0) }, "one of \(names)")
    }

    private func isNull(_ name: String) -> Bool { (object[name] ?? .null) == .null }

    private func required<Value>(_ name: String, _ value: Value?, _ expected: String) throws -> Value {
        guard let value else {
            throw EmbedCompressError.invalidArgument(
                "\(owner): \(name) must be \(expected), not \((object[name] ?? .null).summary)")
        }
        return value
    }
}
