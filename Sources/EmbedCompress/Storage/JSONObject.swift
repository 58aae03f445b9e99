/// The members of a JSON object: in the order in which they were added, found by key in constant time.
///
/// Keys are the same if their UTF-8 bytes are (see ``Key``). Objects are equal when they have the same members in any order.
struct JSONObject: Sendable {
    struct Member: Equatable, Sendable {
        let key: String
        var value: JSON
    }

    private(set) var members: [Member] = []
    /// Positions by key. Small objects have none, because a header holds one small object for each of its tensors.
    private var positions: [Key: Int]?

    private static let largestUnindexed = 16

    init() {}

    var count: Int { members.count }
    var isEmpty: Bool { members.isEmpty }
    var keys: [String] { members.map(\.key) }

    subscript(key: String) -> JSON? {
        get { position(of: key).map { members[$0].value } }
        set {
            guard let value = newValue else {
                remove(key)
                return
            }
            if let position = position(of: key) {
                members[position].value = value
            } else {
                appendNew(key, value)
            }
        }
    }

    /// Adds a member, or returns false when the key is taken.
    mutating func add(_ key: String, _ value: JSON) -> Bool {
        guard position(of: key) == nil else { return false }
        appendNew(key, value)
        return true
    }

    private mutating func appendNew(_ key: String, _ value: JSON) {
        members.append(Member(key: key, value: value))
        if positions != nil {
            positions?[Key(key)] = members.count - 1
        } else if members.count > Self.largestUnindexed {
            indexMembers()
        }
    }

    private mutating func remove(_ key: String) {
        guard let position = position(of: key) else { return }
        members.remove(at: position)
        if positions != nil { indexMembers() }
    }

    private mutating func indexMembers() {
        var positions: [Key: Int] = [:]
        positions.reserveCapacity(2 * members.count)
        for (position, member) in members.enumerated() { positions[Key(member.key)] = position }
        self.positions = positions
    }

    private func position(of key: String) -> Int? {
        let key = Key(key)
        if let positions { return positions[key] }
        return members.firstIndex { key == $0.key }
    }
}

extension JSONObject: Equatable {
    static func == (left: JSONObject, right: JSONObject) -> Bool {
        left.count == right.count && left.members.allSatisfy { right[$0.key] == $0.value }
    }
}
