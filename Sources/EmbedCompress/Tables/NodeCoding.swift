/// Takes a node apart.
struct NodeEncoder {
    private let prefix: String
    private var fields: [(String, JSON)] = []
    private var tensors: [(String, JSON)] = []
    private var children: [(String, JSON)] = []
    private let arrays: DistinctArrays

    private init(prefix: String, arrays: DistinctArrays) { (self.prefix, self.arrays) = (prefix, arrays) }

    /// Array names start with `prefix`.
    static func parts(of node: any Node, prefix: String) -> Parts {
        let arrays = DistinctArrays()
        let tree = Self.tree(of: node, prefix: prefix, arrays: arrays)
        return Parts(tree: tree, arrays: arrays.listed)
    }

    /// Bytes of arrays of a tree that another of its nodes has, too: those of each such node but the first.
    static func repeatedBytes(of node: any Node) -> Int {
        let arrays = DistinctArrays()
        _ = tree(of: node, prefix: "", arrays: arrays)
        return arrays.repeatedBytes
    }

    private static func tree(of node: any Node, prefix: String, arrays: DistinctArrays) -> JSON {
        var encoder = NodeEncoder(prefix: prefix, arrays: arrays)
        node.encode(into: &encoder)
        var object: [(String, JSON)] = [
            ("kind", .string(type(of: node).kind)), ("rows", .integer(Int64(node.rows))),
            ("dimension", .integer(Int64(node.dimension))), ("bytes", .integer(Int64(node.ownBytes))),
        ]
        object += encoder.fields
        if !encoder.tensors.isEmpty { object.append(("tensors", .object(JSONObject(encoder.tensors)))) }
        if !encoder.children.isEmpty { object.append(("children", .object(JSONObject(encoder.children)))) }
        return .object(JSONObject(object))
    }

    mutating func set(_ field: String, _ value: Int) { fields.append((field, .integer(Int64(value)))) }
    mutating func set(_ field: String, _ value: String) { fields.append((field, .string(value))) }

    mutating func add(_ field: String, type: ElementType, shape: [Int], bytes: Bytes) {
        let name = prefix.isEmpty ? field : prefix + "." + field
        let array = StoredArray(name: name, type: type, shape: shape, bytes: bytes)
        tensors.append((field, .string(arrays.add(array))))
    }

    mutating func add(_ field: String, _ child: any Node) {
        let tree = Self.tree(of: child, prefix: prefix.isEmpty ? field : prefix + "." + field, arrays: arrays)
        children.append((field, tree))
    }
}

/// Takes a node's fields and arrays out of a tree. What the node does not take is an error: it would be lost.
struct NodeDecoder {
    let kind: String
    let rows: Int
    let dimension: Int
    private let object: JSONObject
    private let tensors: JSONObject
    private let children: JSONObject
    private let arrays: ArraySource
    private let depth: Int
    private var taken: Set<Key> = ["kind", "rows", "dimension", "bytes", "tensors", "children"]
    private var takenTensors: Set<Key> = []
    private var takenChildren: Set<Key> = []

    /// Where arrays come from, and which were used.
    final class ArraySource {
        private let find: (String) throws -> StoredArray?
        private(set) var used: Set<Key> = []
        /// Bytes that the nodes of a table may still allocate; each adds to them.
        private var allowance = 32 << 20
        private static let nodeAllowance = 1 << 20

        init(_ find: @escaping (String) throws -> StoredArray?) { self.find = find }

        func array(_ name: String) throws -> StoredArray {
            guard let array = try find(name) else { throw EmbedCompressError.format(.missingTensor(name: name)) }
            used.insert(Key(name))
            return array
        }

        fileprivate func addNode() { allowance += Self.nodeAllowance }

        fileprivate func reserve(_ bytes: Int) -> Bool {
            allowance -= min(bytes, allowance + 1)
            return allowance >= 0
        }
    }

