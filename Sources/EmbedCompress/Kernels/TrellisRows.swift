internal import CEmbedCompress.Trellis

/// Decodes and sums rows of trellis codes: a row's bits, and then a byte that says which of 256 scales it has.
struct TrellisRows {
    let places: RowPlaces
    let chunks: UnsafePointer<TrellisChunk>
    /// See ``TrellisColumns/alikeChunks``.
    let alikeChunks: Int
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

    /// The values of sixteen columns of a row.
    @inline(__always)
    private func values(_ row: UnsafeRawPointer, _ chunk: UnsafePointer<TrellisChunk>) -> Floats16 {
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
    private struct Alike {
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
                while chunk < whole {
                    store16(values(row, chunks + chunk) * scale * factors(chunk), to: target + chunk &* 16)
                    chunk &+= 1
                }
                if rest > 0 {
                    put16(values(row, chunks + whole) * scale * factors(whole), to: target + whole &* 16, count: rest)
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

    /// Sums a segment's rows, four chunks of columns at a time and then one.
    @inline(__always)
    private func sum<Products: ProductKind>(
        _: Products.Type, _ segment: Segment, _ rows: UnsafePointer<UnsafeRawPointer>, _ scales: UnsafePointer<Float>
    ) {
        @inline(__always)
        func add(_ row: UnsafeRawPointer, _ chunk: Int, _ scale: Floats16, to sum: inout Floats16) {
            sum = multiplyAdd(values(row, chunks + chunk), scale, sum, isExact: Products.areExact)
        }
        @inline(__always)
        func write(_ sum: Floats16, _ chunk: Int) {
            write16(
                sum * factors(chunk), to: segment.output + chunk &* 16, count: dimension &- chunk &* 16,
                replaces: segment.replaces)
        }
        var chunk = 0
        let alike = alike
        while chunk &+ 4 <= alikeChunks {
            var (sum0, sum1, sum2, sum3) = (Floats16(), Floats16(), Floats16(), Floats16())
            for index in segment.start..<segment.end {
                let (row, scale) = (rows[index], Floats16(repeating: scales[index]))
                sum0 = multiplyAdd(alike.values(row, chunk), scale, sum0, isExact: Products.areExact)
                sum1 = multiplyAdd(alike.values(row, chunk &+ 1), scale, sum1, isExact: Products.areExact)
                sum2 = multiplyAdd(alike.values(row, chunk &+ 2), scale, sum2, isExact: Products.areExact)
                sum3 = multiplyAdd(alike.values(row, chunk &+ 3), scale, sum3, isExact: Products.areExact)
            }
            write(sum0, chunk)
            write(sum1, chunk &+ 1)
            write(sum2, chunk &+ 2)
            write(sum3, chunk &+ 3)
            chunk &+= 4
        }
        while chunk &+ 4 <= chunkCount {
            var (sum0, sum1, sum2, sum3) = (Floats16(), Floats16(), Floats16(), Floats16())
            for index in segment.start..<segment.end {
                let (row, scale) = (rows[index], Floats16(repeating: scales[index]))
                add(row, chunk, scale, to: &sum0)
                add(row, chunk &+ 1, scale, to: &sum1)
                add(row, chunk &+ 2, scale, to: &sum2)
                add(row, chunk &+ 3, scale, to: &sum3)
            }
            write(sum0, chunk)
            write(sum1, chunk &+ 1)
            write(sum2, chunk &+ 2)
            write(sum3, chunk &+ 3)
            chunk &+= 4
        }
        while chunk < chunkCount {
            var sum = Floats16()
            for index in segment.start..<segment.end {
                add(rows[index], chunk, Floats16(repeating: scales[index]), to: &sum)
            }
            write(sum, chunk)
            chunk &+= 1
        }
    }
}
