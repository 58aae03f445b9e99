/// A block's ids by the part of a table that each belongs to, in the memory of a lookup.
struct PartedIDs {
    let count: Int
    let partCount: Int
    /// Of each id; -1 for those that stand for zeros.
    let parts: UnsafeMutablePointer<Int32>
    /// Of each id, in its part.
    let rows: UnsafeMutablePointer<Int64>
    /// Rows, those of the first part first, and else in the order of the ids.
    private let sorted: UnsafeMutablePointer<Int64>
    /// Where in the block the ids of `sorted` are.
    private let positions: UnsafeMutablePointer<Int32>
    /// Where in `sorted` each part ends.
    private let ends: UnsafeMutablePointer<Int32>

    /// Calls `body` with room for a block; it fills `parts` and `rows` first, and then calls `sort`.
    static func with(_ count: Int, partCount: Int, _ body: (PartedIDs) -> Void) {
        Scratch.with(2 * count, of: Int64.self) { rows in
            Scratch.with(2 * count + partCount, of: Int32.self) { parts in
                body(
                    PartedIDs(
                        count: count, partCount: partCount, parts: parts, rows: rows, sorted: rows + count,
                        positions: parts + count, ends: parts + 2 * count))
            }
        }
    }

    func sort() {
        ends.update(repeating: 0, count: partCount)
        for index in 0..<count where parts[index] >= 0 { ends[Int(parts[index])] &+= 1 }
        var end: Int32 = 0
        for part in 0..<partCount {
            let ids = ends[part]
            ends[part] = end
            end &+= ids
        }
        // Each part's end starts as its start.
        for index in 0..<count where parts[index] >= 0 {
            let part = Int(parts[index])
            let place = Int(ends[part])
            ends[part] &+= 1
            sorted[place] = rows[index]
            positions[place] = Int32(truncatingIfNeeded: index)
        }
    }

    /// The ids of a part in `sorted`.
    private func range(_ part: Int) -> Range<Int> { (part == 0 ? 0 : Int(ends[part - 1]))..<Int(ends[part]) }

    /// Writes the rows of each part where their ids are, and zeros where there are none.
    func gather(from tables: [any Node], into output: RowBlock, columns: Int, context: LookupContext) {
        for index in 0..<count where parts[index] < 0 { output.row(index).update(repeating: 0, count: columns) }
        let stride = (columns + 15) & ~15
        let capacity = min(tileRows(dimension: columns), count)
        for part in 0..<partCount where !range(part).isEmpty {
            let range = range(part)
            let first = Int(positions[range.lowerBound])
            if Int(positions[range.upperBound - 1]) - first + 1 == range.count {
                // They follow each other in the block too.
                tables[part].gather(
                    IDBlock(ids: sorted + range.lowerBound, count: range.count),
                    into: RowBlock(base: output.row(first), stride: output.stride), context: context)
                continue
            }
            Scratch.with(capacity * stride, of: Float.self) { rows in
                for start in Swift.stride(from: range.lowerBound, to: range.upperBound, by: capacity) {
                    let tile = min(capacity, range.upperBound - start)
                    tables[part].gather(
                        IDBlock(ids: sorted + start, count: tile), into: RowBlock(base: rows, stride: stride),
                        context: context)
                    for index in 0..<tile {
                        copyRow(rows + index &* stride, to: output.row(Int(positions[start &+ index])), columns)
                    }
                }
            }
        }
    }

    @inline(__always)
    private func copyRow(_ row: UnsafePointer<Float>, to target: UnsafeMutablePointer<Float>, _ columns: Int) {
        var column = 0
        while column &+ 16 <= columns {
            store16(load16(row + column), to: target + column)
            column &+= 16
        }
        if column < columns { put16(load16(row + column), to: target + column, count: columns &- column) }
    }

    /// Sums each part's rows of a block's segments, part after part.
    func accumulate(_ block: BagBlock, from tables: [any Node], columns: Int, context: LookupContext) {
        Scratch.with(count, of: Float.self) { weights in
            Scratch.with(block.segmentCount, of: Segment.self) { segments in
                Scratch.with(block.segmentCount, of: Bool.self) { replaces in
                    for index in 0..<block.segmentCount { replaces[index] = block.segments[index].replaces }
                    for part in 0..<partCount where !range(part).isEmpty {
                        let range = range(part)
                        let segmentCount = split(block, range, into: segments, replaces)
                        if block.isWeighted {
                            for place in range {
                                weights[place - range.lowerBound] = block.weights[Int(positions[place])]
                            }
                        }
                        tables[part].accumulate(
                            BagBlock(
                                ids: IDBlock(ids: sorted + range.lowerBound, count: range.count),
                                weights: block.isWeighted ? UnsafePointer(weights) : block.weights,
                                isWeighted: block.isWeighted, segments: segments, segmentCount: segmentCount,
                                space: block.space),
                            context: context)
                    }
                    for index in 0..<block.segmentCount where replaces[index] {
                        block.segments[index].output.update(repeating: 0, count: columns)
                    }
                }
            }
        }
    }

    /// Makes segments of a part's ids. The first part of a segment replaces what is there, if the segment does.
    private func split(
        _ block: BagBlock, _ range: Range<Int>, into segments: UnsafeMutablePointer<Segment>,
        _ replaces: UnsafeMutablePointer<Bool>
    ) -> Int {
        var segmentCount = 0
        var place = range.lowerBound
        for index in 0..<block.segmentCount {
            let segment = block.segments[index]
            let start = place
            while place < range.upperBound, Int(positions[place]) < segment.end { place &+= 1 }
            if place == start { continue }
            segments[segmentCount] = Segment(
                start: start - range.lowerBound, end: place - range.lowerBound, output: segment.output,
                replaces: replaces[index])
            segmentCount &+= 1
            replaces[index] = false
        }
        return segmentCount
    }
}