    static func node(from tree: JSON, arrays: ArraySource, depth: Int = 1) throws -> any Node {
        guard depth <= maximumTreeDepth else {
            throw EmbedCompressError.format(.treeTooDeep(limit: maximumTreeDepth))
        }
        guard case .object(let object) = tree else {
            throw EmbedCompressError.format(.invalidField(node: "tree", field: "node", expected: "a JSON object"))
        }
        let type = try kind(of: object)
        let kind = type.kind
        arrays.addNode()
        var decoder = try NodeDecoder(object, kind: kind, arrays: arrays, depth: depth)
        do {
            let node = try type.init(from: &decoder)
            try decoder.finish()
            return node
        } catch EmbedCompressError.invalidArgument(let reason) {
            throw EmbedCompressError.format(.invalidParts(kind: kind, reason: reason))
        }
    }

    /// Checks what every node has.
    static func checkHead(of object: JSONObject) throws { _ = try head(of: object, kind: try kind(of: object).kind) }

    private static func kind(of object: JSONObject) throws -> any Node.Type {
        guard let kind = object["kind"] else {
            throw EmbedCompressError.format(.missingField(node: "tree", field: "kind"))
        }
        guard case .string(let kind) = kind else {
            throw EmbedCompressError.format(.invalidField(node: "tree", field: "kind", expected: "a string"))
        }
        guard let type = nodeKinds.items.first(where: { Key($0.kind) == kind }) else {
            throw EmbedCompressError.format(.unknownNode(kind: kind))
        }
        return type
    }

    private static func head(of object: JSONObject, kind: String) throws -> (rows: Int, dimension: Int) {
        (
            try integer(object, kind: kind, "rows", 0...maximumRows),
            try integer(object, kind: kind, "dimension", 1...maximumDimension)
        )
    }

    private init(_ object: JSONObject, kind: String, arrays: ArraySource, depth: Int) throws {
        func part(_ field: String) throws -> JSONObject {
            guard let value = object[field] else { return JSONObject() }
            guard case .object(let members) = value else {
                throw EmbedCompressError.format(.invalidField(node: kind, field: field, expected: "a JSON object"))
            }
            return members
        }
        self.kind = kind
        self.object = object
        self.arrays = arrays
        self.depth = depth
        tensors = try part("tensors")
        children = try part("children")
        (rows, dimension) = try Self.head(of: object, kind: kind)
    }

    private static func integer(_ object: JSONObject, kind: String, _ field: String, _ range: ClosedRange<Int>) throws
        -> Int
    {
        guard let value = object[field] else {
            throw EmbedCompressError.format(.missingField(node: kind, field: field))
        }
        guard case .integer(let wide) = value, let number = Int(exactly: wide), range.contains(number) else {
            let expected = "an integer from \(range.lowerBound) to \(range.upperBound)"
            throw EmbedCompressError.format(.invalidField(node: kind, field: field, expected: expected))
        }
        return number
    }

    /// Counts memory that the node allocates beside its arrays. All nodes of a table may have a megabyte each, and 64 more:
    /// a small file of many nodes that share their arrays would else take any amount.
    func reserve(_ bytes: Int) throws {
        guard arrays.reserve(bytes) else {
            throw EmbedCompressError.invalidArgument(
                "the nodes of the table need more than 1 MiB each, and 32 MiB, beside their arrays")
        }
    }

    mutating func integer(_ field: String, _ range: ClosedRange<Int>) throws -> Int {
        taken.insert(Key(field))
        return try Self.integer(object, kind: kind, field, range)
    }

    /// One of `values`, for a field that a node may lack.
    mutating func integer(
        _ field: String, oneOf values: [Int], expected: String, default defaultValue: Int
    ) throws -> Int {
        taken.insert(Key(field))
        guard let value = object[field] else { return defaultValue }
        guard case .integer(let wide) = value, let number = Int(exactly: wide), values.contains(number) else {
            throw EmbedCompressError.format(.invalidField(node: kind, field: field, expected: expected))
        }
        return number
    }

    mutating func choice<Value: RawRepresentable & CaseIterable>(_ field: String, _: Value.Type) throws -> Value
    where Value.RawValue == String {
        taken.insert(Key(field))
        guard let value = object[field] else {
            throw EmbedCompressError.format(.missingField(node: kind, field: field))
        }
        guard case .string(let text) = value, let choice = Value(spelled: text) else {
            let names = Value.allCases.map { "'\($0.rawValue)'" }.joined(separator: ", ")
            throw EmbedCompressError.format(.invalidField(node: kind, field: field, expected: "one of \(names)"))
        }
        return choice
    }

