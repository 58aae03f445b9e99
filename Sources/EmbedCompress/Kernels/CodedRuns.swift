/// Rows that are put together of runs of one array, which is the rows of a table one after the other: sixteen codes of 1 to
/// 4 bits for one codebook, and a scale, as arrays of trained tables are frozen.
///
/// A run is decoded where it lies, from any code on.
struct CodedRuns {
    /// The rows of codes.
    let memory: RowPlaces
    /// Bits of a code.
    let bits: Int
    /// The table's codebook.
    let book: UnsafeRawPointer
    let hash: RunHash
    let dimension: Int
    /// Columns of a run.
    let block: Int
    /// Added to ids.
    let offset: Int

    /// Whether a table's rows are of the kind that this takes, in runs that are worth two rows of sixteen codes.
    static func takes(_ layout: Codebook.Layout, block: Int) -> Bool {
        block >= 4 && layout.scope == .table && layout.dimension == 16 && layout.bits <= 4
            && layout.rowScale == .float16
    }

    /// Where a run starts, and the bit that changes the signs of its numbers.
    fileprivate typealias Run = (place: UInt32, sign: UInt32)

    /// What a block takes.
    static func scratchBytes(dimension: Int, block: Int) -> Int {
        max(SharedRows.mostPlaces, (dimension + block - 1) / block) * MemoryLayout<Run>.stride
    }

    func gather(_ ids: IDBlock, into output: RowBlock) {
        switch bits {
        case 1: Rows<Codes1>(self).gather(ids, into: output)
        case 2: Rows<Codes2>(self).gather(ids, into: output)
        case 3: Rows<Codes3>(self).gather(ids, into: output)
        default: Rows<Codes4>(self).gather(ids, into: output)
        }
    }

    private struct Rows<Codes: CodeFormat> {
        let runs: CodedRuns
        let memory: RowPlaces
        let book: Floats16
        /// Numbers of the array.
        let count: Int
        /// Runs that end before this place are decoded without a check: the row behind their last one is there too.
        let safeEnd: Int

        typealias Format = RegisterBook<Codes, HalfEntries>

        init(_ runs: CodedRuns) {
            self.runs = runs
            memory = runs.memory
            book = Format.book(runs.book, bits: Codes.bits)
            count = Int(runs.hash.count)
            safeEnd = min(count, memory.copiedFrom &* 16) &- 16
        }

        func gather(_ ids: IDBlock, into output: RowBlock) {
            let (dimension, block) = (runs.dimension, runs.block)
            let chunks = (dimension &+ block &- 1) / block
            let most = max(min(SharedRows.mostPlaces / chunks, ids.count), 1)
            let ahead = memory.isWorthPrefetching ? memory.prefetchDistance : 0
            Scratch.with(most &* chunks, of: Run.self) { starts in
                var first = 0
                while first < ids.count {
                    let rows = min(most, ids.count &- first)
                    for index in 0..<rows {
                        let id = UInt64(bitPattern: ids.ids[first &+ index]) &+ UInt64(bitPattern: Int64(runs.offset))
                        for chunk in 0..<chunks {
                            starts[index &* chunks &+ chunk] = runs.hash.run(id &* UInt64(chunks) &+ UInt64(chunk))
                        }
                    }
                    for run in 0..<min(ahead, rows &* chunks) { ask(starts[run]) }
                    for index in 0..<rows {
                        let target = output.row(first &+ index)
                        if ids.ids[first &+ index] < 0 {
                            target.update(repeating: 0, count: dimension)
                            continue
                        }
                        // What is written past a row's end is overwritten by the next rows, if they follow it at once.
                        let end =
                            output.stride == dimension ? dimension &* (ids.count &- first &- index) : dimension
                        for chunk in 0..<chunks {
                            let run = index &* chunks &+ chunk
                            if ahead > 0, run &+ ahead < rows &* chunks { ask(starts[run &+ ahead]) }
                            let column = chunk &* block
                            decode(
                                starts[run], min(block, dimension &- column), to: target + column, room: end &- column)
                        }
                    }
                    first &+= rows
                }
            }
        }

        /// Asks for the cache lines of the row that a run begins in, and of the next.
        @inline(__always)
        private func ask(_ run: Run) {
            memory.prefetch(memory.start + Int(run.place &>> 4) &* memory.rowBytes, bytes: 2 &* memory.rowBytes)
        }

        /// Decodes a run of `length` numbers. Up to `room` may be written: later runs overwrite them.
        @inline(__always)
        private func decode(_ run: Run, _ length: Int, to target: UnsafeMutablePointer<Float>, room: Int) {
            let place = Int(run.place)
            guard place &+ length <= safeEnd, length &+ 32 <= room else {
                return decodeChecked(run, length, to: target)
            }
            // Whether a run goes on in the next row is as good as random: it is cheaper to decode that than to ask.
            let column = place & 15
            var row = memory.start + (place &>> 4) &* memory.rowBytes
            store16(numbers(row, from: column, run.sign), to: target)
            var done = 16 &- column
            repeat {
                row += memory.rowBytes
                store16(Format.floats(row, chunk: 0, book) * scale(row, run.sign), to: target + done)
                done &+= 16
            } while done < length
        }

        /// Decodes a run that may go on at the array's start, and writes nothing behind it.
        private func decodeChecked(_ run: Run, _ length: Int, to target: UnsafeMutablePointer<Float>) {
            var (place, done) = (Int(run.place), 0)
            while done < length {
                let values = numbers(memory.row(place &>> 4), from: place & 15, run.sign)
                let taken = min(length &- done, 16 &- (place & 15), count &- place)
                if taken == 16 {
                    store16(values, to: target + done)
                } else {
                    put16(values, to: target + done, count: taken)
                }
                done &+= taken
                // The array's first number comes after its last.
                place = place &+ taken == count ? 0 : place &+ taken
            }
        }

        /// A row's scale, with the sign of a run.
        @inline(__always)
        private func scale(_ row: UnsafeRawPointer, _ sign: UInt32) -> Floats16 {
            let scale = floatFromHalf((row + 2 &* Codes.bits).loadUnaligned(as: UInt16.self))
            return Floats16(repeating: Float(bitPattern: scale.bitPattern ^ sign))
        }

        /// The numbers of a row from a column on, and others behind them.
        @inline(__always)
        private func numbers(_ row: UnsafeRawPointer, from column: Int, _ sign: UInt32) -> Floats16 {
            let bit = column &* Codes.bits
            // No more than the eight bytes that a row of 4-bit codes has: what is behind them is not of the row.
            let codes = UInt64(littleEndian: row.loadUnaligned(as: UInt64.self)) &>> UInt64(truncatingIfNeeded: bit)
            let entries = withUnsafeBytes(of: SIMD2(codes.littleEndian, 0)) {
                $0.baseAddress.map { Format.floats($0, chunk: 0, book) } ?? Floats16()
            }
            return entries * scale(row, sign)
        }
    }
}
