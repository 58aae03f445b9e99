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

    let path: FilePath
    let file: SafetensorsFile
    /// nil: not written by this library.
    let trees: JSONObject?

    /// Opens a file, in time independent of the size of its tensors.
    public init(path: String) throws { try self.init(path: FilePath(path)) }

    package init(path: FilePath) throws {
        self.path = path
        (file, trees) = try EmbedCompressError.inFile(path) {
            let file = try SafetensorsFile(path: path)
            return (file, try Self.trees(of: file))
        }
    }

    /// The trees of the tables; nil for a file that this library did not write.
    private static func trees(of file: SafetensorsFile) throws -> JSONObject? {
        guard let version = file.header.metadata[Self.versionKey] else {
            return nil
        }
        guard Key(version) == Self.version else {
            throw EmbedCompressError.format(.unsupportedVersion(found: version, supported: Self.version))
        }
        let value = try file.header.metadata.withText(of: Self.tablesKey) {
            try JSON.parse(trees: $0, maximumDepth: Self.maximumJSONDepth)
        }
        guard let value else {
            throw EmbedCompressError.format(.missingField(node: "metadata", field: Self.tablesKey))
        }
        guard case .object(let trees) = value else {
            throw EmbedCompressError.format(
                .invalidField(node: "metadata", field: Self.tablesKey, expected: "a JSON object of tables"))
        }
        return trees
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
        let own = [Key(Self.versionKey), Key(Self.tablesKey), Key(TensorDigests.key)]
        let metadata = file.header.metadata
        return (0..<metadata.count).lazy.map { metadata[$0] }.filter { !own.contains(Key($0.key)) }
    }

    /// A table by name; nil takes the only one there is.
    ///
    /// - Parameter map: Leave the arrays in the file, to be read when rows are looked up. Otherwise they are read into
    ///   memory, and those of other tables are not.
    public func table(_ name: String? = nil, map: Bool = true) throws -> Table {
        try EmbedCompressError.inFile(path) {
            try MappedFile.reading([file.storage]) { try read(name ?? onlyName(), arrays(map: map)) }
        }
    }

    /// The table of that name, on arrays of that source.
    func read(_ name: String, _ arrays: NodeDecoder.ArraySource) throws -> Table {
        guard let trees else { return Table(try dense(name, arrays)) }
        guard let tree = trees[name] else {
            throw EmbedCompressError.format(.noSuchTable(name: name, available: names))
        }
        return Table(try NodeDecoder.node(from: tree, arrays: arrays))
    }

    func onlyName() throws -> String {
        let names = names
        if let name = names.first, names.count == 1 { return name }
        throw names.isEmpty
            ? EmbedCompressError.format(.notATableFile(path: path.description))
            : EmbedCompressError.format(.ambiguousTable(available: names))
    }

    private func dense(_ name: String, _ arrays: NodeDecoder.ArraySource) throws -> Dense {
        guard let tensor = file.tensor(name) else {
            throw EmbedCompressError.format(.noSuchTable(name: name, available: names))
        }
        guard let element = Dense.Element(tensor.type), tensor.shape.count == 2, tensor.shape[1] > 0 else {
            throw EmbedCompressError.format(.notAMatrix(name: name, found: "\(tensor.type.rawValue) \(tensor.shape)"))
        }
        let array = try arrays.array(name)
        do {
            return try Dense(array.bytes, element: element, rows: tensor.shape[0], dimension: tensor.shape[1])
        } catch EmbedCompressError.invalidArgument(let reason) {
            throw EmbedCompressError.format(.invalidParts(kind: Dense.kind, reason: reason))
        }
    }

    func arrays(map: Bool) -> NodeDecoder.ArraySource {
        // Nodes that name the same tensor share its copy.
        var copies: [Key: Bytes] = [:]
        return NodeDecoder.ArraySource { name in
            guard let tensor = file.tensor(name) else { return nil }
            guard let bytes = try map ? file.bytes(of: name) : copies[Key(name)] ?? file.copy(name) else { return nil }
            if !map { copies[Key(name)] = bytes }
            return StoredArray(name: name, type: tensor.type, shape: tensor.shape, bytes: bytes)
        }
    }

    /// Writes tables under their names, and plain tensors beside them, atomically: a file of that path appears complete
    /// or not at all.
    ///
    /// - Parameter digests: Write the SHA-256 of each tensor, which ``verify(progress:)`` checks.
    /// - Returns: The bytes of all tensors: the file has those and its header.
    @discardableResult
    public static func write(
        _ tables: [(name: String, table: Table)], tensors: [PlainTensor] = [], to path: String,
        metadata: [(key: String, value: String)] = [], digests: Bool = false,
        progress callback: ProgressCallback? = nil
    ) throws -> Int {
        try write(
            tables, tensors: tensors, to: FilePath(path), metadata: metadata, digests: digests, progress: callback)
    }

    @discardableResult
    package static func write(
        _ tables: [(name: String, table: Table)], tensors: [PlainTensor], to path: FilePath,
        metadata: [(key: String, value: String)], digests: Bool, progress callback: ProgressCallback?
    ) throws -> Int {
        let (writer, arrays) = try writer(
            to: path, tables.map { ($0.name, $0.table.parts) }, tensors: tensors, metadata: metadata,
            digests: digests)
        let pieces = arrays.map(\.bytes) + tensors.map(\.bytes)
        let total = pieces.reduce(0) { $0 + $1.count }
        let progress = ProgressCounter(total: total, callback: callback)
        var reported = 0
        try MappedFile.reading(pieces.map(\.storage)) {
            for bytes in pieces {
                try withExtendedLifetime(bytes.storage) {
                    try writer.write(bytes.buffer) { written in
                        progress.advance(by: written - reported)
                        reported = written
                        try progress.report()
                    }
                }
            }
        }
        try writer.finish()
        return total
    }

    /// A writer that has written the trees of tables and wants their arrays, in order, and then the plain tensors.
    ///
    /// - Parameter tables: Each gives its parts for a prefix of the names of its arrays.
    static func writer(
        to path: FilePath, _ tables: [(name: String, parts: (String) throws -> Parts)], tensors: [PlainTensor] = [],
        metadata: [(key: String, value: String)], digests: Bool
    ) throws -> (writer: SafetensorsWriter, arrays: [StoredArray]) {
        for (key, _) in metadata where key.utf8.starts(with: "embedcompress.".utf8) {
            throw EmbedCompressError.invalidArgument("metadata key '\(key)' is this library's own")
        }
        guard !tables.isEmpty else { throw EmbedCompressError.invalidArgument("there is no table to save") }
        var trees = JSONObject()
        var arrays: [StoredArray] = []
        var taken = Set(tensors.map { Key($0.name) })
        for (name, makeParts) in tables {
            // Arrays are named after their table; where a plain tensor or another table's have such names ("a" with an
            // inner table, and "a.inner"), a suffix tells them apart. Trees say which array is whose.
            var prefix = name
            var parts = try makeParts(prefix)
            while parts.arrays.contains(where: { taken.contains(Key($0.name)) }) {
                prefix += "+"
                parts = try makeParts(prefix)
            }
            guard trees.add(name, parts.tree) else {
                throw EmbedCompressError.invalidArgument("there are two tables of the name '\(name)'")
            }
            arrays += parts.arrays
            taken.formUnion(parts.arrays.map { Key($0.name) })
        }
        guard trees.members.reduce(0, { $0 + Self.nodes(in: $1.value) }) <= maximumNodes else {
            throw EmbedCompressError.invalidArgument("the tables of a file have at most \(maximumNodes) pieces")
        }
        let entries =
            [(versionKey, version), (tablesKey, try JSON.object(trees).serialized())]
            + metadata.map { ($0.key, $0.value) }
        let writer = try EmbedCompressError.inFile(path) {
            try SafetensorsWriter(
                path: path,
                tensors: arrays.map { ($0.name, $0.type, $0.shape) } + tensors.map { ($0.name, $0.type, $0.shape) },
                metadata: entries, digests: digests)
        }
        return (writer, arrays)
    }
}

extension TableFile {
    /// How many nodes a tree has.
    private static func nodes(in tree: JSON) -> Int {
        1 + (tree.objectValue?["children"]?.objectValue?.members ?? []).reduce(0) { $0 + nodes(in: $1.value) }
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
    ///
    /// - Parameter digests: Write the SHA-256 of each array, which ``TableFile/verify(progress:)`` checks.
    public func save(to path: String, name: String = "weight", digests: Bool = false) throws {
        try TableFile.write([(name, self)], to: path, digests: digests)
    }
}
