#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// A safetensors file open for reading, its tensors found by name in constant time.
///
/// Opening costs time in proportion to the header, not the data. Safe to use from many threads.
final class SafetensorsFile: Sendable {
    let header: SafetensorsHeader
    private let contents: Bytes
    /// Where copies are read from; nil for contents that are in memory already.
    private let file: InputFile?

    /// What a mapped file stands on.
    var storage: ByteStorage { contents.storage }

    /// Opens and maps a file; see ``MappedFile`` for what a map promises.
    convenience init(path: FilePath) throws {
        let file = try InputFile(path: path)
        try self.init(contents: Bytes(ByteStorage.mapped(file)), file: file)
    }

    /// The contents of a file that are in memory already.
    convenience init(_ contents: Bytes) throws {
        try self.init(contents: contents, file: nil)
    }

    private init(contents: Bytes, file: InputFile?) throws {
        self.contents = contents
        self.file = file
        header = try MappedFile.reading([contents.storage]) { try SafetensorsHeader.parse(contents.buffer) }
        // What a long header took in memory is free for what is made of it.
        contents.range(0, header.dataStart)?.discardPages()
    }

    /// The tensor of this name, or nil.
    func tensor(_ name: String) -> TensorInfo? {
        header.tensors.position(of: name).map { header.tensors[$0] }
    }

    /// The bytes of a tensor where they lie, at any alignment, or nil when there is no tensor of this name.
    func bytes(of name: String) -> Bytes? {
        guard let tensor = tensor(name), let start = Checked.sum(header.dataStart, tensor.range.lowerBound) else {
            return nil
        }
        return contents.range(start, tensor.byteCount)
    }

    /// The bytes of a tensor in memory of our own, aligned to a cache line; reads that tensor and no other.
    func copy(_ name: String) throws -> Bytes {
        guard let tensor = tensor(name), let source = bytes(of: name) else {
            throw EmbedCompressError.format(.missingTensor(name: name))
        }
        guard file != nil else { return try withExtendedLifetime(source.storage) { try Bytes(copying: source.buffer) } }
        let target = try ByteStorage.allocate(tensor.byteCount)
        try read(tensor, into: UnsafeMutableRawBufferPointer(start: target.base, count: tensor.byteCount))
        return Bytes(target)
    }

    /// Reads a tensor of this file into memory of its size.
    func read(_ tensor: TensorInfo, into target: UnsafeMutableRawBufferPointer) throws {
        guard let base = target.baseAddress else { return }
        if let file {
            try file.read(into: base, count: tensor.byteCount, at: header.dataStart + tensor.range.lowerBound)
        } else if let source = bytes(of: tensor.name) {
            withExtendedLifetime(source.storage) { base.copyMemory(from: source.pointer, byteCount: tensor.byteCount) }
        }
    }
}
