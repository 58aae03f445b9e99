/// Everything that this library throws.
public enum EmbedCompressError: Error, Equatable, Sendable {
    /// An argument that no call of this kind can accept; the text names the argument and what it must be.
    case invalidArgument(String)
    /// An id outside `[0, rows)`, at `position` in the flattened ids.
    case invalidID(position: Int, id: Int64, rows: Int)
    /// The same in a call on several tables: an id outside `[0, rows)` of the table that `feature` looks up.
    case invalidFeatureID(feature: Int, position: Int, id: Int64, rows: Int)
    /// A file or a set of parts that is not a table; see ``FormatError`` for the rule that it breaks. `path` is the file's;
    /// nil for parts, and for what only a lookup finds.
    case format(FormatError, path: String? = nil)
    /// A byte budget below the least that the method can reach.
    case budget(method: String, budgetBytes: Int, floorBytes: Int)
    /// A system call that failed on a file.
    case io(operation: String, path: String, errno: Int32)
    /// A device, a pipe or a socket where there must be a regular file, or nothing.
    case notRegularFile(operation: String, path: String)
    /// The progress callback asked to stop.
    case cancelled
    /// An allocation of this many bytes was refused.
    case outOfMemory(bytes: Int)
}

extension EmbedCompressError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .invalidArgument(let text):
            return text
        case .invalidID(let position, let id, let rows):
            return "id \(id) at position \(position) is out of range: \(Self.range(rows))"
        case .invalidFeatureID(let feature, let position, let id, let rows):
            return "id \(id) at position \(position), of feature \(feature), is out of range: \(Self.range(rows))"
        case .format(let error, _):
            return error.description
        case .budget(Self.anyMethod, let budgetBytes, let floorBytes):
            return "no method can meet a budget of \(budgetBytes) bytes: "
                + "the least that any of them can reach is \(floorBytes) bytes"
        case .budget(let method, let budgetBytes, let floorBytes):
            return
                "\(method) cannot meet a budget of \(budgetBytes) bytes: the least it can reach is \(floorBytes) bytes"
        case .io(let operation, let path, let errno):
            return "cannot \(operation) '\(path)': \(systemErrorText(errno))"
        case .notRegularFile(let operation, let path):
            return "cannot \(operation) '\(path)': it is not a regular file"
        case .cancelled:
            return "cancelled"
        case .outOfMemory(let bytes):
            return "cannot allocate \(bytes) bytes"
        }
    }

    /// What stands for the method in a ``budget(method:budgetBytes:floorBytes:)`` that no method can meet.
    public static let anyMethod = "any method"

    private static func range(_ rows: Int) -> String {
        rows == 0 ? "the table has no rows" : "ids must be from 0 to \(rows - 1)"
    }
}

extension EmbedCompressError {
    /// What `body` returns. A rule of the format that it finds broken is broken by the file at `path`.
    static func inFile<Result>(_ path: FilePath, _ body: () throws -> Result) throws -> Result {
        do {
            return try body()
        } catch EmbedCompressError.format(let error, path: nil) {
            throw EmbedCompressError.format(error, path: path.description)
        }
    }
}
