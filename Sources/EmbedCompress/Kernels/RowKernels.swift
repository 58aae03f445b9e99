/// Chunks that are summed in one pass over a segment's rows: as many as the registers hold.
@inline(__always)
private var tileWidth: Int { hasWideRegisters ? 4 : 2 }

/// Whether a tile is the first of its segment. A type, like the width, so that each case is compiled on its own.
private protocol TilePlace { static var isFirst: Bool { get } }
private enum FirstTile: TilePlace { static var isFirst: Bool { true } }
private enum LaterTile: TilePlace { static var isFirst: Bool { false } }

/// Whether an element times its scale needs no rounding.
protocol ProductKind { static var areExact: Bool { get } }
enum Exact: ProductKind { static var areExact: Bool { true } }
enum Rounded: ProductKind { static var areExact: Bool { false } }

protocol TileWidth {
    /// 0: as many as there are.
    static var chunks: Int { get }
    /// Whether the last chunk of a row is not written whole.
    static var isPartial: Bool { get }
}
extension TileWidth {
    static var chunks: Int { 0 }
    static var isPartial: Bool { false }
}
enum Width1: TileWidth { static var chunks: Int { 1 } }
enum Width2: TileWidth { static var chunks: Int { 2 } }
enum Width3: TileWidth { static var chunks: Int { 3 } }
enum Width4: TileWidth { static var chunks: Int { 4 } }
enum Width8: TileWidth { static var chunks: Int { 8 } }
private enum AnyWidth: TileWidth {}
private enum Partial: TileWidth { static var isPartial: Bool { true } }

/// The loops over rows, compiled for each format and scaling.
enum RowKernels<Format: RowFormat, Scaling: RowScaling> {
    /// Whether an element times an unweighted scale fits a float without rounding.
    @inline(__always)
    private static var isExact: Bool { Format.precision + Scaling.precision <= 24 }

    /// Whether unweighted sums have loops of their own. Where products aren't fused anyway, all that they would save of
    /// scaled rows is a multiplication a row.
    @inline(__always)
    private static var hasExactSums: Bool { isExact && (hasWideRegisters || !Scaling.isScaled) }

    /// Row by row, `scale * x + bias`.
    ///
    /// - Parameter shared: Where rows find their parameters; nil: each holds its own.
    static func gather(
        _ memory: RowPlaces, groups: ColumnGroups, shared: SharedParameters?, ids: IDBlock, into output: RowBlock,
        context: LookupContext
    ) {
        withUnsafeTemporaryAllocation(of: UnsafeRawPointer.self, capacity: 2 &* ids.count) { pointers in
            guard let pointers = pointers.baseAddress else { return }
            let reach = reach(memory, groups)
            let (rows, places) = locate(memory, shared, ids, in: pointers, reach: reach, context)
            for (position, group) in groups.enumerated() {
                // The first pass over the rows brings them into the cache for the others.
                let prefetchEnd =
                    position == 0 && memory.isWorthPrefetching ? ids.count &- memory.prefetchDistance : 0
                let whole = wholeRows(group, ids.count, of: output)
                @inline(__always)
                func gather<Width: TileWidth>(_: Width.Type, _ range: Range<Int>) {
                    RowKernels.gather(
                        Width.self, memory, group, rows, places, range, into: output, prefetchEnd: prefetchEnd,
                        reach: reach)
                }
                switch (group.columns &+ 15) &>> 4 {
                case 1: gather(Width1.self, 0..<whole)
                case 2: gather(Width2.self, 0..<whole)
                case 3: gather(Width3.self, 0..<whole)
                case 4: gather(Width4.self, 0..<whole)
                default: gather(AnyWidth.self, 0..<whole)
                }
                if whole < ids.count { gather(Partial.self, whole..<ids.count) }
            }
        }
    }

    /// How many of `count` rows can be written in whole chunks. Where a group is all of an output row, what they write
    /// past its end is overwritten by the next rows, as long as it is before the end of the last one.
    @inline(__always)
    private static func wholeRows(_ group: ColumnGroup, _ count: Int, of output: RowBlock) -> Int {
        if group.columns & 15 == 0 { return count }
        guard group.columns == output.stride else { return 0 }
        let room = count &* output.stride &- ((group.columns &+ 15) & ~15)
        return room < 0 ? 0 : room / output.stride &+ 1
    }

