extension JSON {
    /// Reads one JSON text, which must fill `bytes` but for whitespace around it.
    ///
    /// Strict: UTF-8 only, no repeated keys, no lone surrogates, no numbers beyond a double's range, none longer than
    /// 1,000 characters. Time and memory are linear in the length of the text.
    static func parse(_ bytes: UnsafeRawBufferPointer, maximumDepth: Int = 64) throws -> JSON {
        let (value, end) = try parsePrefix(bytes, maximumDepth: maximumDepth)
        var parser = JSONParser(bytes: bytes, maximumDepth: maximumDepth, position: end)
        parser.skipWhitespace()
        guard parser.position == bytes.count else { throw parser.syntaxError("the end of the text") }
        return value
    }

    static func parse(text: String, maximumDepth: Int = 64) throws -> JSON {
        try Array(text.utf8).withUnsafeBytes { try parse($0, maximumDepth: maximumDepth) }
    }

    /// Reads the JSON text that `bytes` start with; `end` is the offset of the first byte after it. All of `bytes` must
    /// be UTF-8.
    static func parsePrefix(
        _ bytes: UnsafeRawBufferPointer, maximumDepth: Int = 64
    ) throws -> (value: JSON, end: Int) {
        if let offset = firstInvalidUTF8(in: bytes) { throw EmbedCompressError.format(.invalidUTF8(offset: offset)) }
        var parser = JSONParser(bytes: bytes, maximumDepth: maximumDepth, position: 0)
        parser.skipWhitespace()
        let value = try parser.parseValue(depth: 0)
        return (value, parser.position)
    }
}

/// A recursive-descent parser; `maximumDepth` bounds its use of the stack. Every read is within `bytes`, even when the
/// text changes while it is read.
private struct JSONParser {
    let bytes: UnsafeRawBufferPointer
    let maximumDepth: Int
    var position: Int

    private static let longestNumber = 1000

    /// The byte at `position`, or nil at the end.
    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    func syntaxError(_ expected: String) -> EmbedCompressError {
        .format(.jsonSyntax(offset: position, expected: expected))
    }

    mutating func skipWhitespace() {
        while let byte = next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { position += 1 }
    }

    private mutating func skip(_ character: Unicode.Scalar) -> Bool {
        guard let byte = next, UInt32(byte) == character.value else { return false }
        position += 1
        return true
    }

    // MARK: Values

    mutating func parseValue(depth: Int) throws -> JSON {
        guard let byte = next else { throw syntaxError("a value") }
        switch byte {
        case UInt8(ascii: "{"): return .object(try parseObject(depth: depth + 1))
        case UInt8(ascii: "["): return .array(try parseArray(depth: depth + 1))
        case UInt8(ascii: "\""): return .string(try parseString())
        case UInt8(ascii: "t"): return try parseWord("true", .bool(true))
        case UInt8(ascii: "f"): return try parseWord("false", .bool(false))
        case UInt8(ascii: "n"): return try parseWord("null", .null)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try parseNumber()
        default: throw syntaxError("a value")
        }
    }

    private mutating func parseWord(_ word: StaticString, _ value: JSON) throws -> JSON {
        let start = position
        for offset in 0..<word.utf8CodeUnitCount {
            guard next == word.utf8Start[offset] else {
                position = start
                throw syntaxError("a value")
            }
            position += 1
        }
        return value
    }

    private func checkDepth(_ depth: Int) throws {
        if depth > maximumDepth {
            throw EmbedCompressError.format(.nestedTooDeep(offset: position, limit: maximumDepth))
        }
    }

    private mutating func parseArray(depth: Int) throws -> [JSON] {
        try checkDepth(depth)
        position += 1
        var elements: [JSON] = []
        skipWhitespace()
        if skip("]") { return elements }
        while true {
            skipWhitespace()
            elements.append(try parseValue(depth: depth))
            skipWhitespace()
            if skip("]") { return elements }
            guard skip(",") else { throw syntaxError("',' or ']'") }
        }
    }

    private mutating func parseObject(depth: Int) throws -> JSONObject {
        try checkDepth(depth)
        position += 1
        var object = JSONObject()
        skipWhitespace()
        if skip("}") { return object }
        while true {
            skipWhitespace()
            let keyOffset = position
            guard next == UInt8(ascii: "\"") else { throw syntaxError("a key in quotes") }
            let key = try parseString()
            skipWhitespace()
            guard skip(":") else { throw syntaxError("':'") }
            skipWhitespace()
            guard object.add(key, try parseValue(depth: depth)) else {
                throw EmbedCompressError.format(.duplicateKey(key: key, offset: keyOffset))
            }
            skipWhitespace()
            if skip("}") { return object }
            guard skip(",") else { throw syntaxError("',' or '}'") }
        }
    }

    // MARK: Strings

