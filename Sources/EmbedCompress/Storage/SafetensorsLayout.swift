/// Where the tensors of a new safetensors file go, and the header that says so.
enum SafetensorsLayout {
    /// The declared tensors, in their order, each placed at a multiple of the largest power of two that divides its
    /// size, up to the alignment of the data section.
    static func place(_ declared: [SafetensorsWriter.Tensor]) throws -> [TensorInfo] {
        var names: Set<Key> = [Key(SafetensorsHeader.metadataKey)]
        var sizes: [Int] = []
        for tensor in declared {
            guard names.insert(Key(tensor.name)).inserted else {
                throw EmbedCompressError.invalidArgument("the tensor name '\(tensor.name)' is taken")
            }
            guard tensor.shape.allSatisfy({ $0 >= 0 }),
                let size = SafetensorsHeader.byteCount(of: tensor.shape, tensor.type)
            else {
                throw EmbedCompressError.invalidArgument("tensor '\(tensor.name)' cannot have shape \(tensor.shape)")
            }
            sizes.append(size)
        }
        var ranges = Array(repeating: 0..<0, count: declared.count)
        var end = 0
        for index in fileOrder(sizes) {
            // Half the range is left for the header and for page rounding.
            guard let next = Checked.sum(end, sizes[index]), next <= Int.max / 2 else {
                throw EmbedCompressError.invalidArgument("the tensors have more bytes than a file can hold")
            }
            ranges[index] = end..<next
            end = next
        }
        return zip(declared, ranges).map { tensor, range in
            TensorInfo(name: tensor.name, type: tensor.type, shape: tensor.shape, range: range)
        }
    }

    /// The length and the JSON, padded with spaces so that the data starts at a multiple of the alignment.
    static func header(_ tensors: [TensorInfo], metadata: [(String, String)]) throws -> [UInt8] {
        var entries = JSONObject()
        for (key, value) in metadata {
            guard entries.add(key, .string(value)) else {
                throw EmbedCompressError.invalidArgument("the metadata key '\(key)' is taken")
            }
        }
        // Unescaped text alone may be too much already; then nothing is built.
        try checkLength(metadata.reduce(0) { $0 + $1.0.utf8.count + $1.1.utf8.count })
        var text = "{"
        if !entries.isEmpty {
            JSON.appendQuoted(SafetensorsHeader.metadataKey, to: &text)
            text += ":" + (try JSON.object(entries).serialized())
        }
        for index in fileOrder(tensors.map(\.byteCount)) {
            let tensor = tensors[index]
            if text.utf8.count > 1 { text += "," }
            JSON.appendQuoted(tensor.name, to: &text)
            let shape = tensor.shape.map(String.init).joined(separator: ",")
            let (begin, end) = (tensor.range.lowerBound, tensor.range.upperBound)
            text += ":{\"dtype\":\"\(tensor.type.rawValue)\",\"shape\":[\(shape)],\"data_offsets\":[\(begin),\(end)]}"
        }
        text += "}"

        let unpadded = 8 + text.utf8.count
        let alignment = SafetensorsWriter.dataAlignment
        let padded = (unpadded + alignment - 1) / alignment * alignment
        try checkLength(padded - 8)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(padded)
        withUnsafeBytes(of: UInt64(padded - 8).littleEndian) { bytes.append(contentsOf: $0) }
        bytes.append(contentsOf: text.utf8)
        bytes.append(contentsOf: repeatElement(UInt8(ascii: " "), count: padded - unpadded))
        return bytes
    }

    private static func checkLength(_ headerBytes: Int) throws {
        let limit = SafetensorsHeader.largestHeader
        guard headerBytes <= limit else {
            throw EmbedCompressError.format(.headerTooLarge(headerBytes: UInt64(headerBytes), limit: limit))
        }
    }

    /// Positions of tensors of these sizes by the power of two that divides each, the largest first and equal ones in
    /// their order: without any hole, each then starts at a multiple of its own.
    private static func fileOrder(_ sizes: [Int]) -> [Int] {
        let most = SafetensorsWriter.dataAlignment.trailingZeroBitCount
        let keys = sizes.map { min($0.trailingZeroBitCount, most) }
        return sizes.indices.sorted { (-keys[$0], $0) < (-keys[$1], $1) }
    }
}