    /// Writes a group of columns of some of a block's rows.
    @inline(__always)
    private static func gather<Width: TileWidth>(
        _: Width.Type, _ memory: RowPlaces, _ group: ColumnGroup, _ rows: Pointers, _ places: Pointers,
        _ range: Range<Int>, into output: RowBlock, prefetchEnd: Int, reach: Int
    ) {
        let (offset, parameterOffset, stride) = (group.offset, group.parameterOffset, output.stride)
        let scaleOffset = group.scaleOffset
        let (full, chunks) = (group.columns &>> 4, (group.columns &+ 15) &>> 4)
        var target = output.row(range.lowerBound) + group.firstColumn
        for index in range {
            if index < prefetchEnd { memory.prefetch(rows[index &+ memory.prefetchDistance], bytes: reach) }
            let source = rows[index] + offset
            let place = places[index] + parameterOffset
            let parameters = Scaling.parameters(Scaling.isInRow ? rows[index] + scaleOffset : place)
            let book = Format.book(place, bits: group.bits)
            let scale = Floats16(repeating: parameters[0])
            let bias = Floats16(repeating: parameters[1])
            @inline(__always)
            func values(_ chunk: Int) -> Floats16 {
                let columns = Format.floats(source, chunk: chunk, book)
                return Scaling.isScaled ? multiplyAdd(columns, scale, bias, isExact: isExact) : columns
            }
            if Width.chunks > 0 {
                store16(values(0), to: target)
                if Width.chunks > 1 { store16(values(1), to: target + 16) }
                if Width.chunks > 2 { store16(values(2), to: target + 32) }
                if Width.chunks > 3 { store16(values(3), to: target + 48) }
            } else {
                var chunk = 0
                while chunk &+ 4 <= full {
                    store16(values(chunk), to: target + chunk &* 16)
                    store16(values(chunk &+ 1), to: target + (chunk &* 16 &+ 16))
                    store16(values(chunk &+ 2), to: target + (chunk &* 16 &+ 32))
                    store16(values(chunk &+ 3), to: target + (chunk &* 16 &+ 48))
                    chunk &+= 4
                }
                let end = Width.isPartial ? full : chunks
                while chunk < end {
                    store16(values(chunk), to: target + chunk &* 16)
                    chunk &+= 1
                }
                if Width.isPartial { put16(values(full), to: target + full &* 16, count: group.columns & 15) }
            }
            target += stride
        }
    }

    typealias Pointers = UnsafePointer<UnsafeRawPointer>

    /// Bytes from the start of a row that are read: whole chunks, some of which may be past its last byte.
    @inline(__always)
    static func reach(_ memory: RowPlaces, _ groups: ColumnGroups) -> Int {
        guard let last = groups.last else { return memory.rowBytes }
        return max(memory.rowBytes, last.offset &+ ((last.columns &+ 15) &>> 4) &* Format.chunkBytes(bits: last.bits))
    }

    /// Finds the rows of a block and their parameters, and asks for the first of them unless the block before did.
    @inline(__always)
    static func locate(
        _ memory: RowPlaces, _ shared: SharedParameters?, _ ids: IDBlock,
        in pointers: UnsafeMutablePointer<UnsafeRawPointer>, reach: Int, _ context: LookupContext
    ) -> (rows: Pointers, parameters: Pointers) {
        memory.locate(ids, pointers)
        if memory.isWorthPrefetching, !ids.wereAhead {
            for index in 0..<min(memory.prefetchDistance, ids.count) { memory.prefetch(pointers[index], bytes: reach) }
        }
        guard let shared else { return (Pointers(pointers), Pointers(pointers)) }
        let places = pointers + (ids.count &+ ids.ahead)
        shared.locate(
            ids, pointers, of: memory, into: places, prefetchDistance: memory.prefetchDistance, context)
        return (Pointers(pointers), Pointers(places))
    }

    /// Sums `weight * (scale * x + bias)` over each segment. Weights are multiplied into scales, and the bias part is
    /// summed once for a row, not for each column.
    static func accumulate(
        _ memory: RowPlaces, groups: ColumnGroups, shared: SharedParameters?, _ block: BagBlock,
        context: LookupContext
    ) {
        let reach = reach(memory, groups)
        let (rows, places) = locate(
            memory, shared, block.ids, in: block.space.pointers, reach: reach, context)
        let pass = Pass(
            memory: memory, block: block, rows: rows, places: places, scales: block.space.floats, reach: reach)
        for (position, group) in groups.enumerated() {
            // The first pass over the rows brings them into the cache for the others.
            let prefetchEnd =
                position == 0 && memory.isWorthPrefetching
                ? block.ids.count &+ block.ids.ahead &- memory.prefetchDistance : 0
            for index in 0..<block.segmentCount {
                if block.isWeighted || !hasExactSums {
                    pass.accumulate(Rounded.self, block.segments[index], group, prefetchEnd: prefetchEnd)
                } else {
                    pass.accumulate(Exact.self, block.segments[index], group, prefetchEnd: prefetchEnd)
                }
            }
        }
    }

