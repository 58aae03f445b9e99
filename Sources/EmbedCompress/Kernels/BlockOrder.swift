/// Puts the ids of a block that have something in common next to each other, so that it is worked out once.
enum BlockOrder {
    /// A stable order of `0 ..< count` that has equal keys side by side, in the order in which keys first appear.
    ///
    /// - Parameters:
    ///   - order: On entry the order to start from; at most ``blockCapacity`` of `0 ..< count`.
    ///   - keys: Of each position, not of each place in the order.
    static func group(_ order: UnsafeMutablePointer<Int>, count: Int, by keys: UnsafePointer<Int>) {
        guard count > 1 else { return }
        Scratch.with(tableSize + 3 * blockCapacity + 1, of: Int.self) { space in
            let (table, groups, starts, result) = (
                space, space + tableSize, space + (tableSize + blockCapacity),
                space + (tableSize + 2 * blockCapacity + 1)
            )
            table.update(repeating: -1, count: tableSize)
            starts.update(repeating: 0, count: count + 1)
            var groupCount = 0
            for place in 0..<count {
                let key = keys[order[place]]
                var slot = Int(truncatingIfNeeded: (UInt64(UInt(bitPattern: key)) &* mixStep) &>> 55)
                while table[slot] >= 0, keys[order[table[slot]]] != key { slot = (slot &+ 1) & (tableSize &- 1) }
                if table[slot] < 0 {
                    table[slot] = place
                    groups[place] = groupCount
                    groupCount &+= 1
                } else {
                    groups[place] = groups[table[slot]]
                }
                starts[groups[place] &+ 1] &+= 1
            }
            guard groupCount < count else { return }
            for group in 1..<groupCount { starts[group] &+= starts[group &- 1] }
            for place in 0..<count {
                let group = groups[place]
                result[starts[group]] = order[place]
                starts[group] &+= 1
            }
            order.update(from: result, count: count)
        }
    }

    /// Twice as many as ids, so that searches are short; a power of two.
    private static let tableSize = 512
}
