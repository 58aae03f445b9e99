/// One tensor of a safetensors file.
///
/// Every partial product of `shape`, times the size of an element, fits in an `Int`.
struct TensorInfo: Equatable, Sendable {
    let name: String
    let type: ElementType
    let shape: [Int]
    /// Where its bytes lie, relative to the start of the data section.
    let range: Range<Int>

    var byteCount: Int { range.count }
}

/// What a safetensors file says about its tensors, checked against the size of the whole file.
///
/// The file is: the header's length in 8 bytes, little-endian; the header, a JSON object padded with spaces; the data.
/// Tensors cover the data section exactly, so that every byte of a file has one meaning. Stricter than the reference
/// reader in that repeated keys, unknown fields and leading whitespace are refused. `FormatError` lists the rules.
struct SafetensorsHeader: Sendable {
    /// The longest header that the format allows, in bytes.
    static let largestHeader = 100_000_000
    static let metadataKey = "__metadata__"

    /// In the order of their bytes.
    let tensors: TensorList
    /// `__metadata__`: every value is a string.
    let metadata: FileMetadata
    /// Where the data section starts in the file. The format promises no alignment.
    let dataStart: Int

    /// Reads the header of a file whose whole contents are `bytes`; touches only the header.
    static func parse(_ bytes: UnsafeRawBufferPointer) throws -> SafetensorsHeader {
        do {
            return try parseHeader(bytes)
        } catch let error as FormatError {
            throw EmbedCompressError.format(error)
        }
    }

    private static func parseHeader(_ bytes: UnsafeRawBufferPointer) throws -> SafetensorsHeader {
        guard bytes.count >= 8 else { throw FormatError.fileTooShort(fileBytes: bytes.count) }
        let claimed = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
        guard claimed <= UInt64(largestHeader) else {
            throw FormatError.headerTooLarge(headerBytes: claimed, limit: largestHeader)
        }
        let headerBytes = Int(claimed)
        guard headerBytes <= bytes.count - 8 else {
            throw FormatError.headerBeyondFile(headerBytes: headerBytes, fileBytes: bytes.count)
        }
        let dataStart = 8 + headerBytes
        let text = UnsafeRawBufferPointer(rebasing: bytes[8..<dataStart])
        guard text.first == UInt8(ascii: "{") else { throw FormatError.headerStart(found: text.first) }
        let (tensors, metadata, end) = try parseJSON(text)
        if let offset = text[end...].firstIndex(where: { $0 != UInt8(ascii: " ") }) {
            throw FormatError.trailingHeaderBytes(offset: offset)
        }
        try checkLayout(tensors, dataBytes: bytes.count - dataStart)
        return SafetensorsHeader(tensors: tensors, metadata: metadata, dataStart: dataStart)
    }

    /// Reads the object that `text` starts with. No JSON value is made of what describes tensors: it can be very much.
    private static func parseJSON(
        _ text: UnsafeRawBufferPointer
    ) throws -> (tensors: TensorList, metadata: FileMetadata, end: Int) {
        if let offset = firstInvalidUTF8(in: text) { throw FormatError.invalidUTF8(offset: offset) }
        var parser = JSONParser(bytes: text, maximumDepth: 4, position: 0)
        var tensors = TensorList(headerBytes: text.count)
        var metadata: FileMetadata?
        try parser.parseMembers { parser, key, offset in
            guard Key(key) == metadataKey else {
                return try parseTensor(key, at: offset, &parser, into: &tensors)
            }
            guard metadata == nil else { throw FormatError.duplicateKey(key: key, offset: offset) }
            metadata = try parseMetadata(&parser)
        }
        try tensors.complete()
        return (tensors, metadata ?? FileMetadata(), parser.position)
    }

    private static func parseMetadata(_ parser: inout JSONParser) throws -> FileMetadata {
        guard parser.isAt("{") else { throw FormatError.metadataNotAnObject(found: try parser.summarizeValue()) }
        return try FileMetadata(&parser)
    }

    // MARK: One tensor

    /// NumPy and PyTorch have as many.
    static let maximumAxes = 64

