/// Rows that are put together of runs of one array, which is the rows of a table one after the other.
///
/// The table's rows that runs lie in are gathered side by side, many at a time; a run is then a piece of them.
struct SharedTableRows {
    let inner: any Node
    let hash: RunHash
    let dimension: Int
    /// Columns of a run.
    let block: Int
    /// Added to ids.
    let offset: Int

    /// A run, or as much of it as lies in gathered rows that follow each other.
    private struct Piece {
        let target: UnsafeMutablePointer<Float>
        /// Where it starts in the gathered rows.
        let start: Int32
        let length: Int32
        /// Columns from its first one to the row's end, which later pieces write.
        let room: Int32
        let sign: UInt32
    }

    /// Rows that are gathered at a time, and most pieces, each of which has a row or more.
    private static let capacity = blockCapacity

    static func scratchBytes(innerDimension: Int) -> Int {
        capacity * (MemoryLayout<Int64>.size + MemoryLayout<Piece>.size)
            + (capacity * innerDimension + 16) * MemoryLayout<Float>.size
    }

    func gather(_ ids: IDBlock, into output: RowBlock, context: LookupContext) {
        let width = inner.dimension
        Scratch.with(Self.capacity, of: Int64.self) { lines in
            Scratch.with(Self.capacity, of: Piece.self) { pieces in
                // The last vector may be read past the last row.
                Scratch.with(Self.capacity &* width &+ 16, of: Float.self) { numbers in
                    gather(ids, output, context, lines, pieces, numbers)
                }
            }
        }
    }

    private func gather(
        _ ids: IDBlock, _ output: RowBlock, _ context: LookupContext, _ lines: UnsafeMutablePointer<Int64>,
        _ pieces: UnsafeMutablePointer<Piece>, _ numbers: UnsafeMutablePointer<Float>
    ) {
        let width = inner.dimension
        let count = Int(hash.count)
        let runs = (dimension &+ block &- 1) / block
        let widths = Divider(width, limit: count)
        var (lineCount, pieceCount) = (0, 0)
        func flush() {
            inner.gather(
                IDBlock(ids: UnsafePointer(lines), count: lineCount), into: RowBlock(base: numbers, stride: width),
                context: context)
            for index in 0..<pieceCount { copy(pieces[index], from: numbers) }
            (lineCount, pieceCount) = (0, 0)
        }
        for index in 0..<ids.count {
            let row = output.row(index)
            guard ids.ids[index] >= 0 else {
                row.update(repeating: 0, count: dimension)
                continue
            }
            let id = UInt64(bitPattern: ids.ids[index]) &+ UInt64(bitPattern: Int64(offset))
            for run in 0..<runs {
                let (first, sign) = hash.run(id &* UInt64(runs) &+ UInt64(run))
                var (place, column) = (Int(first), run &* block)
                let end = min(column &+ block, dimension)
                while column < end {
                    let (line, inLine) = widths.divide(UInt64(truncatingIfNeeded: place))
                    let wanted = min(end &- column, count &- place)
                    // A run of few rows is not cut where the room ends.
                    let rows = Int(widths.divide(inLine &+ UInt64(wanted) &- 1).quotient) &+ 1
                    if lineCount > 0, lineCount &+ rows > Self.capacity { flush() }
                    let taken = min(rows, Self.capacity)
                    let length = min(wanted, taken &* width &- Int(inLine))
                    pieces[pieceCount] = Piece(
                        target: row + column, start: Int32(truncatingIfNeeded: lineCount &* width &+ Int(inLine)),
                        length: Int32(truncatingIfNeeded: length),
                        room: Int32(truncatingIfNeeded: dimension &- column), sign: sign)
                    pieceCount &+= 1
                    for next in 0..<taken {
                        lines[lineCount] = Int64(truncatingIfNeeded: line) &+ Int64(next)
                        lineCount &+= 1
                    }
                    column &+= length
                    // The array's first number comes after its last.
                    place = place &+ length == count ? 0 : place &+ length
                }
            }
        }
        if pieceCount > 0 { flush() }
    }

    /// Later pieces, which come later, overwrite what is written past its end.
    @inline(__always)
    private func copy(_ piece: Piece, from numbers: UnsafeMutablePointer<Float>) {
        let source = numbers + Int(piece.start)
        let (length, room) = (Int(piece.length), Int(piece.room))
        let signs = SIMD16<UInt32>(repeating: piece.sign)
        var done = 0
        while done < length, done &+ 16 <= room {
            let vector = unsafeBitCast(load16(UnsafeRawPointer(source + done)), to: SIMD16<UInt32>.self) ^ signs
            store16(unsafeBitCast(vector, to: Floats16.self), to: piece.target + done)
            done &+= 16
        }
        while done < length {
            piece.target[done] = Float(bitPattern: source[done].bitPattern ^ piece.sign)
            done &+= 1
        }
    }
}
