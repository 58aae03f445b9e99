/// A tensor that a file has beside tables, such as a bias of a model.
public struct PlainTensor: Sendable {
    public let name: String
    public let type: ElementType
    public let shape: [Int]
    let bytes: Bytes

    /// A copy of `bytes`, which hold the elements in this machine's byte order, the last axis the fastest.
    public init(_ name: String, type: ElementType, shape: [Int], bytes: [UInt8]) throws {
        try self.init(
            name: name, type: type, shape: shape, bytes: try bytes.withUnsafeBytes { try Bytes(copying: $0) })
    }

    /// A tensor on memory that lives as long as this is used.
    package init(_ array: LentArray) throws {
        let storage = ByteStorage.lent(array.data ?? nothing, count: try array.byteCount()) {}
        try self.init(name: array.name, type: array.type, shape: array.shape, bytes: Bytes(storage))
    }

    init(name: String, type: ElementType, shape: [Int], bytes: Bytes) throws {
        guard !shape.contains(where: { $0 < 0 }), Checked.product(of: shape + [type.byteCount]) == bytes.count else {
            throw EmbedCompressError.invalidArgument(
                "\(bytes.count) bytes are no tensor '\(name)' of \(type.rawValue) \(shape)")
        }
        (self.name, self.type, self.shape, self.bytes) = (name, type, shape, bytes)
    }

    /// Calls `body` with the elements.
    public func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try withExtendedLifetime(bytes.storage) { try body(bytes.buffer) }
    }
}

extension TableFile {
    /// The names of the tensors that are no table's. In a file that this library didn't write these are all.
    public var plainNames: [String] {
        guard let trees else { return tensors.map(\.name) }
        var used: Set<Key> = []
        for member in trees.members { Self.collectTensors(of: member.value, into: &used) }
        return tensors.map(\.name).filter { !used.contains(Key($0)) }
    }

    private static func collectTensors(of tree: JSON, into used: inout Set<Key>) {
        guard case .object(let node) = tree else { return }
        if case .object(let tensors) = node["tensors"] {
            for member in tensors.members { member.value.stringValue.map { _ = used.insert(Key($0)) } }
        }
        if case .object(let children) = node["children"] {
            for member in children.members { collectTensors(of: member.value, into: &used) }
        }
    }

    /// Any tensor of the file, mapped.
    public func tensor(_ name: String) throws -> PlainTensor {
        guard let tensor = file.tensor(name), let bytes = file.bytes(of: name) else {
            throw EmbedCompressError.format(.missingTensor(name: name))
        }
        return try PlainTensor(name: name, type: tensor.type, shape: tensor.shape, bytes: bytes)
    }

    /// Reads any tensor of the file into memory of its size.
    package func read(_ name: String, into target: UnsafeMutableRawBufferPointer) throws {
        guard let tensor = file.tensor(name) else { throw EmbedCompressError.format(.missingTensor(name: name)) }
        guard tensor.byteCount == target.count else {
            throw EmbedCompressError.invalidArgument(
                "tensor '\(name)' has \(tensor.byteCount) bytes, not \(target.count)")
        }
        try file.read(tensor, into: target)
    }
}
