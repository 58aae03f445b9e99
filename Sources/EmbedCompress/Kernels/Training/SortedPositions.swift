/// The positions of a batch by the row that each is of: rows rise, and so do the positions of a row.
struct SortedPositions {
    /// Distinct rows.
    let groups: Int
    private let keys: UnsafePointer<UInt64>
    private let starts: UnsafePointer<Int>
    private let positionBits: UInt64

    /// Calls `body` once the ids are sorted, in this thread's scratch; not if that is refused.
    ///
    /// - Throws: ``EmbedCompressError/invalidID(position:id:rows:)`` for an id outside `[0, rows)`.
    static func with(_ ids: IDs, rows: Int, _ body: (SortedPositions) throws -> Void) throws {
        let positionBits = Int.bitWidth - (ids.count - 1).leadingZeroBitCount
        let rowBits = Int.bitWidth - (rows - 1).leadingZeroBitCount
        guard rows > 0, positionBits + rowBits <= 64 else {
            try ids.requireValid(rows: rows)
            throw EmbedCompressError.invalidArgument("\(ids.count) ids of \(rows) rows are too many for one step")
        }
        try Scratch.with(2 * ids.count, of: UInt64.self) { keys in
            for position in 0..<ids.count {
                let id = ids[position]
                guard UInt64(bitPattern: id) < UInt64(rows) else {
                    throw EmbedCompressError.invalidID(position: position, id: id, rows: rows)
                }
                keys[position] = UInt64(bitPattern: id) &<< UInt64(positionBits) | UInt64(position)
            }
            try sort(keys, count: ids.count, from: positionBits, bits: rowBits) { sorted in
                try Scratch.with(ids.count + 1, of: Int.self) { starts in
                    var (groups, before) = (0, UInt64.max)
                    for place in 0..<ids.count {
                        let row = sorted[place] &>> UInt64(positionBits)
                        if row != before {
                            starts[groups] = place
                            groups &+= 1
                        }
                        before = row
                    }
                    starts[groups] = ids.count
                    try body(
                        SortedPositions(
                            groups: groups, keys: sorted, starts: starts, positionBits: UInt64(positionBits)))
                }
            }
        }
    }

    /// The row of a group.
    @inline(__always)
    func row(_ group: Int) -> Int { Int(truncatingIfNeeded: keys[starts[group]] &>> positionBits) }

    /// The groups whose rows are in a range.
    func groups(of rows: Range<Int>) -> Range<Int> {
        let first = firstGroup(from: rows.lowerBound)
        return first..<max(firstGroup(from: rows.upperBound), first)
    }

    private func firstGroup(from row: Int) -> Int {
        var (low, high) = (0, groups)
        while low < high {
            let middle = (low + high) / 2
            if self.row(middle) < row { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// The places of a group's positions.
    @inline(__always)
    func places(_ group: Int) -> Range<Int> { starts[group]..<starts[group &+ 1] }

    @inline(__always)
    func position(_ place: Int) -> Int { Int(truncatingIfNeeded: keys[place] & ((1 &<< positionBits) &- 1)) }

    /// Sorts numbers by `bits` of their bits from `first` on, and keeps the order of equal ones: by digits of up to
    /// `digitBits`, the last one first. Behind the numbers there is room for as many.
    private static func sort(
        _ keys: UnsafeMutablePointer<UInt64>, count: Int, from first: Int, bits: Int,
        _ body: (UnsafeMutablePointer<UInt64>) throws -> Void
    ) throws {
        let passes = (bits + digitBits - 1) / digitBits
        let width = passes == 0 ? 0 : (bits + passes - 1) / passes
        let mask = (UInt64(1) << UInt64(width)) - 1
        try Scratch.with(1 << width, of: Int.self) { ends in
            var (source, target) = (keys, keys + count)
            for pass in 0..<passes {
                let shift = UInt64(first + pass * width)
                ends.update(repeating: 0, count: 1 << width)
                for place in 0..<count { ends[Int(truncatingIfNeeded: (source[place] &>> shift) & mask)] &+= 1 }
                var start = 0
                for digit in 0..<1 << width { (ends[digit], start) = (start, start &+ ends[digit]) }
                for place in 0..<count {
                    let key = source[place]
                    let digit = Int(truncatingIfNeeded: (key &>> shift) & mask)
                    target[ends[digit]] = key
                    ends[digit] &+= 1
                }
                (source, target) = (target, source)
            }
            try body(source)
        }
    }

    private static let digitBits = 11
}
