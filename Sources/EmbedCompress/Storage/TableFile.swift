/// A safetensors file with tables: tensors hold the arrays, `__metadata__` the format version and each table's tree as
/// JSON.
///
/// A file without those entries is anybody's checkpoint; its two-dimensional float tensors open as dense tables.
public struct TableFile: Sendable {
    /// Raised when older readers can't read what is written.
    static let version = "1"
    private static let versionKey = "embedcompress.version"
    private static let tablesKey = "embedcompress.tables"
    /// A tree is far smaller than a header may be, and nests two levels of JSON for each of its own.
    static let maximumJSONDepth = 4 * maximumTreeDepth

    private let path: String
    private let file: SafetensorsFile
    /// nil: not written by this library.
    private let trees: JSONObject?

    /// Opens a file, in time independent of the size of its tensors.
    public init(path: String) throws {
        self.path = path
        file = try SafetensorsFile(path: path)
        guard let version = file.metadata(Self.versionKey) else {
            trees = nil
            return
        }
        guard version == Self.version else {
            throw EmbedCompressError.format(.unsupportedVersion(found: version, supported: Self.version))
        }
        guard let text = file.metadata(Self.tablesKey) else {
            throw EmbedCompressError.format(.missingField(node: "metadata", field: Self.tablesKey))
        }
        guard case .object(let trees) = try JSON.parse(text: text, maximumDepth: Self.maximumJSONDepth) else {
            throw EmbedCompressError.format(
                .invalidField(node: "metadata", field: Self.tablesKey, expected: "a JSON object of tables"))
        }
        self.trees = trees
    }

    /// Whether this library wrote the file.
    public var isTableFile: Bool { trees != nil }

    /// The tables that `table(_:)` opens: those written by this library, or else every two-dimensional float tensor.
    public var names: [String] {
        trees?.keys ?? file.header.tensors.filter { $0.shape.count == 2 && Dense.Element($0.type) != nil }.map(\.name)
    }

    /// Every tensor's name, type and shape.
    public var tensors: [(name: String, type: ElementType, shape: [Int])] {
        file.header.tensors.map { ($0.name, $0.type, $0.shape) }
    }

    /// What the writer stored beside the tables.
    public var metadata: [(key: String, value: String)] {
        file.header.metadata.members.compactMap { member in
            guard member.key != Self.versionKey, member.key != Self.tablesKey, let value = member.value.stringValue
            else {
                return nil
            }
            return (member.key, value)
        }
    }

    /// A table by name; nil takes the only one there is.
    ///
    /// - Parameter map: Leave the arrays in the file, to be read when rows are looked up. Otherwise they are read into
    ///   memory, and those of other tables are not.
    public func table(_ name: String? = nil, map: Bool = true) throws -> Table {
        let name = try name ?? onlyName()
        guard let trees else { return Table(try dense(name, map: map)) }
        guard let tree = trees[name] else {
            throw EmbedCompressError.format(.noSuchTable(name: name, available: names))
        }
        return Table(try NodeDecoder.node(from: tree, arrays: arrays(map: map)))
    }

    private func onlyName() throws -> String {
        let names = names
        if let name = names.first, names.count == 1 { return name }
        throw names.isEmpty
            ? EmbedCompressError.format(.notATableFile(path: path))
            : EmbedCompressError.format(.ambiguousTable(available: names))
    }

    private func dense(_ name: String, map: Bool) throws -> Dense {
        guard let tensor = file.tensor(name) else {
            throw EmbedCompressError.format(.noSuchTable(name: name, available: names))
        }
        guard let element = Dense.Element(tensor.type), tensor.shape.count == 2, tensor.shape[1] > 0 else {
            throw EmbedCompressError.format(.notAMatrix(name: name, found: "\(tensor.type.rawValue) \(tensor.shape)"))
        }
        let array = try arrays(map: map).array(name)
        return try Dense(array.bytes, element: element, rows: tensor.shape[0], dimension: tensor.shape[1])
    }

    private func arrays(map: Bool) -> NodeDecoder.ArraySource {
        NodeDecoder.ArraySource { name in
            guard let tensor = file.tensor(name) else { return nil }
            guard let bytes = map ? file.bytes(of: name) : try file.copy(name) else { return nil }
            return StoredArray(name: name, type: tensor.type, shape: tensor.shape, bytes: bytes)
        }
    }

    /// Writes tables under their names, atomically: a file of that path appears complete or not at all.
    public static func write(
        _ tables: [(name: String, table: Table)], to path: String, metadata: [(key: String, value: String)] = [],
        progress callback: ProgressCallback? = nil
    ) throws {
        let (writer, arrays) = try writer(to: path, tables.map { ($0.name, $0.table.parts) }, metadata: metadata)
        let progress = ProgressCounter(total: arrays.reduce(0) { $0 + $1.bytes.count }, callback: callback)
        var reported = 0
        for array in arrays {
            try withExtendedLifetime(array.bytes.storage) {
                try writer.write(array.bytes.buffer) { written in
                    progress.advance(by: written - reported)
                    reported = written
                    try progress.report()
                }
            }
        }
        try writer.finish()
    }

    /// A writer that has written the trees of tables and wants their arrays, in order.
    ///
    /// - Parameter tables: Each gives its parts for a prefix of the names of its arrays.
    static func writer(
        to path: String, _ tables: [(name: String, parts: (String) throws -> Parts)],
        metadata: [(key: String, value: String)]
    ) throws -> (writer: SafetensorsWriter, arrays: [StoredArray]) {
        for (key, _) in metadata where key.hasPrefix("embedcompress.") {
            throw EmbedCompressError.invalidArgument("metadata key '\(key)' is this library's own")
        }
        guard !tables.isEmpty else { throw EmbedCompressError.invalidArgument("there is no table to save") }
        var trees = JSONObject()
        var arrays: [StoredArray] = []
        var taken: Set<String> = []
        for (name, makeParts) in tables {
            // Arrays are named after their table; where another table's have such names ("a" with an inner table, and
            // "a.inner"), a suffix tells them apart. Trees say which array is whose.
            var prefix = name
            var parts = try makeParts(prefix)
            while parts.arrays.contains(where: { taken.contains($0.name) }) {
                prefix += "+"
                parts = try makeParts(prefix)
            }
            guard trees.add(name, parts.tree) else {
                throw EmbedCompressError.invalidArgument("there are two tables of the name '\(name)'")
            }
            arrays += parts.arrays
            taken.formUnion(parts.arrays.map(\.name))
        }
        let entries =
            [(versionKey, version), (tablesKey, try JSON.object(trees).serialized())]
            + metadata.map { ($0.key, $0.value) }
        let writer = try SafetensorsWriter(
            path: path, tensors: arrays.map { ($0.name, $0.type, $0.shape) }, metadata: entries)
        return (writer, arrays)
    }
}

extension Table {
    /// Opens a table that ``save(to:name:)`` wrote, or the two-dimensional float tensor `name` of any safetensors file.
    ///
    /// - Parameters:
    ///   - name: nil takes the only table of the file.
    ///   - map: Leave the arrays in the file, which makes opening independent of the table's size.
    public init(contentsOf path: String, name: String? = nil, map: Bool = true) throws {
        self.init(try TableFile(path: path).table(name, map: map).root)
    }

    /// Writes this table to a safetensors file, atomically.
    public func save(to path: String, name: String = "weight") throws {
        try TableFile.write([(name, self)], to: path)
    }
}
