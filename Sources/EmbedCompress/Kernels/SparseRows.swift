/// Unsigned integers of 1, 2, 4 or 8 bytes one after the other, wherever they lie.
struct IndexPlaces {
    let base: UnsafeRawPointer
    let count: Int
    let width: Int

    /// - Precondition: `index` is in `0 ..< count`.
    @inline(__always)
    subscript(index: Int) -> UInt64 {
        switch width {
        case 1: return UInt64((base + index).loadUnaligned(as: UInt8.self))
        case 2: return UInt64((base + index &* 2).loadUnaligned(as: UInt16.self))
        case 4: return UInt64((base + index &* 4).loadUnaligned(as: UInt32.self))
        default: return (base + index &* 8).loadUnaligned(as: UInt64.self)
        }
    }

    /// The first position of sorted entries that is not below `key`; one of `0 ... count` whatever they are.
    func lowerBound(_ key: UInt64) -> Int {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low &+ high) &>> 1
            if self[middle] < key { low = middle &+ 1 } else { high = middle }
        }
        return low
    }
}

/// Where the non-zeros of rows are: the row pointers or row ids, and the columns and values that they lead to.
struct SparsePlaces {
    enum Layout { case compressedRows, coordinates }

    let layout: Layout
    let rows: Int
    let dimension: Int
    /// Row pointers, `rows + 1` of them, or the row of each non-zero in ascending order.
    let index: IndexPlaces
    /// What row 0 has for its pointer, or for its id.
    let first: UInt64
    let columns: IndexPlaces
    let values: NumberPlaces

    var count: Int { columns.count }
    private var isWorthPrefetching: Bool { count &* (columns.width &+ 2) > worthPrefetching }

    /// Finds the non-zeros of a block's rows: `ends[i]` is after the last of row i. Pointers are checked here.
    @inline(__always)
    func locate(
        _ ids: IDBlock, _ starts: UnsafeMutablePointer<Int>, _ ends: UnsafeMutablePointer<Int>,
        _ context: LookupContext
    ) {
        switch layout {
        case .compressedRows:
            let prefetching = Prefetching(isFar: index.count &* index.width > 4 << 20)
            if index.count &* index.width > worthPrefetching {
                for position in 0..<ids.count where ids.ids[position] >= 0 {
                    prefetching.ask(index.base + Int(truncatingIfNeeded: ids.ids[position]) &* index.width)
                }
            }
            for position in 0..<ids.count {
                (starts[position], ends[position]) = (0, 0)
                let id = Int(truncatingIfNeeded: ids.ids[position])
                guard id >= 0 else { continue }
                let (start, end) = (index[id] &- first, index[id &+ 1] &- first)
                guard start <= end, end <= UInt64(count) else {
                    context.recordBadRowPointers(row: id)
                    continue
                }
                (starts[position], ends[position]) = (Int(start), Int(end))
            }
        case .coordinates:
            // Halving for all rows at once, so that they wait for memory together.
            for position in 0..<ids.count { starts[position] = 0 }
            var length = count
            while length > 1 {
                let half = length &>> 1
                for position in 0..<ids.count {
                    let key = UInt64(bitPattern: ids.ids[position]) &+ first
                    let start = starts[position]
                    starts[position] = index[start &+ half &- 1] < key ? start &+ half : start
                }
                length &-= half
            }
            if length > 0 {
                for position in 0..<ids.count {
                    let key = UInt64(bitPattern: ids.ids[position]) &+ first
                    if index[starts[position]] < key { starts[position] &+= 1 }
                }
            }
            for position in 0..<ids.count {
                var end = starts[position]
                if ids.ids[position] >= 0 {
                    let key = UInt64(bitPattern: ids.ids[position]) &+ first
                    while end < count, index[end] == key { end &+= 1 }
                }
                ends[position] = end
            }
        }
        guard isWorthPrefetching else { return }
        let prefetching = Prefetching(isFar: count &* columns.width > 4 << 20)
        let valueBytes = values.isHalf ? 2 : 4
        for position in 0..<ids.count where ends[position] > starts[position] {
            ask(prefetching, columns.base, starts[position] &* columns.width, ends[position] &* columns.width)
            ask(prefetching, values.base, starts[position] &* valueBytes, ends[position] &* valueBytes)
        }
    }

    /// Asks for the first cache lines of a run; the processor foresees those after them.
    @inline(__always)
    private func ask(_ prefetching: Prefetching, _ base: UnsafeRawPointer, _ start: Int, _ end: Int) {
        var byte = start
        while byte < min(end, start &+ 256) {
            prefetching.ask(base + byte)
            byte &+= 64
        }
        prefetching.ask(base + (end &- 1))
    }

    func gather(_ ids: IDBlock, into output: RowBlock, context: LookupContext) {
        Scratch.with(2 &* ids.count, of: Int.self) { starts in
            let ends = starts + ids.count
            locate(ids, starts, ends, context)
            for position in 0..<ids.count {
                let target = output.row(position)
                target.update(repeating: 0, count: dimension)
                add(starts[position], ends[position], weight: 1, isWeighted: false, to: target, ids.ids[position], context)
            }
        }
    }

    func accumulate(_ block: BagBlock, context: LookupContext) {
        let ids = block.ids
        Scratch.with(2 &* ids.count, of: Int.self) { starts in
            let ends = starts + ids.count
            locate(ids, starts, ends, context)
            for segment in UnsafeBufferPointer(start: block.segments, count: block.segmentCount) {
                if segment.replaces { segment.output.update(repeating: 0, count: dimension) }
                for position in segment.start..<segment.end {
                    add(
                        starts[position], ends[position], weight: block.weights[position],
                        isWeighted: block.isWeighted, to: segment.output, ids.ids[position], context)
                }
            }
        }
    }

    /// Adds a row's non-zeros. Columns are checked here.
    @inline(__always)
    private func add(
        _ start: Int, _ end: Int, weight: Float, isWeighted: Bool, to target: UnsafeMutablePointer<Float>, _ id: Int64,
        _ context: LookupContext
    ) {
        @inline(__always)
        func add<Column: FixedWidthInteger & BitwiseCopyable>(_: Column.Type, isHalf: Bool) {
            var column = columns.base + start &* MemoryLayout<Column>.size
            let valueBytes = isHalf ? 2 : 4
            var value = values.base + start &* valueBytes
            for _ in start..<end {
                let place = Int(truncatingIfNeeded: column.loadUnaligned(as: Column.self))
                let number =
                    isHalf
                    ? floatFromHalf(value.loadUnaligned(as: UInt16.self)) : value.loadUnaligned(as: Float.self)
                if place < dimension {
                    target[place] += isWeighted ? weight * number : number
                } else {
                    context.recordBadColumn(row: Int(truncatingIfNeeded: id), column: place, dimension: dimension)
                }
                column += MemoryLayout<Column>.size
                value += valueBytes
            }
        }
        switch (columns.width, values.isHalf) {
        case (1, true): add(UInt8.self, isHalf: true)
        case (1, false): add(UInt8.self, isHalf: false)
        case (2, true): add(UInt16.self, isHalf: true)
        case (2, false): add(UInt16.self, isHalf: false)
        case (_, true): add(UInt32.self, isHalf: true)
        case (_, false): add(UInt32.self, isHalf: false)
        }
    }
}
