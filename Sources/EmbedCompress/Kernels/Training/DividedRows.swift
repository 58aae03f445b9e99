/// Which of two tables each row of a whole is in. The place of an id is that of ``TrainedTables`` of both: rows of the first
/// table are before those of the second, and those of each keep their order.
package struct DividedRows {
    /// What says which rows are the second table's.
    package enum Kinds {
        /// A bit for each row, the lowest of a word first; and how many bits are ones in the words before each.
        case flags(UnsafePointer<UInt64>, before: UnsafePointer<Int32>)
        /// Where each of so many runs of rows ends, rising; and how far the places of its rows are from their ids.
        case runs(ends: UnsafePointer<Int64>, shifts: UnsafePointer<Int64>, count: Int)
    }

    /// Of the whole.
    let rows: Int
    let kinds: Kinds

    package init(rows: Int, kinds: Kinds) { (self.rows, self.kinds) = (rows, kinds) }

    /// Writes the place of each id.
    ///
    /// - Throws: ``EmbedCompressError/invalidID(position:id:rows:)`` for an id outside `[0, rows)`; nothing is then
    ///   written.
    package func write(placesOf ids: IDs, to output: UnsafeMutablePointer<Int64>) throws {
        try ids.requireValid(rows: rows)
        guard ids.count > 0 else { return }
        switch kinds {
        case .flags(let words, let before):
            let last = (rows - 1) / 64
            let firstTable = Int64(rows) &- Int64(before[last]) &- Int64(words[last].nonzeroBitCount)
            write(ids, to: output) { id in
                let (word, bit) = (words[id &>> 6], UInt64(truncatingIfNeeded: id & 63))
                let ones = (word & ((1 &<< bit) &- 1)).nonzeroBitCount
                let rank = Int64(before[id &>> 6]) &+ Int64(truncatingIfNeeded: ones)
                return word &>> bit & 1 == 0 ? Int64(id) &- rank : firstTable &+ rank
            }
        case .runs(let ends, let shifts, let count):
            write(ids, to: output) { id in
                // Halves what is left without a branch.
                var (run, left) = (0, count)
                while left > 1 {
                    let half = left / 2
                    run &+= ends[run &+ half &- 1] <= Int64(id) ? half : 0
                    left &-= half
                }
                return Int64(id) &+ shifts[run]
            }
        }
    }

    @inline(__always)
    private func write(_ ids: IDs, to output: UnsafeMutablePointer<Int64>, _ place: (Int) -> Int64) {
        Parallel.forEach(count: ids.count, grain: Self.grain) { range in
            for position in range {
                // Checked again, because a caller's array may change.
                let id = Int(truncatingIfNeeded: ids[position])
                output[position] = UInt(bitPattern: id) < UInt(bitPattern: rows) ? place(id) : -1
            }
        }
    }

    /// Ids that a thread works through at a time, in some ten microseconds.
    private static let grain = 1 << 12
}