    /// The same for a field that a node may lack.
    mutating func choice<Value: RawRepresentable & CaseIterable>(
        _ field: String, _ type: Value.Type, default defaultValue: Value
    ) throws -> Value where Value.RawValue == String {
        object[field] == nil ? defaultValue : try choice(field, type)
    }

    /// The same, nil if the node lacks the field.
    mutating func optionalChoice<Value: RawRepresentable & CaseIterable>(
        _ field: String, _ type: Value.Type
    ) throws -> Value? where Value.RawValue == String {
        object[field] == nil ? nil : try choice(field, type)
    }

    /// The array of a field; its bytes are as many as type and shape say.
    mutating func tensor(_ field: String, type: ElementType, shape: [Int]) throws -> Bytes {
        takenTensors.insert(Key(field))
        guard let value = tensors[field] else {
            throw EmbedCompressError.format(.missingField(node: kind, field: "tensors." + field))
        }
        guard case .string(let name) = value else {
            throw EmbedCompressError.format(
                .invalidField(node: kind, field: "tensors." + field, expected: "the name of an array"))
        }
        let array = try arrays.array(name)
        guard array.type == type, array.shape == shape,
            let count = Checked.product(of: shape + [type.byteCount]), array.bytes.count == count
        else {
            throw EmbedCompressError.format(
                .wrongTensor(
                    name: name, expected: "\(type.rawValue) \(shape)", found: "\(array.type.rawValue) \(array.shape)"))
        }
        return array.bytes
    }

    /// The same for an array that a node may lack.
    mutating func optionalTensor(_ field: String, type: ElementType, shape: [Int]) throws -> Bytes? {
        tensors[field] == nil ? nil : try tensor(field, type: type, shape: shape)
    }

    /// The children "0", "1" and so on, as many as there are.
    mutating func numberedChildren() throws -> [any Node] {
        var nodes: [any Node] = []
        while children[String(nodes.count)] != nil { nodes.append(try child(String(nodes.count))) }
        return nodes
    }

    /// A node that is made of what was decoded: what is wrong with its arguments is wrong with the file, and its rows and
    /// columns are those that the file states.
    func checked<Result: Node>(_ make: () throws -> Result) throws -> Result {
        func invalid(_ field: String, _ expected: String) -> EmbedCompressError {
            .format(.invalidField(node: kind, field: field, expected: expected))
        }
        let node: Result
        do {
            node = try make()
        } catch EmbedCompressError.invalidArgument(let text) {
            throw invalid("children", "such that they make a table: \(text)")
        }
        guard node.rows == rows else { throw invalid("rows", "those of the inner tables, \(node.rows)") }
        guard node.dimension == dimension else {
            throw invalid("dimension", "that of the inner tables, \(node.dimension)")
        }
        return node
    }

    func hasChild(_ field: String) -> Bool { children[field] != nil }

    mutating func child(_ field: String) throws -> any Node {
        takenChildren.insert(Key(field))
        guard let tree = children[field] else {
            throw EmbedCompressError.format(.missingField(node: kind, field: "children." + field))
        }
        return try Self.node(from: tree, arrays: arrays, depth: depth + 1)
    }

    /// What `body` makes; arguments that it finds wrong are the fault of a field.
    func checking<Result>(_ field: String, _ body: () throws -> Result) throws -> Result {
        do {
            return try body()
        } catch EmbedCompressError.invalidArgument(let text) {
            throw EmbedCompressError.format(.invalidField(node: kind, field: field, expected: text))
        }
    }

    private func finish() throws {
        for (members, known, prefix) in [
            (object, taken, ""), (tensors, takenTensors, "tensors."), (children, takenChildren, "children."),
        ] {
            for key in members.keys where !known.contains(Key(key)) {
                throw EmbedCompressError.format(.unknownField(node: kind, field: prefix + key))
            }
        }
    }
}
