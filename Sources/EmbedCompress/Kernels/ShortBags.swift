/// Bags from one of a call's on, of which the first few have few ids each.
struct ShortBags {
    let all: Bags
    /// The ids of all of them: element `i` is the call's id `i`, for those of the range. They may be anything, and change
    /// meanwhile.
    let ids: UnsafePointer<Int64>
    let range: Range<Int>
    /// The most ids of a bag that is short.
    let longest: Int
    /// The ids of the range, and of bags of the same chunk before it.
    let places: Range<Int>
    /// Of the first bag of the range.
    let output: UnsafeMutablePointer<Float>
    /// Floats from the output of a bag to that of the next one.
    let outputStride: Int
}

/// Sums of short bags in one pass: rows are found as they are added, and a bag's sum stays in registers until it is written. To
/// prepare a block of rows (their places, scales and runs), as for other bags, takes longer than to add up a few rows.
enum ShortSums<Format: PlainRowFormat, Scaling: RowScaling> {
    /// Whether an element times a scale fits a float without rounding.
    @inline(__always)
    private static var isExact: Bool { Format.precision + Scaling.precision <= 24 }

    /// Writes the sums or means of the first bags up to one that is not short, of rows that are one group of columns. Returns how
    /// many bags they are.
    static func write(_ bags: ShortBags, of memory: RowPlaces, _ group: ColumnGroup) -> Int {
        // Asking for rows takes as long as adding them: it is worth it where they come from beyond the second-level cache for
        // certain.
        let asks = memory.byteCount > 2 * worthPrefetching
        let loop = Loop(
            bags: bags, ids: bags.ids, isMean: bags.all.pooling == .mean, memory: memory, group: group,
            prefetchEnd: asks ? bags.places.upperBound &- memory.prefetchDistance : 0)
        switch (group.columns &+ 15) &>> 4 {
        case 1: return loop.write(Width1.self)
        case 2: return loop.write(Width2.self)
        case 3: return loop.write(Width3.self)
        case 4: return loop.write(Width4.self)
        case 8 where hasManyRegisters: return loop.write(Width8.self)
        default: return loop.writeTiles()
        }
    }

    private struct Loop {
        let bags: ShortBags
        let ids: UnsafePointer<Int64>
        let isMean: Bool
        let memory: RowPlaces
        let group: ColumnGroup
        /// The ids before this one ask for the row of another one.
        let prefetchEnd: Int

        /// Calls `body` with the ids of one short bag after the other, and where its sum goes.
        @inline(__always)
        private func forEachBag(_ body: (Range<Int>, UnsafeMutablePointer<Float>) -> Void) -> Int {
            var target = bags.output + group.firstColumn
            var bag = bags.range.lowerBound
            // Offsets may change meanwhile, too.
            var start = min(max(bags.all.start(bag), bags.places.lowerBound), bags.places.upperBound)
            while bag < bags.range.upperBound {
                let end = min(max(bags.all.start(bag &+ 1), start), bags.places.upperBound)
                guard end &- start <= bags.longest else { break }
                body(Range(uncheckedBounds: (start, end)), target)
                target += bags.outputStride
                start = end
                bag &+= 1
            }
            return bag &- bags.range.lowerBound
        }

        @inline(__always)
        func write<Width: TileWidth>(_: Width.Type) -> Int {
            forEachBag { ids, target in write(Width.self, ids, to: target, chunk: 0, asks: true) }
        }

        /// Four chunks of columns at a time.
        func writeTiles() -> Int {
            let chunks = (group.columns &+ 15) &>> 4
            return forEachBag { ids, target in
                var chunk = 0
                while chunk < chunks {
                    switch chunks &- chunk {
                    case 1: write(Width1.self, ids, to: target, chunk: chunk, asks: false)
                    case 2: write(Width2.self, ids, to: target, chunk: chunk, asks: false)
                    case 3: write(Width3.self, ids, to: target, chunk: chunk, asks: false)
                    default: write(Width4.self, ids, to: target, chunk: chunk, asks: chunk == 0)
                    }
                    chunk &+= 4
                }
            }
        }

        /// Writes some chunks of a bag's sum.
        @inline(__always)
        private func write<Width: TileWidth>(
            _: Width.Type, _ places: Range<Int>, to output: UnsafeMutablePointer<Float>, chunk: Int, asks: Bool
        ) {
            @inline(__always)
            func add(_ columns: Floats16, _ scale: Floats16, to sum: inout Floats16) {
                sum = Scaling.isScaled ? multiplyAdd(columns, scale, sum, isExact: isExact) : sum + columns
            }
            @inline(__always)
            func add(_ tile: Tile, _ scale: Floats16, to sum: inout Tile) {
                add(tile.chunk0, scale, to: &sum.chunk0)
                add(tile.chunk1, scale, to: &sum.chunk1)
                add(tile.chunk2, scale, to: &sum.chunk2)
                add(tile.chunk3, scale, to: &sum.chunk3)
            }
            let width = Width.chunks
            var low = Tile(chunk0: Floats16(), chunk1: Floats16(), chunk2: Floats16(), chunk3: Floats16())
            var high = low
            var biases = SIMD4<Float>()
            var index = places.lowerBound
            while index < places.upperBound {
                if asks, index < prefetchEnd { memory.prefetch(memory.place(ids[index &+ memory.prefetchDistance])) }
                let row = memory.row(anyID: ids[index])
                let parameters = Scaling.parameters(row + group.parameterOffset)
                // The lane of the scales is summed too, for nothing and at no cost.
                if Scaling.isScaled { biases += parameters }
                let scale = Floats16(repeating: parameters[0])
                let source = row + group.offset
                if width >= 4 {
                    add(Format.tile(source, chunk: chunk), scale, to: &low)
                    if width == 8 { add(Format.tile(source, chunk: chunk &+ 4), scale, to: &high) }
                } else {
                    add(Format.floats(source, chunk: chunk), scale, to: &low.chunk0)
                    if width > 1 { add(Format.floats(source, chunk: chunk &+ 1), scale, to: &low.chunk1) }
                    if width > 2 { add(Format.floats(source, chunk: chunk &+ 2), scale, to: &low.chunk2) }
                }
                index &+= 1
            }
            let bias = Floats16(repeating: biases[1])
            let target = output + chunk &* 16
            let count = places.upperBound &- places.lowerBound
            let isDivided = isMean && count > 1
            let columns = group.columns &- chunk &* 16
            @inline(__always)
            func write(_ sum: Floats16, _ position: Int) {
                var value = Scaling.isScaled ? sum + bias : sum
                if isDivided { value /= Floats16(repeating: Float(Int32(truncatingIfNeeded: count))) }
                if position &+ 1 < width {
                    store16(value, to: target + position &* 16)
                } else {
                    write16(value, to: target + position &* 16, count: columns &- position &* 16, replaces: true)
                }
            }
            if width >= 4 { low = Format.ordered(low) }
            write(low.chunk0, 0)
            if width > 1 { write(low.chunk1, 1) }
            if width > 2 { write(low.chunk2, 2) }
            if width > 3 { write(low.chunk3, 3) }
            guard width == 8 else { return }
            high = Format.ordered(high)
            write(high.chunk0, 4)
            write(high.chunk1, 5)
            write(high.chunk2, 6)
            write(high.chunk3, 7)
        }
    }
}
