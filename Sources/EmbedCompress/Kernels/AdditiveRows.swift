/// Rows that are sums of an entry of each part's codebook.
struct AdditiveRows {
    let source: PartRows
    let parts: Int
    let dimension: Int
    let element: ScaleType

    /// Where a row goes, and how.
    struct Target {
        let place: UnsafeMutablePointer<Float>
        let weight: Float
        let replaces: Bool
    }

    /// Calls `target` for the rows in order, and writes or adds each where that says; nil leaves a row out.
    @inline(__always)
    func forEachRow(prefetches: Bool, _ target: (Int) -> Target?) {
        switch (element, source.bits) {
        case (.float32, 8): forEachRow(ByteCodes.self, FloatWhole16.self, FloatUpTo16.self, prefetches, target)
        case (.float32, _): forEachRow(PackedCodes.self, FloatWhole16.self, FloatUpTo16.self, prefetches, target)
        case (.float16, 8): forEachRow(ByteCodes.self, HalfWhole16.self, HalfUpTo16.self, prefetches, target)
        case (.float16, _): forEachRow(PackedCodes.self, HalfWhole16.self, HalfUpTo16.self, prefetches, target)
        }
    }

    @inline(__always)
    private func forEachRow<Codes: PartCodes, Entry: PartValue16, Rest: PartValue16>(
        _: Codes.Type, _: Entry.Type, _: Rest.Type, _ prefetches: Bool, _ target: (Int) -> Target?
    ) {
        let (places, rows, bits, parts, dimension) = (source.places, source.rows, source.bits, parts, dimension)
        let entryBytes = dimension &* element.byteCount
        let partBytes = entryBytes &<< bits
        let prefetchEnd = source.prefetchEnd(isFirst: prefetches)
        Scratch.with(parts, of: UnsafeRawPointer.self) { entries in
            for index in 0..<source.count {
                if index < prefetchEnd { places.prefetch(rows[index &+ places.prefetchDistance]) }
                guard let target = target(index) else { continue }
                let row = rows[index]
                var book = source.books
                for part in 0..<parts {
                    entries[part] = book + Codes.code(row, part, bits) &* entryBytes
                    book += partBytes
                }
                Self.sum(Entry.self, Rest.self, entries, parts, dimension, target)
            }
        }
    }

    /// Not inlined: one copy for each type of entries.
    @inline(never)
    private static func sum<Entry: PartValue16, Rest: PartValue16>(
        _: Entry.Type, _: Rest.Type, _ entries: UnsafePointer<UnsafeRawPointer>, _ parts: Int, _ dimension: Int,
        _ target: Target
    ) {
        // Of columns in whole chunks of 64; a variable that a nested function captured would be allocated for each row.
        let whole = dimension & ~63
        var column = 0
        while column < whole {
            sumChunks(Entry.self, Entry.self, Chunks4.self, entries, parts, column, 64, target)
            column &+= 64
        }
        if whole == dimension { return }
        if dimension & 15 == 0 {
            sumRest(Entry.self, Entry.self, entries, parts, whole, dimension &- whole, target)
        } else {
            sumRest(Entry.self, Rest.self, entries, parts, whole, dimension &- whole, target)
        }
    }

    /// Sums the columns after the last whole 64.
    @inline(__always)
    private static func sumRest<Entry: PartValue16, Last: PartValue16>(
        _: Entry.Type, _: Last.Type, _ entries: UnsafePointer<UnsafeRawPointer>, _ parts: Int, _ column: Int,
        _ count: Int, _ target: Target
    ) {
        switch (count &+ 15) &>> 4 {
        case 1: sumChunks(Entry.self, Last.self, Chunks1.self, entries, parts, column, count, target)
        case 2: sumChunks(Entry.self, Last.self, Chunks2.self, entries, parts, column, count, target)
        case 3: sumChunks(Entry.self, Last.self, Chunks3.self, entries, parts, column, count, target)
        default: sumChunks(Entry.self, Last.self, Chunks4.self, entries, parts, column, count, target)
        }
    }

    /// Sums up to four chunks of columns in registers, the last of which may be partial.
    @inline(__always)
    private static func sumChunks<Entry: PartValue16, Last: PartValue16, Chunks: ChunkCount>(
        _: Entry.Type, _: Last.Type, _: Chunks.Type, _ entries: UnsafePointer<UnsafeRawPointer>, _ parts: Int,
        _ column: Int, _ columns: Int, _ target: Target
    ) {
        let start = column / 16 &* Entry.bytes
        let last = columns &- (Chunks.count &- 1) &* 16
        @inline(__always)
        func load(_ part: Int, _ chunk: Int) -> Floats16 {
            let place = entries[part] + (start &+ chunk &* Entry.bytes)
            return chunk == Chunks.count &- 1 ? Last.load(place, last) : Entry.load(place, 16)
        }
        @inline(__always)
        func write(_ sum: Floats16, _ chunk: Int) {
            let count = chunk == Chunks.count &- 1 ? last : 16
            let weighted = target.weight == 1 ? sum : sum * target.weight
            let place = target.place + (column &+ chunk &* 16)
            if count == 16 {
                store16(target.replaces ? weighted : load16(place) + weighted, to: place)
            } else {
                Last.store(
                    target.replaces ? weighted : Last.current(place, count) + weighted, to: place, count)
            }
        }
        var (sum0, sum1, sum2, sum3) = (load(0, 0), Floats16(), Floats16(), Floats16())
        if Chunks.count > 1 { sum1 = load(0, 1) }
        if Chunks.count > 2 { sum2 = load(0, 2) }
        if Chunks.count > 3 { sum3 = load(0, 3) }
        var part = 1
        while part < parts {
            sum0 += load(part, 0)
            if Chunks.count > 1 { sum1 += load(part, 1) }
            if Chunks.count > 2 { sum2 += load(part, 2) }
            if Chunks.count > 3 { sum3 += load(part, 3) }
            part &+= 1
        }
        write(sum0, 0)
        if Chunks.count > 1 { write(sum1, 1) }
        if Chunks.count > 2 { write(sum2, 2) }
        if Chunks.count > 3 { write(sum3, 3) }
    }
}

/// Chunks that are summed in one pass over the parts: a type, so that each number is compiled on its own.
private protocol ChunkCount { static var count: Int { get } }
private enum Chunks1: ChunkCount { static var count: Int { 1 } }
private enum Chunks2: ChunkCount { static var count: Int { 2 } }
private enum Chunks3: ChunkCount { static var count: Int { 3 } }
private enum Chunks4: ChunkCount { static var count: Int { 4 } }
