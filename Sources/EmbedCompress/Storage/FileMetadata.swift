/// `__metadata__` of a file: texts by name, in the order of the file. Very many take about as much memory as the header.
struct FileMetadata: Sendable {
    private var keys: NameList
    private var values: TextList

    /// Fewer bytes than any entry takes.
    private static let leastEntry = 6

    init() { (keys, values) = (NameList(capacity: 0, byteCount: 0), TextList(capacity: 0, byteCount: 0)) }

    /// Reads the object that is next.
    init(_ parser: inout JSONParser) throws {
        let most = parser.bytes.count - parser.position
        keys = NameList(capacity: most / Self.leastEntry, byteCount: most)
        values = TextList(capacity: most / Self.leastEntry, byteCount: most)
        try parser.parseMembers { parser, key, offset in
            guard parser.isAt("\"") else {
                throw FormatError.metadataValueNotAString(key: key, found: try parser.summarizeValue())
            }
            keys.append(key, offset: offset)
            try parser.parseString(into: &values)
        }
        try keys.complete()
    }

    var count: Int { keys.count }

    /// The text of an entry, or nil.
    subscript(key: String) -> String? { keys.position(of: key).map { values[$0] } }

    subscript(position: Int) -> (key: String, value: String) { (keys[position], values[position]) }

    func contains(_ key: String) -> Bool { keys.position(of: key) != nil }

    /// The bytes of the text of an entry, for a call; nil if there is none.
    func withText<Result>(
        of key: String, _ body: (UnsafeRawBufferPointer) throws -> Result
    ) rethrows -> Result? {
        guard let position = keys.position(of: key) else { return nil }
        return try values.withBytes(of: position, body)
    }
}
