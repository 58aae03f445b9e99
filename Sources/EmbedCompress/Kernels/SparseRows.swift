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

    /// The most non-zeros of a row.
    let longest: Int

    var count: Int { columns.count }

    /// Finds the non-zeros of a block's rows: `ends[i]` is after the last of row i. Pointers are checked here.
    private func locate(
        _ ids: IDBlock, _ starts: UnsafeMutablePointer<Int>, _ ends: UnsafeMutablePointer<Int>,
        _ context: LookupContext
    ) {
        switch (layout, index.width) {
        case (.compressedRows, 4): locateByPointers(UInt32.self, ids, starts, ends, context)
        case (.compressedRows, _): locateByPointers(UInt64.self, ids, starts, ends, context)
        case (.coordinates, 4): locateBySearch(UInt32.self, ids, starts, ends, context)
        case (.coordinates, _): locateBySearch(UInt64.self, ids, starts, ends, context)
        }
        guard count &* (columns.width &+ 2) > worthPrefetching else { return }
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

    @inline(__always)
    private func locateByPointers<Pointer: FixedWidthInteger & BitwiseCopyable>(
        _: Pointer.Type, _ ids: IDBlock, _ starts: UnsafeMutablePointer<Int>, _ ends: UnsafeMutablePointer<Int>,
        _ context: LookupContext
    ) {
        let (base, width, first) = (index.base, MemoryLayout<Pointer>.size, first)
        let (limit, longest) = (UInt64(count), UInt64(longest))
        if index.count &* width > worthPrefetching {
            let prefetching = Prefetching(isFar: index.count &* width > 4 << 20)
            for position in 0..<ids.count where ids.ids[position] >= 0 {
                prefetching.ask(base + Int(truncatingIfNeeded: ids.ids[position]) &* width)
            }
        }
        for position in 0..<ids.count {
            (starts[position], ends[position]) = (0, 0)
            let id = Int(truncatingIfNeeded: ids.ids[position])
            guard id >= 0 else { continue }
            let place = base + id &* width
            let start = UInt64(truncatingIfNeeded: place.loadUnaligned(as: Pointer.self)) &- first
            let end = UInt64(truncatingIfNeeded: (place + width).loadUnaligned(as: Pointer.self)) &- first
            guard start <= end, end <= limit else {
                context.recordBadRowPointers(row: id)
                continue
            }
            guard end &- start <= longest else {
                context.recordLongRow(row: id, limit: self.longest)
                continue
            }
            (starts[position], ends[position]) = (Int(truncatingIfNeeded: start), Int(truncatingIfNeeded: end))
        }
    }

    /// Halves the non-zeros for all rows at once, so that they wait for memory together.
    @inline(__always)
    private func locateBySearch<Row: FixedWidthInteger & BitwiseCopyable>(
        _: Row.Type, _ ids: IDBlock, _ starts: UnsafeMutablePointer<Int>, _ ends: UnsafeMutablePointer<Int>,
        _ context: LookupContext
    ) {
        let (base, width, first) = (index.base, MemoryLayout<Row>.size, first)
        @inline(__always)
        func row(_ place: Int) -> UInt64 {
            UInt64(truncatingIfNeeded: (base + place &* width).loadUnaligned(as: Row.self))
        }
        for position in 0..<ids.count { starts[position] = 0 }
        var length = count
        while length > 1 {
            let half = length &>> 1
            for position in 0..<ids.count {
                let key = UInt64(bitPattern: ids.ids[position]) &+ first
                let start = starts[position]
                // All ones, not a branch that is wrong half of the time.
                let isBelow = 0 &- Int(truncatingIfNeeded: (row(start &+ half &- 1) &- key) &>> 63)
                starts[position] = start &+ (half & isBelow)
            }
            length &-= half
        }
        for position in 0..<ids.count {
            let key = UInt64(bitPattern: ids.ids[position]) &+ first
            var start = starts[position]
            if length > 0, row(start) < key { start &+= 1 }
            var end = start
            if ids.ids[position] >= 0 {
                let limit = min(count, start &+ longest)
                while end < limit, row(end) == key { end &+= 1 }
                if end < count, end == limit, row(end) == key {
                    context.recordLongRow(row: Int(truncatingIfNeeded: ids.ids[position]), limit: longest)
                    end = start
                }
            }
            (starts[position], ends[position]) = (start, end)
        }
    }

    func gather(_ ids: IDBlock, into output: RowBlock, context: LookupContext) {
        Scratch.with(2 &* ids.count, of: Int.self) { starts in
            let ends = starts + ids.count
            locate(ids, starts, ends, context)
            @inline(__always)
            func gather<Column: FixedWidthInteger & BitwiseCopyable>(_: Column.Type, isHalf: Bool) {
                for position in 0..<ids.count {
                    let target = output.row(position)
                    clear(target)
                    add(
                        Column.self, isHalf: isHalf, starts[position]..<ends[position], weight: 1, to: target,
                        ids.ids[position], context)
                }
            }
            switch (columns.width, values.isHalf) {
            case (1, true): gather(UInt8.self, isHalf: true)
            case (1, false): gather(UInt8.self, isHalf: false)
            case (2, true): gather(UInt16.self, isHalf: true)
            case (2, false): gather(UInt16.self, isHalf: false)
            case (_, true): gather(UInt32.self, isHalf: true)
            case (_, false): gather(UInt32.self, isHalf: false)
            }
        }
    }

    func accumulate(_ block: BagBlock, context: LookupContext) {
        let ids = block.ids
        Scratch.with(2 &* ids.count, of: Int.self) { starts in
            let ends = starts + ids.count
            locate(ids, starts, ends, context)
            @inline(__always)
            func accumulate<Column: FixedWidthInteger & BitwiseCopyable>(_: Column.Type, isHalf: Bool) {
                for segment in UnsafeBufferPointer(start: block.segments, count: block.segmentCount) {
                    if segment.replaces { clear(segment.output) }
                    for position in segment.start..<segment.end {
                        add(
                            Column.self, isHalf: isHalf, starts[position]..<ends[position],
                            weight: block.weights[position], to: segment.output, ids.ids[position], context)
                    }
                }
            }
            switch (columns.width, values.isHalf) {
            case (1, true): accumulate(UInt8.self, isHalf: true)
            case (1, false): accumulate(UInt8.self, isHalf: false)
            case (2, true): accumulate(UInt16.self, isHalf: true)
            case (2, false): accumulate(UInt16.self, isHalf: false)
            case (_, true): accumulate(UInt32.self, isHalf: true)
            case (_, false): accumulate(UInt32.self, isHalf: false)
            }
        }
    }

    /// Adds the non-zeros of one row, `0 ..< rows`, to `target`.
    func addRow(_ row: Int, weight: Float, to target: UnsafeMutablePointer<Float>, _ context: LookupContext) {
        withUnsafeTemporaryAllocation(of: Int.self, capacity: 2) { ends in
            let id = Int64(truncatingIfNeeded: row)
            guard let ends = ends.baseAddress else { return }
            withUnsafePointer(to: id) { locate(IDBlock(ids: $0, count: 1), ends, ends + 1, context) }
            let range = ends[0]..<ends[1]
            switch (columns.width, values.isHalf) {
            case (1, true): add(UInt8.self, isHalf: true, range, weight: weight, to: target, id, context)
            case (1, false): add(UInt8.self, isHalf: false, range, weight: weight, to: target, id, context)
            case (2, true): add(UInt16.self, isHalf: true, range, weight: weight, to: target, id, context)
            case (2, false): add(UInt16.self, isHalf: false, range, weight: weight, to: target, id, context)
            case (_, true): add(UInt32.self, isHalf: true, range, weight: weight, to: target, id, context)
            case (_, false): add(UInt32.self, isHalf: false, range, weight: weight, to: target, id, context)
            }
        }
    }

    /// Writes a row of zeros; the last vector may overlap the one before.
    @inline(__always)
    private func clear(_ target: UnsafeMutablePointer<Float>) {
        guard dimension >= 16 else { return target.update(repeating: 0, count: dimension) }
        var column = 0
        while column &+ 16 <= dimension {
            store16(Floats16(), to: target + column)
            column &+= 16
        }
        store16(Floats16(), to: target + (dimension &- 16))
    }

    /// Adds the non-zeros of `range` of the row `id`. Columns are checked here.
    @inline(__always)
    private func add<Column: FixedWidthInteger & BitwiseCopyable>(
        _: Column.Type, isHalf: Bool, _ range: Range<Int>, weight: Float, to target: UnsafeMutablePointer<Float>,
        _ id: Int64, _ context: LookupContext
    ) {
        let valueBytes = isHalf ? 2 : 4
        var column = columns.base + range.lowerBound &* MemoryLayout<Column>.size
        var value = values.base + range.lowerBound &* valueBytes
        for _ in range {
            let place = Int(truncatingIfNeeded: column.loadUnaligned(as: Column.self))
            let number =
                isHalf ? floatFromHalf(value.loadUnaligned(as: UInt16.self)) : value.loadUnaligned(as: Float.self)
            if place < dimension {
                target[place] += weight * number
            } else {
                context.recordBadColumn(row: Int(truncatingIfNeeded: id), column: place, dimension: dimension)
            }
            column += MemoryLayout<Column>.size
            value += valueBytes
        }
    }
}
