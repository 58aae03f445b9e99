/// Names that differ in their bytes (``Key``), each found in constant time once all are there.
struct NameList: Sendable {
    private var names: TextList
    /// Where each stands in the header, until all are there.
    private var offsets: [UInt32] = []
    /// An open hash table. Short lists have none, and are searched.
    private var slots: [UInt32] = []
    private static let longestSearched = 8
    private static let emptySlot = UInt32.max

    init(capacity count: Int, byteCount: Int) {
        names = TextList(capacity: count, byteCount: byteCount)
        offsets.reserveCapacity(count)
    }

    var count: Int { names.count }

    subscript(position: Int) -> String { names[position] }

    /// - Parameter offset: Where the name stands in the header.
    mutating func append(_ name: String, offset: Int) {
        names.append(name)
        offsets.append(UInt32(truncatingIfNeeded: offset))
    }

    /// Makes the index, once all names are there.
    ///
    /// - Throws: ``FormatError/duplicateKey(key:offset:)``.
    mutating func complete() throws {
        func check(_ name: Int, _ isNew: Bool) throws {
            guard isNew else { throw FormatError.duplicateKey(key: names[name], offset: Int(offsets[name])) }
        }
        if count <= Self.longestSearched {
            for name in 0..<count { try check(name, position(of: names[name]) == name) }
        } else {
            slots = [UInt32](repeating: Self.emptySlot, count: count + count / 2 + 1)
            for name in 0..<count {
                let slot = slot(of: Key(names[name]))
                try check(name, slots[slot] == Self.emptySlot)
                slots[slot] = UInt32(truncatingIfNeeded: name)
            }
        }
        offsets = []
    }

    /// The place of a name in the order in which they were added, or nil.
    func position(of name: String) -> Int? {
        if slots.isEmpty {
            var name = name
            return name.withUTF8 { name in (0..<count).first { names.isEqual($0, to: UnsafeRawBufferPointer(name)) } }
        }
        let position = slots[slot(of: Key(name))]
        return position == Self.emptySlot ? nil : Int(position)
    }

    /// Where a name is in the hash table, or would be.
    private func slot(of key: Key) -> Int {
        var hasher = Hasher()
        key.hash(into: &hasher)
        let start = UInt64(UInt(bitPattern: hasher.finalize())).multipliedFullWidth(by: UInt64(slots.count)).high
        var slot = Int(start)
        while slots[slot] != Self.emptySlot, key != Key(names[Int(slots[slot])]) {
            slot = slot + 1 == slots.count ? 0 : slot + 1
        }
        return slot
    }
}
