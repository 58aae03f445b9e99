// Options and file contents as JSON, for callers in other languages.

extension OptionValue {
    var json: JSON {
        switch self {
        case .null: return .null
        case .bool(let value): return .bool(value)
        case .integer(let value): return .integer(Int64(value))
        case .number(let value): return .number(value)
        case .string(let value): return .string(value)
        case .numbers(let values): return .array(values.map { .number($0) })
        }
    }

    /// nil for what is no number, string or flag.
    init?(json: JSON) {
        switch json {
        case .null: self = .null
        case .bool(let value): self = .bool(value)
        case .integer(let value): self = .integer(Int(value))
        case .number(let value): self = .number(value)
        case .string(let value): self = .string(value)
        case .array, .object: return nil
        }
    }

    /// Options from the text of a JSON object.
    package static func options(_ text: String) throws -> [String: OptionValue] {
        guard case .object(let object)? = try? JSON.parse(text: text) else {
            throw EmbedCompressError.invalidArgument("options must be a JSON object")
        }
        var options: [String: OptionValue] = [:]
        for member in object.members {
            guard let value = OptionValue(json: member.value) else {
                throw EmbedCompressError.invalidArgument("option '\(member.key)' must be a number, a string or a flag")
            }
            options[member.key] = value
        }
        return options
    }
}

extension TableFile {
    /// What the file holds, as JSON: `is_table_file`, `tables`, `tensors`, `plain`, `metadata` and
    /// `has_digests`.
    package func contents() throws -> String {
        let tensors = tensors.map { tensor -> JSON in
            [
                "name": .string(tensor.name), "dtype": .string(tensor.type.rawValue),
                "shape": .array(tensor.shape.map { .integer(Int64($0)) }),
            ]
        }
        let json: JSON = [
            "is_table_file": .bool(isTableFile), "tables": .array(names.map { .string($0) }),
            "tensors": .array(tensors), "plain": .array(plainNames.map { .string($0) }),
            "metadata": .object(JSONObject(metadata.map { ($0.key, .string($0.value)) })),
            "has_digests": .bool(file.header.metadata.contains(TensorDigests.key)),
        ]
        return try json.serialized()
    }

    /// Metadata from the text of a JSON object of strings, and whether it asks for digests: by the entry that takes them in
    /// the file, which is then the name of the digest.
    package static func metadata(_ text: String) throws -> (entries: [(key: String, value: String)], digests: Bool) {
        guard case .object(var object)? = try? JSON.parse(text: text) else {
            throw EmbedCompressError.invalidArgument("metadata must be a JSON object")
        }
        let digest = object[TensorDigests.key]
        object[TensorDigests.key] = nil
        guard digest == nil || digest == .string("sha256") else {
            throw EmbedCompressError.invalidArgument("metadata '\(TensorDigests.key)' must be 'sha256'")
        }
        let entries = try object.members.map { member in
            guard let value = member.value.stringValue else {
                throw EmbedCompressError.invalidArgument("metadata '\(member.key)' must be a string")
            }
            return (key: member.key, value: value)
        }
        return (entries, digest != nil)
    }
}

extension Table {
    /// Where the rows of each store lie, as a JSON array; see ``RowLayout``.
    package func rowLayoutsText() throws -> String { try JSON.array(rowLayouts().map(\.json)).serialized() }
}

extension RowLayout {
    fileprivate var json: JSON {
        [
            "path": .string(path), "rows": .integer(Int64(rows)),
            "unpadded_row_bytes": .integer(Int64(unpaddedRowBytes)), "current": current.json,
            "choices": .array(choices.map(\.json)),
        ]
    }
}

extension RowLayout.Placement {
    fileprivate var json: JSON {
        [
            "row_alignment": .integer(Int64(rowAlignment)), "row_bytes": .integer(Int64(rowBytes)),
            "lines_per_row": .number(linesPerRow), "stored_bytes": .integer(Int64(storedBytes)),
        ]
    }
}
