/// Memory that the values of a text of trees may take: twice the text, and a megabyte for each node.
///
/// A value takes many times its text. Nodes have few; a text of other values only would be much larger in memory.
struct JSONAllowance {
    /// Of an element and of a member, in arrays that have room for as many again, and of the index of members.
    static let elementBytes = 2 * MemoryLayout<JSON>.stride
    static let memberBytes = 2 * MemoryLayout<JSONObject.Member>.stride + 64

    private static let nodeBytes = 1 << 20
    private var rest: Int
    /// Whether nodes are looked at as they end. Those of a short text are when they are made.
    private let checksNodes: Bool
    private var nodes = 0

    init(textBytes: Int) {
        rest = 2 * textBytes + Self.nodeBytes
        checksNodes = textBytes > Self.nodeBytes
    }

    /// Whether so many bytes are allowed.
    mutating func spend(_ bytes: Int) -> Bool {
        rest -= bytes
        return rest >= 0
    }

    /// Adds what a node is allowed, if the object is one. What can be no node is refused here in a long text, which would
    /// else be read whole before.
    mutating func add(_ object: JSONObject) throws {
        guard object["kind"] != nil, object["rows"] != nil else { return }
        nodes += 1
        guard nodes <= maximumNodes else { throw EmbedCompressError.format(.tooManyNodes(limit: maximumNodes)) }
        if checksNodes { try NodeDecoder.checkHead(of: object) }
        rest += Self.nodeBytes
    }
}
