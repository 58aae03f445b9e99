/// Digests of the tensors of a file: an entry of its metadata, a JSON object of each tensor's name and "sha256:" with the
/// SHA-256 of its bytes.
struct TensorDigests: Sendable {
    static let key = "embedcompress.digests"
    private static let prefix = "sha256:"

    private let digests: JSONObject

    /// Those of a file; nil if it has none.
    init?(of file: SafetensorsFile) throws {
        guard
            let value = try file.header.metadata.withText(of: Self.key, { try JSON.parse($0, maximumDepth: 2) })
        else { return nil }
        guard case .object(let digests) = value else {
            throw Self.invalid("a JSON object of digests")
        }
        for tensor in file.header.tensors where digests[tensor.name] == nil {
            throw EmbedCompressError.format(.missingField(node: Self.key, field: tensor.name))
        }
        for name in digests.keys where file.tensor(name) == nil {
            throw EmbedCompressError.format(.missingTensor(name: name))
        }
        self.digests = digests
    }

    /// The entry of the metadata for tensors whose digests have 64 hexadecimal digits.
    static func entry(_ digests: [(name: String, digest: String)]) throws -> (String, String) {
        let members = JSONObject(digests.map { ($0.name, .string(prefix + $0.digest)) })
        return (key, try JSON.object(members).serialized())
    }

    /// Checks the bytes of a tensor of the file.
    ///
    /// - Parameter progress: Told of bytes.
    func check(_ name: String, _ bytes: Bytes, progress: ProgressCounter) throws {
        guard let stated = digests[name]?.stringValue, stated.utf8.starts(with: Self.prefix.utf8) else {
            throw Self.invalid("'\(Self.prefix)' and a digest for each tensor")
        }
        let found = Self.prefix + (try Self.digest(of: bytes, progress: progress))
        guard Key(found) == stated else {
            throw EmbedCompressError.format(.wrongDigest(tensor: name, stated: stated, found: found))
        }
    }

    /// Between two pieces of this size a long reading can be stopped.
    private static let piece = 8 << 20

    private static func digest(of bytes: Bytes, progress: ProgressCounter) throws -> String {
        var digest = SHA256()
        for start in stride(from: 0, to: bytes.count, by: piece) {
            let count = min(piece, bytes.count - start)
            guard let part = bytes.range(start, count) else { break }
            withExtendedLifetime(bytes.storage) { digest.update(part.buffer) }
            part.discardPages()
            progress.advance(by: count)
            try progress.report()
        }
        return digest.hexadecimal()
    }

    private static func invalid(_ expected: String) -> EmbedCompressError {
        .format(.invalidField(node: "metadata", field: key, expected: expected))
    }
}
