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
    let tensors: [TensorInfo]
    /// `__metadata__`: every value is a string.
    let metadata: JSONObject
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
        let (value, end) = try JSON.parsePrefix(text)
        if let offset = text[end...].firstIndex(where: { $0 != UInt8(ascii: " ") }) {
            throw FormatError.trailingHeaderBytes(offset: offset)
        }
        guard case .object(let root) = value else { throw FormatError.headerStart(found: text.first) }

        var metadata = JSONObject()
        var tensors: [TensorInfo] = []
        tensors.reserveCapacity(root.count)
        for member in root.members {
            if member.key == metadataKey {
                metadata = try checkedMetadata(member.value)
            } else {
                tensors.append(try parseTensor(member.key, member.value))
            }
        }
        let ordered = try checkedLayout(tensors, dataBytes: bytes.count - dataStart)
        return SafetensorsHeader(tensors: ordered, metadata: metadata, dataStart: dataStart)
    }

    private static func checkedMetadata(_ value: JSON) throws -> JSONObject {
        guard let object = value.objectValue else { throw FormatError.metadataNotAnObject(found: value.summary) }
        for member in object.members where member.value.stringValue == nil {
            throw FormatError.metadataValueNotAString(key: member.key, found: member.value.summary)
        }
        return object
    }

    // MARK: One tensor

    private static func parseTensor(_ name: String, _ value: JSON) throws -> TensorInfo {
        guard let entry = value.objectValue else {
            throw FormatError.tensorNotAnObject(tensor: name, found: value.summary)
        }
        func field(_ key: String) throws -> JSON {
            guard let value = entry[key] else { throw FormatError.missingTensorField(tensor: name, field: key) }
            return value
        }
        let type = try parseType(name, field("dtype"))
        let shape = try parseShape(name, field("shape"))
        let range = try parseOffsets(name, field("data_offsets"))
        let fields = ["dtype", "shape", "data_offsets"]
        if entry.count > fields.count, let unknown = entry.keys.first(where: { !fields.contains($0) }) {
            throw FormatError.unknownTensorField(tensor: name, field: unknown)
        }
        guard let expected = byteCount(of: shape, type) else { throw FormatError.shapeOverflow(tensor: name) }
        guard expected == range.count else {
            throw FormatError.sizeMismatch(tensor: name, expectedBytes: expected, foundBytes: range.count)
        }
        return TensorInfo(name: name, type: type, shape: shape, range: range)
    }

    /// The bytes of a tensor, or nil when the product of its nonzero dimensions and its element size overflows.
    static func byteCount(of shape: [Int], _ type: ElementType) -> Int? {
        guard let elements = Checked.product(of: shape.lazy.map { max($0, 1) }),
            let bytes = Checked.product(elements, type.byteCount)
        else { return nil }
        return shape.contains(0) ? 0 : bytes
    }

    private static let subByteTypes = ["F4", "F6_E2M3", "F6_E3M2"]

    private static func parseType(_ name: String, _ value: JSON) throws -> ElementType {
        guard let text = value.stringValue else {
            throw FormatError.typeNotAString(tensor: name, found: value.summary)
        }
        if let type = ElementType(rawValue: text) { return type }
        if subByteTypes.contains(text) { throw FormatError.subByteType(tensor: name, type: text) }
        throw FormatError.unknownType(tensor: name, type: text)
    }

    private static func size(_ value: JSON) -> Int? {
        guard let integer = value.integerValue, integer >= 0 else { return nil }
        return Int(exactly: integer)
    }

    private static func parseShape(_ name: String, _ value: JSON) throws -> [Int] {
        guard let elements = value.arrayValue else {
            throw FormatError.shapeNotAnArray(tensor: name, found: value.summary)
        }
        var shape: [Int] = []
        shape.reserveCapacity(elements.count)
        for (axis, element) in elements.enumerated() {
            guard let dimension = size(element) else {
                throw FormatError.invalidDimension(tensor: name, axis: axis, found: element.summary)
            }
            shape.append(dimension)
        }
        return shape
    }

    private static func parseOffsets(_ name: String, _ value: JSON) throws -> Range<Int> {
        guard let elements = value.arrayValue, elements.count == 2 else {
            throw FormatError.offsetsNotAPair(tensor: name)
        }
        func offset(_ element: JSON) throws -> Int {
            guard let offset = size(element) else {
                throw FormatError.invalidOffset(tensor: name, found: element.summary)
            }
            return offset
        }
        let begin = try offset(elements[0])
        let end = try offset(elements[1])
        guard begin <= end else { throw FormatError.reversedOffsets(tensor: name, begin: begin, end: end) }
        return begin..<end
    }

    // MARK: The layout

    /// The tensors in the order of their bytes, when these cover the data section exactly.
    private static func checkedLayout(_ tensors: [TensorInfo], dataBytes: Int) throws -> [TensorInfo] {
        let order = tensors.indices.sorted {
            let (left, right) = (tensors[$0].range, tensors[$1].range)
            return (left.lowerBound, left.upperBound, $0) < (right.lowerBound, right.upperBound, $1)
        }
        let ordered = order.map { tensors[$0] }
        var end = 0
        var previous = ""
        for tensor in ordered {
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
        return ordered
    }
}
