internal import CEmbedCompress.Trellis

/// Decodes and sums rows of trellis codes: a row's bits, and then a byte that says which of 256 scales it has.
struct TrellisRows: ChunkDecoder {
    let places: RowPlaces
    let chunks: UnsafePointer<TrellisChunk>
    /// See ``TrellisColumns/alikeChunks``.
    let alikeChunks: Int
    /// See ``TrellisColumns/ring``.
    let ring: TrellisRing?
    let dimension: Int
    /// Of a state.
    let mask: UInt32
    /// Bytes of a row's bits; the byte of its scale is behind them.
    let codeBytes: Int
    /// 256 numbers of at most ``Trellis/scalePrecision`` significant bits: products with values need no rounding.
    let scales: UnsafePointer<Float>
    /// What columns are multiplied by, in whole vectors.
    let factors: UnsafePointer<Float>

    private var chunkCount: Int { (dimension &+ 15) &>> 4 }

    /// The values of sixteen columns, by fields of their own.
    @inline(__always)
    fileprivate func values(_ row: UnsafeRawPointer, _ index: Int) -> Floats16 {
        let chunk = chunks + index
        let bytes = row.assumingMemoryBound(to: UInt8.self)
        let fields = UnsafeRawPointer(chunk)
        var words = ec_trellis_words(
            bytes + chunk.pointee.low, bytes + chunk.pointee.high, fields + TrellisChunk.turnsOffset)
        if chunk.pointee.isWrapped {
            words |= ec_trellis_words(bytes, bytes, fields + TrellisChunk.wrappedTurnsOffset)
        }
        return ec_trellis_values(words, chunk.pointee.shifts, mask, chunk.pointee.multipliers)
    }

    /// What the chunks that are alike are decoded with, in registers.
    private struct Alike: ChunkDecoder {
        let turns: SIMD16<UInt32>
        let shifts: SIMD16<UInt32>
        let multipliers: SIMD16<UInt32>
        let mask: UInt32
        /// Bytes from one chunk to the next.
        let step: Int

        @inline(__always)
        func values(_ row: UnsafeRawPointer, _ chunk: Int) -> Floats16 {
            let words = ec_trellis_words_at(row.assumingMemoryBound(to: UInt8.self) + chunk &* step, turns)
            return ec_trellis_values(words, shifts, mask, multipliers)
        }
    }

    /// The same for the last chunk, which goes on at the row's start.
    private struct RingEnd: ChunkDecoder {
        let alike: Alike
        let ring: TrellisRing

        @inline(__always)
        func values(_ row: UnsafeRawPointer, _: Int) -> Floats16 {
            let bytes = row.assumingMemoryBound(to: UInt8.self)
            let words = ec_trellis_ring_words(bytes + ring.low, bytes, ring.kept, ring.opening, alike.turns)
            return ec_trellis_values(words, alike.shifts, alike.mask, alike.multipliers)
        }
    }

    @inline(__always)
    private var alike: Alike {
        Alike(
            turns: unsafeBitCast(chunks.pointee.turns, to: SIMD16<UInt32>.self), shifts: chunks.pointee.shifts,
            multipliers: chunks.pointee.multipliers, mask: mask,
            step: alikeChunks > 1 ? chunks[1].low &- chunks[0].low : 0)
    }

    @inline(__always)
    private func scale(_ row: UnsafeRawPointer) -> Float {
        scales[Int(row.load(fromByteOffset: codeBytes, as: UInt8.self))]
    }

    @inline(__always)
    private func factors(_ chunk: Int) -> Floats16 { load16(factors + chunk &* 16) }

    /// Writes the rows of a block.
    func gather(_ ids: IDBlock, into output: RowBlock) {
        Scratch.with(ids.count + ids.ahead, of: UnsafeRawPointer.self) { rows in
            let prefetchEnd = locate(ids, rows)
            let (whole, rest) = (dimension &>> 4, dimension & 15)
            let (alike, alikeEnd) = (alike, min(alikeChunks, whole))
            let ringEnd = ring.map { RingEnd(alike: alike, ring: $0) }
            for index in 0..<ids.count {
                if index < prefetchEnd { places.prefetch(rows[index &+ places.prefetchDistance]) }
                let row = rows[index]
                let target = output.row(index)
                let scale = Floats16(repeating: scale(row))
                if scale[0] == 0 {
                    target.update(repeating: 0, count: dimension)
                    continue
                }
                var chunk = 0
                while chunk < alikeEnd {
                    store16(alike.values(row, chunk) * scale * factors(chunk), to: target + chunk &* 16)
                    chunk &+= 1
                }
                if let ringEnd {
                    let values = ringEnd.values(row, chunk) * scale * factors(chunk)
                    if rest > 0 {
                        put16(values, to: target + chunk &* 16, count: rest)
                    } else {
                        store16(values, to: target + chunk &* 16)
                    }
                    continue
                }
                while chunk < whole {
                    store16(values(row, chunk) * scale * factors(chunk), to: target + chunk &* 16)
                    chunk &+= 1
                }
                if rest > 0 {
                    put16(values(row, whole) * scale * factors(whole), to: target + whole &* 16, count: rest)
                }
            }
        }
    }