    /// What the loops over a block's segments share.
    struct Pass {
        let memory: RowPlaces
        let block: BagBlock
        let rows: Pointers
        /// Where rows have their parameters.
        let places: Pointers
        /// Weighted scales; filled by the first tile of a segment, for the others.
        let scales: UnsafeMutablePointer<Float>
        /// Bytes of a row that are prefetched.
        let reach: Int

        @inline(__always)
        func accumulate<Products: ProductKind>(
            _: Products.Type, _ segment: Segment, _ group: ColumnGroup, prefetchEnd: Int
        ) {
            let chunks = (group.columns &+ 15) &>> 4
            if chunks == 1 {
                return sumNarrow(Products.self, Width1.self, segment, group, prefetchEnd: prefetchEnd)
            }
            if chunks == 2 {
                return sumNarrow(Products.self, Width2.self, segment, group, prefetchEnd: prefetchEnd)
            }
            let bias = tile(
                Products.self, FirstTile.self, segment, group, chunk: 0, of: chunks, bias: 0, prefetchEnd: prefetchEnd)
            var chunk = tileWidth
            while chunk < chunks {
                _ = tile(
                    Products.self, LaterTile.self, segment, group, chunk: chunk, of: chunks, bias: bias, prefetchEnd: 0)
                chunk &+= tileWidth
            }
        }

        /// A row's weighted scale and bias.
        @inline(__always)
        private func parameters<Products: ProductKind>(
            _: Products.Type, _ place: UnsafeRawPointer, _ group: ColumnGroup, _ index: Int
        ) -> SIMD4<Float> {
            // Exact products have no weights.
            let parameters = Scaling.parameters(Scaling.isInRow ? rows[index] + group.scaleOffset : place)
            return Products.areExact ? parameters : parameters * SIMD4(repeating: block.weights[index])
        }

        /// Sums up to 32 columns, of every other row apart: each addition waits for the one before it, and there are too
        /// few columns to fill that time.
        @inline(__always)
        private func sumNarrow<Products: ProductKind, Width: TileWidth>(
            _: Products.Type, _: Width.Type, _ segment: Segment, _ group: ColumnGroup, prefetchEnd: Int
        ) {
            var (even0, even1, odd0, odd1) = (Floats16(), Floats16(), Floats16(), Floats16())
            var (evenBias, oddBias) = (SIMD4<Float>(), SIMD4<Float>())
            let (offset, parameterOffset) = (group.offset, group.parameterOffset)
            @inline(__always)
            func add(_ index: Int, _ sum0: inout Floats16, _ sum1: inout Floats16, _ bias: inout SIMD4<Float>) {
                if index < prefetchEnd { memory.prefetch(rows[index &+ memory.prefetchDistance], bytes: reach) }
                let place = places[index] + parameterOffset
                let parameters = self.parameters(Products.self, place, group, index)
                if Scaling.isScaled { bias += parameters }
                let scale = Floats16(repeating: parameters[0])
                let book = Format.book(place, bits: group.bits)
                let source = rows[index] + offset
                @inline(__always)
                func add(_ columns: Floats16, to sum: inout Floats16) {
                    sum =
                        Scaling.isScaled || !Products.areExact
                        ? multiplyAdd(columns, scale, sum, isExact: Products.areExact) : sum + columns
                }
                add(Format.floats(source, chunk: 0, book), to: &sum0)
                if Width.chunks > 1 { add(Format.floats(source, chunk: 1, book), to: &sum1) }
            }
            var index = segment.start
            while index < segment.end &- 1 {
                add(index, &even0, &even1, &evenBias)
                add(index &+ 1, &odd0, &odd1, &oddBias)
                index &+= 2
            }
            if index < segment.end { add(index, &even0, &even1, &evenBias) }
            let bias = evenBias[1] + oddBias[1]
            write(even0 + odd0, bias, segment, group, column: 0)
            if Width.chunks > 1 { write(even1 + odd1, bias, segment, group, column: 16) }
        }

