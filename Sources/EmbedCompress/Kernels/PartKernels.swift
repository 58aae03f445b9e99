/// Some parts of one width, or up to sixteen columns of such parts: what one kernel call puts into rows.
struct PartStrip: Sendable {
    let firstPart: Int
    let count: Int
    /// Of the first part's numbers in a row.
    let column: Int
    /// Columns from one part's numbers to the next part's.
    let columnStride: Int
    /// Numbers of a part, 1 to 16.
    let width: Int
    /// Bytes from the start of the codebooks to the first part's first numbers.
    let offset: Int
    /// Bytes from one entry to the next, and from one part's codebook to the next.
    let entryBytes: Int
    let partBytes: Int
}

/// How the codes of a row are read.
protocol PartCodes {
    /// The code of a part. May read 3 bytes past it.
    static func code(_ row: UnsafeRawPointer, _ part: Int, _ bits: Int) -> Int
}

enum ByteCodes: PartCodes {
    @inline(__always)
    static func code(_ row: UnsafeRawPointer, _ part: Int, _ bits: Int) -> Int {
        Int((row + part).load(as: UInt8.self))
    }
}

/// 1 to 16 bits each, low bits first.
enum PackedCodes: PartCodes {
    @inline(__always)
    static func code(_ row: UnsafeRawPointer, _ part: Int, _ bits: Int) -> Int {
        let place = part &* bits
        let word = UInt32(littleEndian: (row + place &>> 3).loadUnaligned(as: UInt32.self))
        let mask: UInt32 = 1 &<< UInt32(truncatingIfNeeded: bits) &- 1
        return Int(word &>> UInt32(truncatingIfNeeded: place & 7) & mask)
    }
}

/// What is done with the parts of a strip, compiled for each way to read codes and each width and type of entries.
protocol PartTask {
    func run<Codes: PartCodes, Entry: PartEntry>(_: Codes.Type, _: Entry.Type, _ strip: PartStrip)
}

extension PartTask {
    @inline(__always)
    func run(_ strip: PartStrip, bits: Int, element: ScaleType) {
        @inline(__always)
        func run<Entry: PartEntry>(_: Entry.Type) {
            bits == 8 ? self.run(ByteCodes.self, Entry.self, strip) : self.run(PackedCodes.self, Entry.self, strip)
        }
        switch (element, strip.width) {
        case (.float32, 1): run(Float1.self)
        case (.float32, 2): run(Float2.self)
        case (.float32, 3): run(FloatUpTo4.self)
        case (.float32, 4): run(Float4.self)
        case (.float32, 5...7): run(FloatUpTo8.self)
        case (.float32, 8): run(Float8.self)
        case (.float32, 9...15): run(FloatUpTo16.self)
        case (.float32, _): run(FloatWhole16.self)
        case (.float16, 1): run(Half1.self)
        case (.float16, 2): run(Half2.self)
        case (.float16, 3): run(HalfUpTo4.self)
        case (.float16, 4): run(Half4.self)
        case (.float16, 5...7): run(HalfUpTo8.self)
        case (.float16, 8): run(Half8.self)
        case (.float16, 9...15): run(HalfUpTo16.self)
        case (.float16, _): run(HalfWhole16.self)
        }
    }
}

/// The rows of a block, and the codebooks of their parts.
struct PartRows {
    let places: RowPlaces
    let rows: UnsafePointer<UnsafeRawPointer>
    let count: Int
    /// Rows of `rows` that are asked for ahead; fewer than a prefetch distance: none.
    let prefetched: Int
    let books: UnsafeRawPointer
    let bits: Int

    /// Rows below this index ask for the row a prefetch distance on, in a first pass.
    @inline(__always)
    func prefetchEnd(isFirst: Bool) -> Int {
        isFirst && places.isWorthPrefetching ? prefetched &- places.prefetchDistance : 0
    }
}

/// Writes the parts of a strip into every row.
struct PartGather: PartTask {
    let source: PartRows
    let output: RowBlock
    let isFirst: Bool

    @inline(never)
    func run<Codes: PartCodes, Entry: PartEntry>(_: Codes.Type, _: Entry.Type, _ strip: PartStrip) {
        if Entry.bytes > 0, strip.entryBytes == Entry.bytes {
            gather(Codes.self, Entry.self, strip, entryBytes: Entry.bytes)
        } else {
            gather(Codes.self, Entry.self, strip, entryBytes: strip.entryBytes)
        }
    }

