/// What one store or route is put together from: plain fields, arrays in their natural form, and inner tables.
///
/// Natural means unpacked: codes are a matrix of integers, a map is integers, an assignment is a number for each id. Kinds
/// pack what they hold; what already lies as they hold it is used where it lies. Every kind takes its parts out of this in
/// ``Node/init(composing:)``, and what it does not take is an error.
struct Composition {
    let kind: String
    /// The inner tables, in order.
    let children: [any Node]
    private let fields: JSONObject
    private let arrays: [Key: StoredArray]
    private var takenFields: Set<Key> = []
    private var takenArrays: Set<Key> = []

    /// The node of that kind.
    ///
    /// - Throws: ``FormatError/invalidParts(kind:reason:)``, or another rule, for parts that do not make one.
    static func node(
        kind: String, fields: JSON, arrays: [StoredArray], children: [any Node]
    ) throws -> any Node {
        guard let type = nodeKinds.items.first(where: { Key($0.kind) == kind }) else {
            throw EmbedCompressError.format(.unknownNode(kind: kind))
        }
        do {
            var parts = try Composition(kind: kind, fields: fields, arrays: arrays, children: children)
            let node = try type.init(composing: &parts)
            try parts.finish()
            return node
        } catch EmbedCompressError.invalidArgument(let reason) {
            throw EmbedCompressError.format(.invalidParts(kind: kind, reason: reason))
        }
    }

    private init(kind: String, fields: JSON, arrays: [StoredArray], children: [any Node]) throws {
        guard case .object(let object) = fields else {
            throw EmbedCompressError.invalidArgument("fields must be a JSON object, not \(fields.summary)")
        }
        var named: [Key: StoredArray] = [:]
        for array in arrays where named.updateValue(array, forKey: Key(array.name)) != nil {
            throw EmbedCompressError.invalidArgument("there are two arrays '\(array.name)'")
        }
        (self.kind, self.children) = (kind, children)
        (self.fields, self.arrays) = (object, named)
    }

    private func finish() throws {
        if let field = fields.keys.first(where: { !takenFields.contains(Key($0)) }) {
            throw EmbedCompressError.format(.unknownField(node: kind, field: field))
        }
        if let name = arrays.keys.filter({ !takenArrays.contains($0) }).min() {
            throw EmbedCompressError.invalidArgument("'\(kind)' has no array '\(name.text)'")
        }
    }

    // MARK: - Fields

    /// - Parameter range: nil for what the kind itself checks.
    mutating func integer(_ field: String, _ range: ClosedRange<Int>? = nil) throws -> Int {
        guard let number = try optionalInteger(field, range) else {
            throw EmbedCompressError.format(.missingField(node: kind, field: field))
        }
        return number
    }

    mutating func optionalInteger(_ field: String, _ range: ClosedRange<Int>? = nil) throws -> Int? {
        takenFields.insert(Key(field))
        guard let value = fields[field] else { return nil }
        if case .integer(let wide) = value, let number = Int(exactly: wide), range?.contains(number) ?? true {
            return number
        }
        let limits = range.map { " from \($0.lowerBound) to \(Self.text($0.upperBound))" } ?? ""
        // What 64 bits do not hold is not an integer here.
        var reason = ", not \(value.summary)"
        if case .number(let number) = value, number.magnitude >= 0x1p63 { reason += ", which is too large" }
        throw EmbedCompressError.invalidArgument("\(field) must be an integer\(limits)\(reason)")
    }

    private static func text(_ limit: Int) -> String { limit == Int.max ? "2^63 - 1" : String(limit) }

    mutating func flag(_ field: String) throws -> Bool {
        takenFields.insert(Key(field))
        guard let value = fields[field] else { return false }
        guard case .bool(let flag) = value else {
            throw EmbedCompressError.invalidArgument("\(field) must be true or false, not \(value.summary)")
        }
        return flag
    }

    /// nil if the field is not given.
    mutating func optionalChoice<Value: RawRepresentable & CaseIterable>(
        _ field: String, _: Value.Type
    ) throws -> Value? where Value.RawValue == String {
        takenFields.insert(Key(field))
        guard let value = fields[field] else { return nil }
        if case .string(let text) = value, let choice = Value(spelled: text) { return choice }
        let names = Value.allCases.map { "'\($0.rawValue)'" }.joined(separator: ", ")
        let found = value.stringValue.map { "'\($0)'" } ?? value.summary
        throw EmbedCompressError.invalidArgument("\(field) must be one of \(names), not \(found)")
    }

    mutating func choice<Value: RawRepresentable & CaseIterable>(
        _ field: String, _ type: Value.Type, default defaultValue: Value? = nil
    ) throws -> Value where Value.RawValue == String {
        guard let choice = try optionalChoice(field, type) ?? defaultValue else {
            throw EmbedCompressError.format(.missingField(node: kind, field: field))
        }
        return choice
    }

    // MARK: - Arrays

    mutating func optionalArray(_ name: String) -> StoredArray? {
        takenArrays.insert(Key(name))
        return arrays[Key(name)]
    }

    mutating func array(_ name: String) throws -> StoredArray {
        guard let array = optionalArray(name) else {
            throw EmbedCompressError.invalidArgument("'\(kind)' needs the array '\(name)'")
        }
        return array
    }

    /// The arrays of that name with 0, 1 and so on behind it, as many as there are.
    mutating func numberedArrays(_ name: String) -> [StoredArray] {
        var found: [StoredArray] = []
        while let array = optionalArray(name + String(found.count)) { found.append(array) }
        return found
    }

    /// Integers of one axis.
    mutating func integers(_ name: String) throws -> IntegerArray { try array(name).integers() }

    // MARK: - Inner tables

    /// The only inner table.
    func inner() throws -> any Node {
        guard let child = children.first, children.count == 1 else {
            throw EmbedCompressError.invalidArgument("'\(kind)' has one inner table, not \(children.count)")
        }
        return child
    }

    /// For stores.
    func checkNoChildren() throws {
        guard children.isEmpty else {
            throw EmbedCompressError.invalidArgument("'\(kind)' has no inner tables, not \(children.count)")
        }
    }
}

extension Table {
    /// A table whose root is a store or route of that kind over the very nodes of `children`.
    ///
    /// - Parameters:
    ///   - fields: A JSON object of plain values.
    ///   - release: Called once nothing uses the memory of the arrays any more, which can be before this returns; not if
    ///     this throws.
    package init(
        composing kind: String, fields: String, arrays: [LentArray], children: [Table],
        release: @escaping () -> Void
    ) throws {
        let loan = Loan(release)
        let stored = try arrays.map { try $0.stored(loan) }
        let fields = try JSON.parse(text: fields, maximumDepth: TableFile.maximumJSONDepth)
        let node = try MappedFile.reading(stored.map(\.bytes.storage) + children.flatMap(\.root.storages)) {
            try Composition.node(kind: kind, fields: fields, arrays: stored, children: children.map(\.root))
        }
        self.init(node)
        loan.isTaken = true
    }
}
