extension JSON {
    /// Reads one JSON text, which must fill `bytes` but for whitespace around it.
    ///
    /// Strict: UTF-8 only, no repeated keys, no lone surrogates, no numbers beyond a double's range, none longer than
    /// 1,000 characters. Time and memory are linear in the length of the text.
    static func parse(
        _ bytes: UnsafeRawBufferPointer, maximumDepth: Int = 64, allowance: JSONAllowance? = nil
    ) throws -> JSON {
        if let offset = firstInvalidUTF8(in: bytes) { throw EmbedCompressError.format(.invalidUTF8(offset: offset)) }
        var parser = JSONParser(bytes: bytes, maximumDepth: maximumDepth, position: 0, allowance: allowance)
        parser.skipWhitespace()
        let value = try parser.parseValue(depth: 0)
        parser.skipWhitespace()
        guard parser.position == bytes.count else { throw parser.syntaxError("the end of the text") }
        return value
    }

    static func parse(text: String, maximumDepth: Int = 64) throws -> JSON {
        var text = text
        return try text.withUTF8 { try parse(UnsafeRawBufferPointer($0), maximumDepth: maximumDepth) }
    }

    /// The same for a text of trees, whose values take memory in proportion to it and to its nodes: others are refused.
    static func parse(trees text: UnsafeRawBufferPointer, maximumDepth: Int) throws -> JSON {
        try parse(text, maximumDepth: maximumDepth, allowance: JSONAllowance(textBytes: text.count))
    }
}

/// A recursive-descent parser; `maximumDepth` bounds its use of the stack. Every read is within `bytes`, even when the
/// text changes while it is read.
struct JSONParser {
    let bytes: UnsafeRawBufferPointer
    let maximumDepth: Int
    var position: Int
    /// Memory that values may still take; nil for any.
    var allowance: JSONAllowance?

    private static let longestNumber = 1000

    /// The byte at `position`, or nil at the end.
    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    func syntaxError(_ expected: String) -> EmbedCompressError {
        .format(.jsonSyntax(offset: position, expected: expected))
    }

    mutating func skipWhitespace() {
        while let byte = next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { position += 1 }
    }

    /// Whether the next byte is this character.
    func isAt(_ character: Unicode.Scalar) -> Bool { next.map { UInt32($0) == character.value } ?? false }

    private mutating func skip(_ character: Unicode.Scalar) -> Bool {
        guard isAt(character) else { return false }
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
        var elements: [JSON] = []
        try parseElements { parser in
            try parser.spend(JSONAllowance.elementBytes)
            elements.append(try parser.parseValue(depth: depth))
        }
        return elements
    }

    private mutating func parseObject(depth: Int) throws -> JSONObject {
        try checkDepth(depth)
        var object = JSONObject()
        try parseMembers { parser, key, offset in
            try parser.spend(JSONAllowance.memberBytes)
            guard object.add(key, try parser.parseValue(depth: depth)) else {
                throw EmbedCompressError.format(.duplicateKey(key: key, offset: offset))
            }
        }
        try allowance?.add(object)
        return object
    }

    private mutating func spend(_ bytes: Int) throws {
        guard allowance?.spend(bytes) ?? true else {
            throw EmbedCompressError.format(.tooManyValues(offset: position))
        }
    }

    /// Reads an array, whose "[" is next. `body` reads each element.
    mutating func parseElements(_ body: (inout JSONParser) throws -> Void) throws {
        position += 1
        skipWhitespace()
        if skip("]") { return }
        while true {
            skipWhitespace()
            try body(&self)
            skipWhitespace()
            if skip("]") { return }
            guard skip(",") else { throw syntaxError("',' or ']'") }
        }
    }

    /// Reads an object, whose "{" is next. `body` reads the value of each member, given the key and where it stands.
    mutating func parseMembers(_ body: (inout JSONParser, _ key: String, _ offset: Int) throws -> Void) throws {
        position += 1
        skipWhitespace()
        if skip("}") { return }
        while true {
            skipWhitespace()
            let keyOffset = position
            guard isAt("\"") else { throw syntaxError("a key in quotes") }
            let key = try parseString()
            skipWhitespace()
            guard skip(":") else { throw syntaxError("':'") }
            skipWhitespace()
            try body(&self, key, keyOffset)
            skipWhitespace()
            if skip("}") { return }
            guard skip(",") else { throw syntaxError("',' or '}'") }
        }
    }

    /// What the next value is, in the words of an error message. Reads it only if it is short.
    mutating func summarizeValue() throws -> String {
        if isAt("[") { return JSON.array([]).summary }
        if isAt("{") { return JSON.object(JSONObject()).summary }
        if isAt("\"") { return JSON.string("").summary }
        return try parseValue(depth: 0).summary
    }

    // MARK: Strings

    /// Reads a string, whose first quote is next. Strings with escapes are read twice, so that none takes more memory than
    /// it has bytes.
    mutating func parseString() throws -> String {
        position += 1
        let start = position
        let run = try skipUnescapedRun()
        if skip("\"") { return String(decoding: run, as: UTF8.self) }
        var count = 0
        position = start
        try forEachRun { count += $0.count }
        position = start
        return try String(unsafeUninitializedCapacity: count) { text in
            var place = 0
            try forEachRun { run in
                guard run.count <= count - place else {
                    throw EmbedCompressError.format(
                        .jsonSyntax(offset: start, expected: "the string that was there before"))
                }
                UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(text)[place...])
                    .copyMemory(from: run)
                place += run.count
            }
            return place
        }
    }

    /// Appends the string whose first quote is next.
    mutating func parseString(into list: inout TextList) throws {
        position += 1
        try forEachRun { list.add($0) }
        list.endText()
    }

    /// Gives `body` the rest of a string, escapes resolved, piece by piece, and goes past its last quote.
    private mutating func forEachRun(_ body: (UnsafeRawBufferPointer) throws -> Void) throws {
        while true {
            try body(try skipUnescapedRun())
            if skip("\"") { return }
            guard skip("\\") else { throw syntaxError("an escape or '\"'") }
            let scalar = try parseEscape()
            var bytes = (UInt8(0), UInt8(0), UInt8(0), UInt8(0))
            try withUnsafeMutableBytes(of: &bytes) { bytes in
                for (index, byte) in scalar.utf8.enumerated() { bytes[index] = byte }
                try body(UnsafeRawBufferPointer(rebasing: bytes[..<scalar.utf8.count]))
            }
        }
    }

    /// The text up to the next quote or backslash, which is left.
    private mutating func skipUnescapedRun() throws -> UnsafeRawBufferPointer {
        let start = position
        while let byte = next, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\") {
            guard byte >= 0x20 else { throw syntaxError("no unescaped control character in a string") }
            position += 1
        }
        guard position < bytes.count else { throw syntaxError("'\"' at the end of a string") }
        return UnsafeRawBufferPointer(rebasing: bytes[start..<position])
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
