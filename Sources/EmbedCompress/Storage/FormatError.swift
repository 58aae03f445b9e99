/// The rule that a file breaks: one case a rule, so that a caller and a test can tell them apart.
///
/// Offsets in bytes count from the start of the JSON text or, for tensors, from the start of the data section.
public enum FormatError: Error, Equatable, Sendable {
    // MARK: The frame of a safetensors file

    /// The file has fewer bytes than the eight that hold the header's length.
    case fileTooShort(fileBytes: Int)
    /// The header is longer than the format allows, in a file read or about to be written.
    case headerTooLarge(headerBytes: UInt64, limit: Int)
    /// The header's stated length reaches past the end of the file.
    case headerBeyondFile(headerBytes: Int, fileBytes: Int)
    /// The header's first byte is not `{`; nil when the header is empty.
    case headerStart(found: UInt8?)
    /// Something other than space padding follows the header's JSON.
    case trailingHeaderBytes(offset: Int)

    // MARK: JSON

    /// A byte that no UTF-8 text can have at this place.
    case invalidUTF8(offset: Int)
    /// Text that is not JSON.
    case jsonSyntax(offset: Int, expected: String)
    /// Arrays and objects nested deeper than the limit.
    case nestedTooDeep(offset: Int, limit: Int)
    /// A key that its object already has, anywhere in the text. Keys are the same if their UTF-8 bytes are.
    case duplicateKey(key: String, offset: Int)

    /// More values than the nodes of tables can need.
    case tooManyValues(offset: Int)
    /// The trees of a file have more nodes than that.
    case tooManyNodes(limit: Int)

    // MARK: Metadata

    /// `__metadata__` is not an object.
    case metadataNotAnObject(found: String)
    /// An entry of `__metadata__` is not a string.
    case metadataValueNotAString(key: String, found: String)

    // MARK: The description of one tensor

    /// A tensor's entry is not an object.
    case tensorNotAnObject(tensor: String, found: String)
    /// A tensor's entry lacks `dtype`, `shape` or `data_offsets`.
    case missingTensorField(tensor: String, field: String)
    /// A tensor's entry has a field that the format does not define.
    case unknownTensorField(tensor: String, field: String)
    /// A tensor's `dtype` is not a string.
    case typeNotAString(tensor: String, found: String)
    /// A tensor's `dtype` is not one that this library knows.
    case unknownType(tensor: String, type: String)
    /// A tensor's elements are not whole bytes.
    case subByteType(tensor: String, type: String)
    /// A tensor's `shape` is not an array.
    case shapeNotAnArray(tensor: String, found: String)
    /// An entry of a tensor's `shape` is not a non-negative integer.
    case invalidDimension(tensor: String, axis: Int, found: String)
    /// A tensor has more axes than the format allows.
    case tooManyAxes(tensor: String, limit: Int)
    /// A tensor's byte count does not fit in an integer. Zero dimensions count as one here, so that no partial product
    /// of a shape that was accepted can overflow.
    case shapeOverflow(tensor: String)
    /// A tensor's `data_offsets` is not an array of two.
    case offsetsNotAPair(tensor: String)
    /// An entry of a tensor's `data_offsets` is not a non-negative integer.
    case invalidOffset(tensor: String, found: String)
    /// A tensor ends before it begins.
    case reversedOffsets(tensor: String, begin: Int, end: Int)
    /// A tensor's offsets span another number of bytes than its shape and type need.
    case sizeMismatch(tensor: String, expectedBytes: Int, foundBytes: Int)

    // MARK: The layout of the data section

    /// A tensor reaches past the end of the file.
    case offsetsBeyondFile(tensor: String, end: Int, dataBytes: Int)
    /// Bytes before a tensor that belong to no tensor.
    case hole(before: String, from: Int, to: Int)
    /// A tensor begins before the one in front of it ends.
    case overlap(first: String, second: String, at: Int)
    /// Bytes after the last tensor.
    case trailingData(from: Int, dataBytes: Int)

    // MARK: Tables

    /// A file that opens, but was not written by this library.
    case notATableFile(path: String)
    /// A version of the table format that this build cannot read.
    case unsupportedVersion(found: String, supported: String)
    /// A node of a kind that this build does not know.
    case unknownNode(kind: String)
    /// A node lacks a field.
    case missingField(node: String, field: String)
    /// A node's field does not hold what it must.
    case invalidField(node: String, field: String, expected: String)
    /// A node has a field that its kind does not define.
    case unknownField(node: String, field: String)
    /// A tensor that a node names is not in the file.
    case missingTensor(name: String)
    /// A tensor has another type or shape than its node needs.
    case wrongTensor(name: String, expected: String, found: String)
    /// A tensor that no node names.
    case unusedTensor(name: String)
    /// Nodes nested deeper than the limit.
    case treeTooDeep(limit: Int)
    /// The file holds no table of this name.
    case noSuchTable(name: String, available: [String])
    /// The file holds several tables, and none was named.
    case ambiguousTable(available: [String])
    /// An entry of a map that points past the rows that it selects from.
    case badMapEntry(position: Int, entry: Int, rows: Int)
    /// A row of codes whose cluster has no codebook.
    case badCluster(row: Int, cluster: Int, clusters: Int)
    /// A row of a partition that is assigned to a table which is not there.
    case badPart(row: Int, part: Int, parts: Int)
    /// A row of a partition whose rank in its table is past the table's rows.
    case badRank(row: Int, rank: Int, rows: Int)
    /// A row whose non-zeros end before they begin, or lie outside the arrays that hold them.
    case badRowPointers(row: Int)
    /// A row of more non-zeros than a row can have.
    case longRow(row: Int, limit: Int)
    /// A non-zero in a column that its row does not have.
    case badColumn(row: Int, column: Int, dimension: Int)
    /// Non-zeros whose rows do not ascend, or are none of the table's.
    case unsortedRows(position: Int)
    /// Scales, biases or entries of a codebook that are not finite.
    case notFinite(place: String)
    /// A tensor whose bytes have another digest than the file says.
    case wrongDigest(tensor: String, stated: String, found: String)
    /// What breaks a rule in a node: the table's name, and the fields that lead to the node, with dots between them.
    indirect case inNode(path: String, error: FormatError)
    /// A tensor that was to be read as a matrix has another number of axes.
    case notAMatrix(name: String, found: String)
    /// Fields, arrays and inner tables that do not make a node of that kind.
    case invalidParts(kind: String, reason: String)
}
