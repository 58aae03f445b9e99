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
        @inline(__always)
        func write(_ sum: Floats16, _ column: Int) {
            let weighted = target.weight == 1 ? sum : sum * target.weight
            write16(
                weighted, to: target.place + column, count: dimension &- column, replaces: target.replaces)
        }
        var column = 0
        let bytes = Entry.bytes
        while column &+ 64 <= dimension {
            let start = column / 16 &* bytes
            var sum0 = Entry.load(entries[0] + start, 16)
            var sum1 = Entry.load(entries[0] + (start &+ bytes), 16)
            var sum2 = Entry.load(entries[0] + (start &+ 2 &* bytes), 16)
            var sum3 = Entry.load(entries[0] + (start &+ 3 &* bytes), 16)
            for part in 1..<max(parts, 1) {
                let entry = entries[part] + start
                sum0 += Entry.load(entry, 16)
                sum1 += Entry.load(entry + bytes, 16)
                sum2 += Entry.load(entry + 2 &* bytes, 16)
                sum3 += Entry.load(entry + 3 &* bytes, 16)
            }
            write(sum0, column)
            write(sum1, column &+ 16)
            write(sum2, column &+ 32)
            write(sum3, column &+ 48)
            column &+= 64
        }
        while column &+ 16 <= dimension {
            let start = column / 16 &* bytes
            var sum = Entry.load(entries[0] + start, 16)
            for part in 1..<max(parts, 1) { sum += Entry.load(entries[part] + start, 16) }
            write(sum, column)
            column &+= 16
        }
        let rest = dimension &- column
        if rest > 0 {
            let start = column / 16 &* bytes
            var sum = Rest.load(entries[0] + start, rest)
            for part in 1..<max(parts, 1) { sum += Rest.load(entries[part] + start, rest) }
            write(sum, column)
        }
    }
}
