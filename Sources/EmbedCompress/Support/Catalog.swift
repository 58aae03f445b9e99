// The registry, options and file contents as JSON, for callers in other languages.

extension Method {
    /// Every method as a JSON array.
    package static func catalog() throws -> String { try JSON.array(all.map(\.json)).serialized() }

    private var json: JSON {
        [
            "name": .string(name), "title": .string(title), "paper": .string(paper), "kind": .string(kind),
            "summary": .string(summary), "bytesPerRow": .string(bytesPerRow), "cost": .string(cost),
            "options": .array(options.map(\.json)),
        ]
    }
}

extension Option {
    fileprivate var json: JSON {
        [
            "name": .string(name), "values": .string(kind.description), "default": defaultValue.json,
            "summary": .string(summary),
        ]
    }
}

extension OptionValue {
    fileprivate var json: JSON {
        switch self {
        case .null: return .null
        case .bool(let value): return .bool(value)
        case .integer(let value): return .integer(Int64(value))
        case .number(let value): return .number(value)
        case .string(let value): return .string(value)
        }
    }

    /// Options from the text of a JSON object.
    package static func options(_ text: String) throws -> [String: OptionValue] {
        guard case .object(let object)? = try? JSON.parse(text: text) else {
            throw EmbedCompressError.invalidArgument("options must be a JSON object")
        }
        var options: [String: OptionValue] = [:]
        for member in object.members {
            switch member.value {
            case .null: options[member.key] = .null
            case .bool(let value): options[member.key] = .bool(value)
            case .integer(let value): options[member.key] = .integer(Int(value))
            case .number(let value): options[member.key] = .number(value)
            case .string(let value): options[member.key] = .string(value)
            case .array, .object:
                throw EmbedCompressError.invalidArgument("option '\(member.key)' must be a number, a string or a flag")
            }
        }
        return options
    }
}

extension TableFile {
    /// What the file holds, as JSON: `tables`, `tensors` and `metadata`.
    package func contents() throws -> String {
        let tensors = tensors.map { tensor -> JSON in
            [
                "name": .string(tensor.name), "dtype": .string(tensor.type.rawValue),
                "shape": .array(tensor.shape.map { .integer(Int64($0)) }),
            ]
        }
        let json: JSON = [
            "is_table_file": .bool(isTableFile), "tables": .array(names.map { .string($0) }),
            "tensors": .array(tensors),
            "metadata": .object(JSONObject(metadata.map { ($0.key, .string($0.value)) })),
        ]
        return try json.serialized()
    }

    /// Metadata from the text of a JSON object of strings.
    package static func metadata(_ text: String) throws -> [(key: String, value: String)] {
        guard case .object(let object)? = try? JSON.parse(text: text) else {
            throw EmbedCompressError.invalidArgument("metadata must be a JSON object")
        }
        return try object.members.map { member in
            guard let value = member.value.stringValue else {
                throw EmbedCompressError.invalidArgument("metadata '\(member.key)' must be a string")
            }
            return (member.key, value)
        }
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
