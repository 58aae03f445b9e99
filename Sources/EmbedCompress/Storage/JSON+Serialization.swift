extension JSON {
    /// The value as compact JSON text, keys in their order. Doubles read back to the same bits.
    ///
    /// Throws `invalidArgument` for an infinity or a NaN, which JSON cannot express.
    func serialized() throws -> String {
        var text = ""
        try append(to: &text)
        return text
    }

    private func append(to text: inout String) throws {
        switch self {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .integer(let value): text += String(value)
        case .number(let value):
            guard value.isFinite else { throw EmbedCompressError.invalidArgument("JSON cannot express \(value)") }
            text += value.description
        case .string(let value): JSON.appendQuoted(value, to: &text)
        case .array(let elements):
            text += "["
            for (position, element) in elements.enumerated() {
                if position > 0 { text += "," }
                try element.append(to: &text)
            }
            text += "]"
        case .object(let object):
            text += "{"
            for (position, member) in object.members.enumerated() {
                if position > 0 { text += "," }
                JSON.appendQuoted(member.key, to: &text)
                text += ":"
                try member.value.append(to: &text)
            }
            text += "}"
        }
    }

    /// Appends `value` in quotes, escaping only what JSON requires.
    static func appendQuoted(_ value: String, to text: inout String) {
        text += "\""
        if value.utf8.allSatisfy({ $0 >= 0x20 && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\") }) {
            text += value
        } else {
            for scalar in value.unicodeScalars {
                switch scalar {
                case "\"": text += "\\\""
                case "\\": text += "\\\\"
                case "\n": text += "\\n"
                case "\r": text += "\\r"
                case "\t": text += "\\t"
                case "\u{8}": text += "\\b"
                case "\u{C}": text += "\\f"
                case "\u{0}"..."\u{1F}":
                    text += scalar.value < 0x10 ? "\\u000" : "\\u00"
                    text += String(scalar.value, radix: 16)
                default: text.unicodeScalars.append(scalar)
                }
            }
        }
        text += "\""
    }
}
