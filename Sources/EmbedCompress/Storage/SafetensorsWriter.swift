/// Writes a safetensors file piece by piece, atomically (see ``AtomicFile``).
///
/// The data section starts at a multiple of 64 bytes, and each tensor within it at a multiple of the largest power of two
/// up to 64 that divides its size (``SafetensorsLayout``): every element is aligned, so are rows that the table aligned,
/// and there are no holes. After an io error, or one that a progress
/// closure throws, the temporary file is gone and the writer is closed. Not for several threads at once.
final class SafetensorsWriter {
    typealias Tensor = (name: String, type: ElementType, shape: [Int])
    /// Called with the bytes of tensor data written so far; what it throws stops the writer.
    typealias PieceHook = (Int) throws -> Void

    static let dataAlignment = 64
    /// Between two pieces of this size a long write can be stopped.
    static let largestPiece = 64 << 20

    /// The tensors in the order in which they were declared, with their places in the file.
    let tensors: [TensorInfo]
    /// Bytes of tensor data handed over so far.
    private(set) var bytesWritten = 0

    private let file: AtomicFile
    private let metadata: [(String, String)]
    /// Of each tensor, the digest of the bytes so far; nil if the file has none.
    private var digests: [RunningDigest]?
    private let dataStart: Int
    private var written: [WrittenRanges]
    /// Where the next sequential write goes, as a declared tensor and an offset in it.
    private var cursor = (tensor: 0, offset: 0)

    private struct RunningDigest {
        var digest = SHA256()
        var byteCount = 0
    }

    /// - Parameter digests: Write a digest of each tensor (see ``TensorDigests``); the bytes of a tensor then come in order.
    ///
    /// Throws `invalidArgument` for names that repeat and shapes that no tensor can have, `headerTooLarge` for more
    /// names than a header can hold, and an io error when the file cannot be created.
    init(path: FilePath, tensors declared: [Tensor], metadata: [(String, String)] = [], digests: Bool = false) throws {
        tensors = try SafetensorsLayout.place(declared)
        self.metadata = metadata
        self.digests = digests ? Array(repeating: RunningDigest(), count: declared.count) : nil
        let header = try Self.header(tensors, metadata: metadata, digests: self.digests)
        dataStart = header.count
        written = Array(repeating: WrittenRanges(), count: tensors.count)
        file = try AtomicFile(path: path)
        try header.withUnsafeBytes { try file.write($0, at: 0) }
    }

    /// The header with the digests of the bytes so far, as long whatever these are.
    private static func header(
        _ tensors: [TensorInfo], metadata: [(String, String)], digests: [RunningDigest]?
    ) throws -> [UInt8] {
        guard let digests else { return try SafetensorsLayout.header(tensors, metadata: metadata) }
        let entry = try TensorDigests.entry(zip(tensors, digests).map { ($0.name, $1.digest.hexadecimal()) })
        return try SafetensorsLayout.header(tensors, metadata: metadata + [entry])
    }

    /// The position of a tensor in `tensors`, or nil. Takes time in proportion to the number of tensors.
    func index(of name: String) -> Int? {
        tensors.firstIndex { Key($0.name) == name }
    }

    /// Writes the next bytes of the tensors in their declared order; a write may span several tensors.
    func write(_ bytes: UnsafeRawBufferPointer, progress: PieceHook? = nil) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            guard cursor.tensor < tensors.count else {
                throw EmbedCompressError.invalidArgument("\(rest.count) bytes more than the tensors of the file hold")
            }
            let room = tensors[cursor.tensor].byteCount - cursor.offset
            let piece = rest.prefix(room)
            let bytes = UnsafeRawBufferPointer(rebasing: piece)
            try write(bytes, tensor: cursor.tensor, at: cursor.offset, progress: progress)
            rest = rest.dropFirst(piece.count)
            cursor = piece.count == room ? (cursor.tensor + 1, 0) : (cursor.tensor, cursor.offset + piece.count)
        }
    }

    /// Writes bytes into a tensor, given by its position in `tensors`, from a byte offset on. Sequential writes go on
    /// where they were.
    func write(
        _ bytes: UnsafeRawBufferPointer, tensor index: Int, at offset: Int, progress: PieceHook? = nil
    ) throws {
        guard file.isOpen else { throw EmbedCompressError.invalidArgument("the file '\(file.path)' is closed") }
        guard tensors.indices.contains(index) else {
            throw EmbedCompressError.invalidArgument("tensor \(index) of a file of \(tensors.count) tensors")
        }
        let tensor = tensors[index]
        guard offset >= 0, offset <= tensor.byteCount, bytes.count <= tensor.byteCount - offset else {
            throw EmbedCompressError.invalidArgument(
                "\(bytes.count) bytes do not fit at \(offset) in tensor '\(tensor.name)' of \(tensor.byteCount) bytes")
        }
        if let digest = digests?[index], digest.byteCount != offset {
            throw EmbedCompressError.invalidArgument(
                "for its digest tensor '\(tensor.name)' must be written in order: next byte \(digest.byteCount), not \(offset)"
            )
        }
        let start = dataStart + tensor.range.lowerBound + offset
        var done = 0
        do {
            while done < bytes.count {
                let piece = UnsafeRawBufferPointer(rebasing: bytes.dropFirst(done).prefix(Self.largestPiece))
                try file.write(piece, at: start + done)
                digests?[index].digest.update(piece)
                digests?[index].byteCount += piece.count
                done += piece.count
                bytesWritten += piece.count
                try progress?(bytesWritten)
            }
        } catch {
            abandon()
            throw error
        }
        written[index].insert(offset..<offset + bytes.count)
    }

    /// Completes the file and puts it in its place. Throws `invalidArgument` when bytes of a tensor were never written.
    func finish() throws {
        for (tensor, ranges) in zip(tensors, written) {
            if let gap = ranges.firstGap(below: tensor.byteCount) {
                throw EmbedCompressError.invalidArgument(
                    "tensor '\(tensor.name)' is incomplete: byte \(gap) of \(tensor.byteCount) was never written")
            }
        }
        do {
            if digests != nil {
                let header = try Self.header(tensors, metadata: metadata, digests: digests)
                try header.withUnsafeBytes { try file.write($0, at: 0) }
            }
            try file.commit()
        } catch {
            abandon()
            throw error
        }
    }

    /// Gives the file up: removes what was written and leaves the target as it was. Does nothing after `finish`. A
    /// writer that is released unfinished does this by itself.
    func abandon() { file.abandon() }
}