        /// Writes a chunk of a segment's sums, or adds it to what is there.
        @inline(__always)
        private func write(_ sum: Floats16, _ bias: Float, _ segment: Segment, _ group: ColumnGroup, column: Int) {
            let value = Scaling.isScaled ? sum + Floats16(repeating: bias) : sum
            write16(
                value, to: segment.output + (group.firstColumn &+ column), count: group.columns &- column,
                replaces: segment.replaces)
        }

        /// Sums a tile of columns in registers and writes it to the output. Returns the segment's sum of biases.
        @inline(__always)
        private func tile<Products: ProductKind, Place: TilePlace>(
            _: Products.Type, _: Place.Type, _ segment: Segment, _ group: ColumnGroup, chunk: Int, of chunks: Int,
            bias: Float, prefetchEnd: Int
        ) -> Float {
            @inline(__always)
            func sum<Width: TileWidth>(_: Width.Type) -> Float {
                self.sum(
                    Products.self, Place.self, Width.self, segment, group, chunk: chunk, bias: bias,
                    prefetchEnd: prefetchEnd)
            }
            let rest = chunks &- chunk
            // Only the widths that there can be are compiled: what has one or two chunks in all is not summed in tiles.
            if hasWideRegisters {
                if rest >= 4 { return sum(Width4.self) }
                if Place.isFirst || rest == 3 { return sum(Width3.self) }
            } else if Place.isFirst {
                return sum(Width2.self)
            }
            return rest >= 2 ? sum(Width2.self) : sum(Width1.self)
        }

        @inline(__always)
        private func sum<Products: ProductKind, Place: TilePlace, Width: TileWidth>(
            _: Products.Type, _: Place.Type, _: Width.Type, _ segment: Segment, _ group: ColumnGroup, chunk: Int,
            bias known: Float, prefetchEnd: Int
        ) -> Float {
            let width = Width.chunks
            let isFirst = Place.isFirst
            @inline(__always)
            func add(_ columns: Floats16, _ scale: Floats16, to sum: inout Floats16) {
                sum =
                    Scaling.isScaled || !Products.areExact
                    ? multiplyAdd(columns, scale, sum, isExact: Products.areExact) : sum + columns
            }
            var biases = SIMD4<Float>()
            var sum0 = Floats16()
            var sum1 = Floats16()
            var sum2 = Floats16()
            var sum3 = Floats16()
            let hasMoreTiles = group.columns > tileWidth &* 16
            var index = segment.start
            while index < segment.end {
                let row = rows[index]
                let place = places[index] + group.parameterOffset
                let book = Format.book(place, bits: group.bits)
                let scale: Float
                if isFirst {
                    if index < prefetchEnd { memory.prefetch(rows[index &+ memory.prefetchDistance], bytes: reach) }
                    let parameters = self.parameters(Products.self, place, group, index)
                    // The lane of the scales is summed too, for nothing and at no cost.
                    if Scaling.isScaled { biases += parameters }
                    scale = parameters[0]
                    if hasMoreTiles { scales[index] = scale }
                } else {
                    scale = scales[index]
                }
                let source = row + group.offset
                let scaling = Floats16(repeating: scale)
                if width == 4 {
                    let tile = Format.tile(source, chunk: chunk, book)
                    add(tile.chunk0, scaling, to: &sum0)
                    add(tile.chunk1, scaling, to: &sum1)
                    add(tile.chunk2, scaling, to: &sum2)
                    add(tile.chunk3, scaling, to: &sum3)
                    index &+= 1
                    continue
                }
                add(Format.floats(source, chunk: chunk, book), scaling, to: &sum0)
                if width > 1 { add(Format.floats(source, chunk: chunk &+ 1, book), scaling, to: &sum1) }
                if width > 2 { add(Format.floats(source, chunk: chunk &+ 2, book), scaling, to: &sum2) }
                index &+= 1
            }
            if width == 4 {
                let tile = Format.ordered(Tile(chunk0: sum0, chunk1: sum1, chunk2: sum2, chunk3: sum3))
                (sum0, sum1, sum2, sum3) = (tile.chunk0, tile.chunk1, tile.chunk2, tile.chunk3)
            }
            let bias = isFirst ? biases[1] : known
            let column = chunk &* 16
            write(sum0, bias, segment, group, column: column)
            if width > 1 { write(sum1, bias, segment, group, column: column &+ 16) }
            if width > 2 { write(sum2, bias, segment, group, column: column &+ 32) }
            if width > 3 { write(sum3, bias, segment, group, column: column &+ 48) }
            return bias
        }
    }
}
