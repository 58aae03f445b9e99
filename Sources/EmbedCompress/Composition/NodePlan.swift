/// A node that is described but not made, to learn the bytes that it would take: what a tree says of it, in the fields that
/// files have, without its arrays.
///
/// A tree is a JSON object of `kind`, `rows`, `dimension`, the kind's fields, and `children` (name to tree). Fields that only
/// slices have, `offset`, `shift` and `first`, are 0 if they are left out. Arrays that a node may lack are there if
/// `tensors` names them, as in files. The tree of a table gives the table's bytes, with an array counted for each node
/// that is on it.
struct NodePlan {
    let kind: String
    let rows: Int
    let dimension: Int
    /// The inner nodes, in order.
    let children: [NodePlan]
    private let type: any Node.Type
    private let fields: JSONObject
    private let tensors: JSONObject

    init(_ tree: JSON, depth: Int = 1) throws {
        guard depth <= maximumTreeDepth else {
            throw EmbedCompressError.format(.treeTooDeep(limit: maximumTreeDepth))
        }
        guard case .object(let object) = tree else {
            throw EmbedCompressError.format(.invalidField(node: "tree", field: "node", expected: "a JSON object"))
        }
        guard let kind = object["kind"]?.stringValue else {
            throw EmbedCompressError.format(.missingField(node: "tree", field: "kind"))
        }
        guard let type = nodeKinds.items.first(where: { Key($0.kind) == kind }) else {
            throw EmbedCompressError.format(.unknownNode(kind: kind))
        }
        (self.kind, self.type, fields) = (kind, type, object)
        tensors = object["tensors"]?.objectValue ?? JSONObject()
        rows = try Self.integer(object, kind, "rows", 0...maximumRows)
        dimension = try Self.integer(object, kind, "dimension", 1...maximumDimension)
        let inner = object["children"]?.objectValue ?? JSONObject()
        children = try inner.members.map { try NodePlan($0.value, depth: depth + 1) }
    }

    /// The bytes of the node and all below it.
    func storedBytes() throws -> Int {
        let own: Int?
        do {
            own = try type.plannedBytes(self)
        } catch EmbedCompressError.invalidArgument(let reason) {
            throw EmbedCompressError.format(.invalidParts(kind: kind, reason: reason))
        }
        guard let total = Checked.sum(of: try [own] + children.map { try $0.storedBytes() }) else {
            throw EmbedCompressError.format(
                .invalidParts(kind: kind, reason: "a table of more than \(Int.max) bytes can't be"))
        }
        return total
    }

    private static func integer(
        _ object: JSONObject, _ kind: String, _ field: String, _ range: ClosedRange<Int>, default given: Int? = nil
    ) throws -> Int {
        guard let value = object[field] else {
            if let given { return given }
            throw EmbedCompressError.format(.missingField(node: kind, field: field))
        }
        guard case .integer(let wide) = value, let number = Int(exactly: wide), range.contains(number) else {
            throw EmbedCompressError.format(
                .invalidField(
                    node: kind, field: field,
                    expected: "an integer from \(range.lowerBound) to \(range.upperBound)"))
        }
        return number
    }

    func has(_ field: String) -> Bool { fields[field] != nil }
    func hasTensor(_ name: String) -> Bool { tensors[name] != nil }

    func integer(_ field: String, _ range: ClosedRange<Int>, default given: Int? = nil) throws -> Int {
        try Self.integer(fields, kind, field, range, default: given)
    }

    func choice<Value: RawRepresentable & CaseIterable>(
        _ field: String, _: Value.Type, default given: Value? = nil
    ) throws -> Value where Value.RawValue == String {
        guard let value = fields[field] else {
            if let given { return given }
            throw EmbedCompressError.format(.missingField(node: kind, field: field))
        }
        guard let choice = value.stringValue.flatMap(Value.init(spelled:)) else {
            let names = Value.allCases.map { "'\($0.rawValue)'" }.joined(separator: ", ")
            throw EmbedCompressError.format(.invalidField(node: kind, field: field, expected: "one of \(names)"))
        }
        return choice
    }

    func rowAlignment() throws -> Int { try integer("row_alignment", 1...RowSpacing.cacheLine, default: 1) }
}

extension Table {
    /// The bytes of a table that a tree describes: what ``Table/storedBytes`` would be.
    package static func plannedBytes(tree: String) throws -> Int {
        try NodePlan(try JSON.parse(text: tree, maximumDepth: TableFile.maximumJSONDepth)).storedBytes()
    }
}