    private static func parseTensor(
        _ name: String, at keyOffset: Int, _ parser: inout JSONParser, into tensors: inout TensorList
    ) throws {
        guard parser.isAt("{") else {
            throw FormatError.tensorNotAnObject(tensor: name, found: try parser.summarizeValue())
        }
        var type: ElementType?
        var shape: [Int]?
        var range: Range<Int>?
        try parser.parseMembers { parser, key, offset in
            func checkFirst(_ isFirst: Bool) throws {
                if !isFirst { throw FormatError.duplicateKey(key: key, offset: offset) }
            }
            switch Key(key) {
            case "dtype":
                try checkFirst(type == nil)
                type = try parseType(name, &parser)
            case "shape":
                try checkFirst(shape == nil)
                shape = try parseShape(name, &parser)
            case "data_offsets":
                try checkFirst(range == nil)
                range = try parseOffsets(name, &parser)
            default: throw FormatError.unknownTensorField(tensor: name, field: key)
            }
        }
        guard let type else { throw FormatError.missingTensorField(tensor: name, field: "dtype") }
        guard let shape else { throw FormatError.missingTensorField(tensor: name, field: "shape") }
        guard let range else { throw FormatError.missingTensorField(tensor: name, field: "data_offsets") }
        guard let expected = byteCount(of: shape, type) else { throw FormatError.shapeOverflow(tensor: name) }
        guard expected == range.count else {
            throw FormatError.sizeMismatch(tensor: name, expectedBytes: expected, foundBytes: range.count)
        }
        tensors.add(name, type, shape: shape, range: range, keyOffset: keyOffset)
    }

    /// The bytes of a tensor, or nil when the product of its nonzero dimensions and its element size overflows.
    static func byteCount(of shape: [Int], _ type: ElementType) -> Int? {
        guard let elements = Checked.product(of: shape.lazy.map { max($0, 1) }),
            let bytes = Checked.product(elements, type.byteCount)
        else { return nil }
        return shape.contains(0) ? 0 : bytes
    }

    private static let subByteTypes = ["F4", "F6_E2M3", "F6_E3M2"]

    private static func parseType(_ name: String, _ parser: inout JSONParser) throws -> ElementType {
        guard parser.isAt("\"") else {
            throw FormatError.typeNotAString(tensor: name, found: try parser.summarizeValue())
        }
        let text = try parser.parseString()
        if let type = ElementType(spelled: text) { return type }
        if subByteTypes.contains(where: { Key(text) == $0 }) { throw FormatError.subByteType(tensor: name, type: text) }
        throw FormatError.unknownType(tensor: name, type: text)
    }

    /// A non-negative integer, or what is there instead.
    private static func parseSize(_ parser: inout JSONParser, _ error: (_ found: String) -> FormatError) throws -> Int {
        guard !parser.isAt("["), !parser.isAt("{"), !parser.isAt("\"") else { throw error(try parser.summarizeValue()) }
        let value = try parser.parseValue(depth: 0)
        guard let integer = value.integerValue, integer >= 0, let size = Int(exactly: integer) else {
            throw error(value.summary)
        }
        return size
    }

    private static func parseShape(_ name: String, _ parser: inout JSONParser) throws -> [Int] {
        guard parser.isAt("[") else {
            throw FormatError.shapeNotAnArray(tensor: name, found: try parser.summarizeValue())
        }
        var shape: [Int] = []
        try parser.parseElements { parser in
            let axis = shape.count
            guard axis < maximumAxes else { throw FormatError.tooManyAxes(tensor: name, limit: maximumAxes) }
            shape.append(try parseSize(&parser) { .invalidDimension(tensor: name, axis: axis, found: $0) })
        }
        return shape
    }

    private static func parseOffsets(_ name: String, _ parser: inout JSONParser) throws -> Range<Int> {
        guard parser.isAt("[") else { throw FormatError.offsetsNotAPair(tensor: name) }
        var offsets: [Int] = []
        try parser.parseElements { parser in
            guard offsets.count < 2 else { throw FormatError.offsetsNotAPair(tensor: name) }
            offsets.append(try parseSize(&parser) { .invalidOffset(tensor: name, found: $0) })
        }
        guard offsets.count == 2 else { throw FormatError.offsetsNotAPair(tensor: name) }
        let (begin, end) = (offsets[0], offsets[1])
        guard begin <= end else { throw FormatError.reversedOffsets(tensor: name, begin: begin, end: end) }
        return begin..<end
    }

    // MARK: The layout

    /// Checks that tensors, in the order of their bytes, cover the data section exactly.
    private static func checkLayout(_ tensors: TensorList, dataBytes: Int) throws {
        var end = 0
        var previous = ""
        for tensor in tensors {
            let range = tensor.range
            guard range.upperBound <= dataBytes else {
                throw FormatError.offsetsBeyondFile(tensor: tensor.name, end: range.upperBound, dataBytes: dataBytes)
            }
            guard range.lowerBound <= end else {
                throw FormatError.hole(before: tensor.name, from: end, to: range.lowerBound)
            }
            guard range.lowerBound == end else {
                throw FormatError.overlap(first: previous, second: tensor.name, at: range.lowerBound)
            }
            end = range.upperBound
            previous = tensor.name
        }
        guard end == dataBytes else { throw FormatError.trailingData(from: end, dataBytes: dataBytes) }
    }
}
