/// Everything that this library throws.
public enum EmbedCompressError: Error, Equatable, Sendable {
    /// An argument that no call of this kind can accept; the text names the argument and what it must be.
    case invalidArgument(String)
    /// An id outside `[0, rows)`, at `position` in the flattened ids.
    case invalidID(position: Int, id: Int64, rows: Int)
    /// The same in a call on several tables: an id outside `[0, rows)` of the table that `feature` looks up.
    case invalidFeatureID(feature: Int, position: Int, id: Int64, rows: Int)
    /// A file or a set of parts that is not a table; see ``FormatError`` for the rule that it breaks.
    case format(FormatError)
    /// A byte budget below the least that the method can reach.
    case budget(method: String, budgetBytes: Int, floorBytes: Int)
    /// A system call that failed on a file.
    case io(operation: String, path: String, errno: Int32)
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
        case .format(let error):
            return error.description
        case .budget(let method, let budgetBytes, let floorBytes):
            return
                "\(method) cannot meet a budget of \(budgetBytes) bytes: the least it can reach is \(floorBytes) bytes"
        case .io(let operation, let path, let errno):
            return "cannot \(operation) '\(path)': \(systemErrorText(errno))"
        case .cancelled:
            return "cancelled"
        case .outOfMemory(let bytes):
            return "cannot allocate \(bytes) bytes"
        }
    }

    private static func range(_ rows: Int) -> String {
        rows == 0 ? "the table has no rows" : "ids must be from 0 to \(rows - 1)"
    }
}