    @inline(__always)
    private func gather<Codes: PartCodes, Entry: PartEntry>(
        _: Codes.Type, _: Entry.Type, _ strip: PartStrip, entryBytes: Int
    ) {
        let prefetchEnd = source.prefetchEnd(isFirst: isFirst)
        let (places, rows, bits, width) = (source.places, source.rows, source.bits, strip.width)
        let (partBytes, columnStride) = (strip.partBytes, strip.columnStride)
        let books = source.books + strip.offset
        let (first, end) = (strip.firstPart, strip.firstPart &+ strip.count)
        var start = output.base + strip.column
        for index in 0..<source.count {
            if index < prefetchEnd { places.prefetch(rows[index &+ places.prefetchDistance]) }
            let row = rows[index]
            var (book, target) = (books, start)
            @inline(__always)
            func put(_ part: Int) {
                let entry = book + Codes.code(row, part, bits) &* entryBytes
                Entry.store(Entry.load(entry, width), to: target, width)
                book += partBytes
                target += columnStride
            }
            var part = first
            while part &+ 4 <= end {
                put(part)
                put(part &+ 1)
                put(part &+ 2)
                put(part &+ 3)
                part &+= 4
            }
            while part < end {
                put(part)
                part &+= 1
            }
            start += output.stride
        }
    }
}

/// Adds the weighted sums of segments, part by part in registers: codes are read, entries added, and no row is made.
struct PartSums: PartTask {
    let source: PartRows
    /// One for each row; nil for all ones.
    let weights: UnsafePointer<Float>?
    let segments: UnsafeBufferPointer<Segment>
    let isFirst: Bool

    @inline(never)
    func run<Codes: PartCodes, Entry: PartEntry>(_: Codes.Type, _: Entry.Type, _ strip: PartStrip) {
        if let weights {
            sum(Codes.self, Entry.self, strip) { sum, value, index in
                sum = Entry.sum(sum, value, weight: weights[index])
            }
        } else {
            sum(Codes.self, Entry.self, strip) { sum, value, _ in sum = Entry.sum(sum, value) }
        }
    }

    @inline(__always)
    private func sum<Codes: PartCodes, Entry: PartEntry>(
        _: Codes.Type, _: Entry.Type, _ strip: PartStrip, _ add: (inout Entry.Value, Entry.Value, Int) -> Void
    ) {
        let (places, rows, bits, width) = (source.places, source.rows, source.bits, strip.width)
        let (partBytes, entryBytes) = (strip.partBytes, strip.entryBytes)
        for segment in segments {
            var part = 0
            var prefetchEnd = source.prefetchEnd(isFirst: isFirst)
            while part < strip.count {
                let first = strip.firstPart &+ part
                let book = source.books + (strip.offset &+ part &* partBytes)
                let target = segment.output + (strip.column &+ part &* strip.columnStride)
                @inline(__always)
                func value(_ row: UnsafeRawPointer, _ number: Int) -> Entry.Value {
                    let code = Codes.code(row, first &+ number, bits)
                    return Entry.load(book + (number &* partBytes &+ code &* entryBytes), width)
                }
                @inline(__always)
                func write(_ sum: Entry.Value, _ number: Int) {
                    let place = target + number &* strip.columnStride
                    let value = segment.replaces ? sum : Entry.sum(Entry.current(place, width), sum)
                    Entry.store(value, to: place, width)
                }
                if part &+ 4 <= strip.count {
                    var (sum0, sum1, sum2, sum3) = (Entry.zero, Entry.zero, Entry.zero, Entry.zero)
                    for index in segment.start..<segment.end {
                        if index < prefetchEnd { places.prefetch(rows[index &+ places.prefetchDistance]) }
                        let row = rows[index]
                        add(&sum0, value(row, 0), index)
                        add(&sum1, value(row, 1), index)
                        add(&sum2, value(row, 2), index)
                        add(&sum3, value(row, 3), index)
                    }
                    write(sum0, 0)
                    write(sum1, 1)
                    write(sum2, 2)
                    write(sum3, 3)
                    part &+= 4
                } else {
                    var sum = Entry.zero
                    for index in segment.start..<segment.end {
                        if index < prefetchEnd { places.prefetch(rows[index &+ places.prefetchDistance]) }
                        add(&sum, value(rows[index], 0), index)
                    }
                    write(sum, 0)
                    part &+= 1
                }
                prefetchEnd = 0
            }
        }
    }
}