    /// Adds the weighted sums of a block's segments to their outputs: columns are multiplied by their factors once they are
    /// summed.
    func accumulate(_ block: BagBlock) {
        let rows = block.space.pointers
        let prefetchEnd = locate(block.ids, rows)
        let scales = block.space.floats
        for index in 0..<block.ids.count {
            if index < prefetchEnd { places.prefetch(rows[index &+ places.prefetchDistance]) }
            scales[index] = scale(rows[index]) * block.weights[index]
        }
        for index in 0..<block.segmentCount {
            let segment = block.segments[index]
            if block.isWeighted {
                sum(Rounded.self, segment, UnsafePointer(rows), scales)
            } else {
                sum(Exact.self, segment, UnsafePointer(rows), scales)
            }
        }
    }

    /// Finds the rows of a block, and asks for the first of them unless the block before did. Returns how many of them ask for
    /// a later one.
    @inline(__always)
    private func locate(_ ids: IDBlock, _ rows: UnsafeMutablePointer<UnsafeRawPointer>) -> Int {
        places.locate(ids, rows)
        guard places.isWorthPrefetching else { return 0 }
        if !ids.wereAhead {
            for index in 0..<min(places.prefetchDistance, ids.count) { places.prefetch(rows[index]) }
        }
        return ids.count &+ ids.ahead &- places.prefetchDistance
    }

    /// Sums a segment's rows, four chunks of columns at a time where there are as many.
    @inline(__always)
    private func sum<Products: ProductKind>(
        _: Products.Type, _ segment: Segment, _ rows: UnsafePointer<UnsafeRawPointer>, _ scales: UnsafePointer<Float>
    ) {
        let sums = Sums<Products>(table: self, segment: segment, rows: rows, scales: scales)
        let alike = alike
        var chunk = 0
        while chunk &+ 4 <= alikeChunks {
            sums.addFour(chunk, alike, last: alike)
            chunk &+= 4
        }
        if let ring {
            let end = RingEnd(alike: alike, ring: ring)
            if chunk &+ 3 == alikeChunks { return sums.addFour(chunk, alike, last: end) }
            while chunk < alikeChunks {
                sums.addOne(chunk, alike)
                chunk &+= 1
            }
            return sums.addOne(chunk, end)
        }
        while chunk &+ 4 <= chunkCount {
            sums.addFour(chunk, self, last: self)
            chunk &+= 4
        }
        while chunk < chunkCount {
            sums.addOne(chunk, self)
            chunk &+= 1
        }
    }

    /// Sums of a segment.
    private struct Sums<Products: ProductKind> {
        let table: TrellisRows
        let segment: Segment
        let rows: UnsafePointer<UnsafeRawPointer>
        let scales: UnsafePointer<Float>

        /// Four chunks of columns from one on.
        @inline(__always)
        func addFour<Decoder: ChunkDecoder, Last: ChunkDecoder>(_ chunk: Int, _ decoder: Decoder, last: Last) {
            var (sum0, sum1, sum2, sum3) = (Floats16(), Floats16(), Floats16(), Floats16())
            for index in segment.start..<segment.end {
                let (row, scale) = (rows[index], Floats16(repeating: scales[index]))
                add(decoder.values(row, chunk), scale, to: &sum0)
                add(decoder.values(row, chunk &+ 1), scale, to: &sum1)
                add(decoder.values(row, chunk &+ 2), scale, to: &sum2)
                add(last.values(row, chunk &+ 3), scale, to: &sum3)
            }
            write(sum0, chunk)
            write(sum1, chunk &+ 1)
            write(sum2, chunk &+ 2)
            write(sum3, chunk &+ 3)
        }

        @inline(__always)
        func addOne<Decoder: ChunkDecoder>(_ chunk: Int, _ decoder: Decoder) {
            var sum = Floats16()
            for index in segment.start..<segment.end {
                add(decoder.values(rows[index], chunk), Floats16(repeating: scales[index]), to: &sum)
            }
            write(sum, chunk)
        }

        @inline(__always)
        private func add(_ values: Floats16, _ scale: Floats16, to sum: inout Floats16) {
            sum = multiplyAdd(values, scale, sum, isExact: Products.areExact)
        }

        @inline(__always)
        private func write(_ sum: Floats16, _ chunk: Int) {
            write16(
                sum * table.factors(chunk), to: segment.output + chunk &* 16, count: table.dimension &- chunk &* 16,
                replaces: segment.replaces)
        }
    }
}

/// Decodes sixteen columns of a row.
private protocol ChunkDecoder {
    func values(_ row: UnsafeRawPointer, _ chunk: Int) -> Floats16
}