    private mutating func parseString() throws -> String {
        position += 1
        var text = try parseUnescapedRun()
        while true {
            if skip("\"") { return text }
            guard skip("\\") else { throw syntaxError("an escape or '\"'") }
            text.unicodeScalars.append(try parseEscape())
            text += try parseUnescapedRun()
        }
    }

    /// The text up to the next quote or backslash, which is left.
    private mutating func parseUnescapedRun() throws -> String {
        let start = position
        while let byte = next, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\") {
            guard byte >= 0x20 else { throw syntaxError("no unescaped control character in a string") }
            position += 1
        }
        guard position < bytes.count else { throw syntaxError("'\"' at the end of a string") }
        return String(decoding: UnsafeRawBufferPointer(rebasing: bytes[start..<position]), as: UTF8.self)
    }

    /// The scalar that an escape stands for; the backslash has been read.
    private mutating func parseEscape() throws -> Unicode.Scalar {
        let escape = next
        guard escape == UInt8(ascii: "u") else {
            let scalar: Unicode.Scalar
            switch escape {
            case UInt8(ascii: "\""): scalar = "\""
            case UInt8(ascii: "\\"): scalar = "\\"
            case UInt8(ascii: "/"): scalar = "/"
            case UInt8(ascii: "b"): scalar = "\u{8}"
            case UInt8(ascii: "f"): scalar = "\u{C}"
            case UInt8(ascii: "n"): scalar = "\n"
            case UInt8(ascii: "r"): scalar = "\r"
            case UInt8(ascii: "t"): scalar = "\t"
            default: throw syntaxError("one of \"\\/bfnrtu after '\\'")
            }
            position += 1
            return scalar
        }
        let start = position
        position += 1
        let first = try parseFourHexDigits()
        if let scalar = Unicode.Scalar(first) { return scalar }
        if first < 0xDC00, skip("\\"), skip("u") {
            let second = try parseFourHexDigits()
            if (0xDC00...0xDFFF).contains(second),
                let scalar = Unicode.Scalar(0x10000 + (first - 0xD800) << 10 + (second - 0xDC00))
            {
                return scalar
            }
        }
        position = start
        throw syntaxError("a pair of surrogates, not a lone one")
    }

    private mutating func parseFourHexDigits() throws -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = next, let digit = hexDigit(byte) else { throw syntaxError("four hexadecimal digits") }
            value = value << 4 | digit
            position += 1
        }
        return value
    }

    private func hexDigit(_ byte: UInt8) -> UInt32? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): return UInt32(byte - UInt8(ascii: "0"))
        case UInt8(ascii: "a")...UInt8(ascii: "f"): return UInt32(byte - UInt8(ascii: "a")) + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): return UInt32(byte - UInt8(ascii: "A")) + 10
        default: return nil
        }
    }

    // MARK: Numbers

    private mutating func parseNumber() throws -> JSON {
        let start = position
        let isNegative = skip("-")
        var magnitude: UInt64? = 0
        if !skip("0") {
            guard skipDigits(accumulating: &magnitude) > 0 else { throw syntaxError("a digit") }
        }
        var isInteger = true
        if skip(".") {
            isInteger = false
            guard skipDigits() > 0 else { throw syntaxError("a digit") }
        }
        if skip("e") || skip("E") {
            isInteger = false
            if !skip("+") { _ = skip("-") }
            guard skipDigits() > 0 else { throw syntaxError("a digit") }
        }
        if isInteger, let magnitude {
            if !isNegative, let value = Int64(exactly: magnitude) { return .integer(value) }
            if isNegative, magnitude > 0, magnitude <= Int64.min.magnitude {
                return .integer(Int64(truncatingIfNeeded: 0 &- magnitude))
            }
        }
        let length = position - start
        let text = String(decoding: UnsafeRawBufferPointer(rebasing: bytes[start..<position]), as: UTF8.self)
        guard length <= Self.longestNumber, let value = Double(text), value.isFinite
        else {
            position = start
            throw syntaxError("a number of at most \(Self.longestNumber) characters within the range of a double")
        }
        return .number(value)
    }

    private mutating func skipDigits() -> Int {
        var ignored: UInt64?
        return skipDigits(accumulating: &ignored)
    }

    /// Skips digits and returns how many; `value` becomes nil when it no longer fits.
    private mutating func skipDigits(accumulating value: inout UInt64?) -> Int {
        let start = position
        while let byte = next, byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") {
            if let current = value {
                let (shifted, multiplyOverflow) = current.multipliedReportingOverflow(by: 10)
                let (sum, addOverflow) = shifted.addingReportingOverflow(UInt64(byte - UInt8(ascii: "0")))
                value = multiplyOverflow || addOverflow ? nil : sum
            }
            position += 1
        }
        return position - start
    }
}
