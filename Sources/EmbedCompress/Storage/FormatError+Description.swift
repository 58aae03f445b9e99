extension FormatError: CustomStringConvertible {
    /// One sentence that names what is wrong and where. Names that come from the file are escaped and cut, so that the
    /// sentence fits on a terminal whatever the file says.
    public var description: String {
        frameDescription ?? tensorDescription ?? layoutDescription ?? tableDescription ?? "the file is malformed"
    }

    private var frameDescription: String? {
        switch self {
        case .fileTooShort(let fileBytes):
            return "the file has \(fileBytes) bytes, fewer than the 8 that a safetensors file starts with"
        case .headerTooLarge(let headerBytes, let limit):
            return "the header has \(headerBytes) bytes: the limit is \(limit)"
        case .headerBeyondFile(let headerBytes, let fileBytes):
            return "the header claims \(headerBytes) bytes, which a file of \(fileBytes) bytes cannot hold"
        case .headerStart(nil):
            return "the header is empty: it must start with '{'"
        case .headerStart(.some(let byte)):
            return "the header starts with byte 0x\(String(byte, radix: 16)): it must start with '{'"
        case .trailingHeaderBytes(let offset):
            return "the header has bytes other than spaces after its JSON, at byte \(offset)"
        case .invalidUTF8(let offset):
            return "the JSON text is not UTF-8 at byte \(offset)"
        case .jsonSyntax(let offset, let expected):
            return "the JSON text is malformed at byte \(offset): expected \(expected)"
        case .nestedTooDeep(let offset, let limit):
            return "the JSON text is nested deeper than \(limit) levels at byte \(offset)"
        case .duplicateKey(let key, let offset):
            return "the JSON text repeats the key \(quoted(key)) at byte \(offset)"
        case .tooManyNodes(let limit): return "the tables have more than \(limit) nodes"
        case .tooManyValues(let offset):
            return "the JSON text of tables has more values than their nodes can need, at byte \(offset)"
        case .metadataNotAnObject(let found):
            return "the header's '__metadata__' must be an object of strings, not \(found)"
        case .metadataValueNotAString(let key, let found):
            return "the header's '__metadata__' entry \(quoted(key)) must be a string, not \(found)"
        default:
            return nil
        }
    }

    private var tensorDescription: String? {
        switch self {
        case .tensorNotAnObject(let tensor, let found):
            return "tensor \(quoted(tensor)) must be described by an object, not \(found)"
        case .missingTensorField(let tensor, let field):
            return "tensor \(quoted(tensor)) lacks the field \(quoted(field))"
        case .unknownTensorField(let tensor, let field):
            return "tensor \(quoted(tensor)) has an unknown field \(quoted(field))"
        case .typeNotAString(let tensor, let found):
            return "tensor \(quoted(tensor)): 'dtype' must be a string, not \(found)"
        case .unknownType(let tensor, let type):
            let known = ElementType.allCases.map(\.rawValue).joined(separator: ", ")
            return "tensor \(quoted(tensor)) has the unknown type \(quoted(type)): known types are \(known)"
        case .subByteType(let tensor, let type):
            return "tensor \(quoted(tensor)) has type \(quoted(type)), whose elements are not whole bytes"
        case .shapeNotAnArray(let tensor, let found):
            return "tensor \(quoted(tensor)): 'shape' must be an array, not \(found)"
        case .invalidDimension(let tensor, let axis, let found):
            return "tensor \(quoted(tensor)): axis \(axis) of 'shape' must be a non-negative integer, not \(found)"
        case .tooManyAxes(let tensor, let limit):
            return "tensor \(quoted(tensor)) has more than \(limit) axes"
        case .shapeOverflow(let tensor):
            return "tensor \(quoted(tensor)) has a shape whose byte count is above \(Int.max)"
        case .offsetsNotAPair(let tensor):
            return "tensor \(quoted(tensor)): 'data_offsets' must be an array of two integers"
        case .invalidOffset(let tensor, let found):
            return "tensor \(quoted(tensor)): 'data_offsets' must hold non-negative integers, not \(found)"
        case .reversedOffsets(let tensor, let begin, let end):
            return "tensor \(quoted(tensor)) begins at byte \(begin), after its end at byte \(end)"
        case .sizeMismatch(let tensor, let expectedBytes, let foundBytes):
            return "tensor \(quoted(tensor)) has \(foundBytes) bytes: its shape and type need \(expectedBytes)"
        default:
            return nil
        }
    }

    private var layoutDescription: String? {
        switch self {
        case .offsetsBeyondFile(let tensor, let end, let dataBytes):
            return "tensor \(quoted(tensor)) ends at byte \(end) of a data section of \(dataBytes) bytes"
        case .hole(let before, let from, let to):
            return "bytes \(from) to \(to) of the data section, before tensor \(quoted(before)), belong to no tensor"
        case .overlap(let first, let second, let at):
            return "tensor \(quoted(second)) begins at byte \(at), before tensor \(quoted(first)) ends"
        case .trailingData(let from, let dataBytes):
            return "bytes \(from) to \(dataBytes) of the data section, after the last tensor, belong to no tensor"
        default:
            return nil
        }
    }

    private var tableDescription: String? {
        switch self {
        case .notATableFile(let path):
            return "\(quoted(path, limit: 1000)) holds no compressed table"
        case .unsupportedVersion(let found, let supported):
            return "the file has format version \(quoted(found)): this build reads version \(quoted(supported))"
        case .unknownNode(let kind):
            return "the table has a node of unknown kind \(quoted(kind))"
        case .missingField(let node, let field):
            return "node \(quoted(node)) lacks the field \(quoted(field))"
        case .invalidField(let node, let field, let expected):
            return "node \(quoted(node)): the field \(quoted(field)) must be \(expected)"
        case .unknownField(let node, let field):
            return "node \(quoted(node)) has an unknown field \(quoted(field))"
        case .missingTensor(let name):
            return "the file has no tensor \(quoted(name))"
        case .wrongTensor(let name, let expected, let found):
            return "tensor \(quoted(name)) must be \(expected), not \(found)"
        case .unusedTensor(let name):
            return "tensor \(quoted(name)) belongs to no table"
        case .treeTooDeep(let limit):
            return "the table's nodes are nested deeper than \(limit) levels"
        case .noSuchTable(let name, let available):
            return "the file has no table \(quoted(name)): \(listed(available))"
        case .ambiguousTable(let available):
            return "the file holds several tables, name one: \(listed(available))"
        case .badMapEntry(let position, let entry, let rows):
            return "entry \(position) of a map is \(entry): it must be from 0 to \(rows - 1), or -1"
        case .badCluster(let row, let cluster, let clusters):
            return "row \(row) is of cluster \(cluster): it must be from 0 to \(clusters - 1)"
        case .badPart(let row, let part, let parts):
            return "row \(row) is assigned to table \(part): it must be from 0 to \(parts - 1)"
        case .badRank(let row, let rank, let rows):
            return "row \(row) is row \(rank) of the table that it is assigned to, which has \(rows) rows"
        case .badRowPointers(let row):
            return "the pointers of row \(row) do not lead to non-zeros"
        case .longRow(let row, let limit):
            return "row \(row) has more than the \(limit) non-zeros that a row can have"
        case .badColumn(let row, let column, let dimension):
            return "row \(row) has a non-zero in column \(column): it must be from 0 to \(dimension - 1)"
        case .unsortedRows(let position):
            return "the row of non-zero \(position) is none of the table's, or below that of the one before"
        case .notFinite(let place):
            return "\(place) must be finite"
        case .wrongDigest(let tensor, let stated, let found):
            return "tensor \(quoted(tensor)) has the digest \(found): the file says \(quoted(stated))"
        case .inNode(let path, let error):
            return "node \(quoted(path, limit: 300)): \(error.description)"
        case .notAMatrix(let name, let found):
            return "tensor \(quoted(name)) must be a matrix, not \(found)"
        case .invalidParts(_, let reason):
            return reason
        default:
            return nil
        }
    }
}

private func listed(_ names: [String]) -> String {
    guard !names.isEmpty else { return "it has none" }
    let shown = names.prefix(20).map { quoted($0) }.joined(separator: ", ")
    return names.count > 20 ? "it has \(shown) and \(names.count - 20) more" : "it has \(shown)"
}

/// `text` in quotes, cut to `limit` scalars, with everything that could disturb a terminal or a log escaped.
private func quoted(_ text: String, limit: Int = 120) -> String {
    var result = "'"
    var count = 0
    for scalar in text.unicodeScalars {
        if count == limit { return result + "…'" }
        count += 1
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .unassigned:
            result += "\\u{" + String(scalar.value, radix: 16) + "}"
        default:
            result.unicodeScalars.append(scalar)
        }
    }
    return result + "'"
}
