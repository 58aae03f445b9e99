internal import CEmbedCompress.Shims

extension RowKernels {
    /// Adds the products of rows with vectors to what is in `output`, in f32: codes are multiplied as they are decoded, and
    /// scale and bias of a group of columns count once for the group. The product of a row and a vector depends on no other
    /// row, and on whether there are other vectors by rounding only.
    static func multiply(
        _ memory: RowPlaces, groups: ColumnGroups, shared: SharedParameters?, ids: IDBlock, _ vectors: ProductVectors,
        into output: ProductBlock, context: LookupContext
    ) {
        withUnsafeTemporaryAllocation(of: UnsafeRawPointer.self, capacity: 2 &* ids.count) { pointers in
            guard let pointers = pointers.baseAddress else { return }
            let (rows, places) = locate(memory, shared, ids, in: pointers, reach: reach(memory, groups), context)
            vectors.forEachPass { pass in
                let base = output.base + pass.first &* output.stride
                if pass.count == 1 {
                    for index in 0..<ids.count { base[index] += product(rows[index], places[index], groups, pass) }
                    return
                }
                var index = 0
                // Where there are registers enough, two rows share what is loaded of the vectors.
                if hasManyRegisters {
                    while index < ids.count &- 1 {
                        let (first, second) = products(
                            (rows[index], rows[index &+ 1]), (places[index], places[index &+ 1]), groups, pass)
                        for vector in 0..<pass.count {
                            base[vector &* output.stride &+ index] += first[vector]
                            base[vector &* output.stride &+ index &+ 1] += second[vector]
                        }
                        index &+= 2
                    }
                }
                while index < ids.count {
                    let found = products(rows[index], places[index], groups, pass)
                    for vector in 0..<pass.count { base[vector &* output.stride &+ index] += found[vector] }
                    index &+= 1
                }
            }
        }
    }

    /// A row and one vector.
    @inline(__always)
    private static func product(
        _ row: UnsafeRawPointer, _ place: UnsafeRawPointer, _ groups: ColumnGroups, _ vectors: ProductVectors.Pass
    ) -> Float {
        var (values, sums) = (UnsafeRawPointer(vectors.values), vectors.sums)
        var total = Floats16()
        var bias: Float = 0
        for group in groups {
            let source = row + group.offset
            let book = Format.book(place + group.parameterOffset, bits: group.bits)
            let chunks = (group.columns &+ 15) &>> 4
            var (sum0, sum1, sum2, sum3) = (Floats16(), Floats16(), Floats16(), Floats16())
            var chunk = 0
            while chunk &+ 4 <= group.columns &>> 4 {
                let tile = Format.tile(source, chunk: chunk, book)
                sum0 = fused(tile.chunk0, load16(values), sum0)
                sum1 = fused(tile.chunk1, load16(values + 64), sum1)
                sum2 = fused(tile.chunk2, load16(values + 128), sum2)
                sum3 = fused(tile.chunk3, load16(values + 192), sum3)
                values += 256
                chunk &+= 4
            }
            while chunk < chunks {
                sum0 = fused(columns(source, chunk, book, group), load16(values), sum0)
                values += 64
                chunk &+= 1
            }
            let sum = (sum0 + sum1) + (sum2 + sum3)
            if Scaling.isScaled {
                let parameters = parameters(row, place, group)
                total = fused(sum, Floats16(repeating: parameters[0]), total)
                bias += parameters[1] * sums[0]
                sums += 4
            } else {
                total += sum
            }
        }
        return lanesSum(total) + bias
    }

    /// A row and up to four vectors.
    @inline(__always)
    private static func products(
        _ row: UnsafeRawPointer, _ place: UnsafeRawPointer, _ groups: ColumnGroups, _ vectors: ProductVectors.Pass
    ) -> SIMD4<Float> {
        var (values, sums) = (UnsafeRawPointer(vectors.values), UnsafeRawPointer(vectors.sums))
        var totals = FourSums()
        var biases = SIMD4<Float>()
        for group in groups {
            let source = row + group.offset
            let book = Format.book(place + group.parameterOffset, bits: group.bits)
            let chunks = (group.columns &+ 15) &>> 4
            var added = FourSums()
            var chunk = 0
            while chunk &+ 4 <= group.columns &>> 4 {
                let tile = Format.tile(source, chunk: chunk, book)
                added.add(tile.chunk0, values)
                added.add(tile.chunk1, values + 256)
                added.add(tile.chunk2, values + 512)
                added.add(tile.chunk3, values + 768)
                values += 1024
                chunk &+= 4
            }
            while chunk < chunks {
                added.add(columns(source, chunk, book, group), values)
                values += 256
                chunk &+= 1
            }
            if Scaling.isScaled {
                let parameters = parameters(row, place, group)
                totals.add(added, scale: parameters[0])
                biases += SIMD4(repeating: parameters[1]) * sums.loadUnaligned(as: SIMD4<Float>.self)
                sums += 16
            } else {
                totals.add(added)
            }
        }
        return totals.each + biases
    }

    /// Two rows and up to four vectors: the same sums, with each chunk of the vectors loaded once.
    @inline(__always)
    private static func products(
        _ rows: (UnsafeRawPointer, UnsafeRawPointer), _ places: (UnsafeRawPointer, UnsafeRawPointer),
        _ groups: ColumnGroups, _ vectors: ProductVectors.Pass
    ) -> (SIMD4<Float>, SIMD4<Float>) {
        var (values, sums) = (UnsafeRawPointer(vectors.values), UnsafeRawPointer(vectors.sums))
        var (totals0, totals1) = (FourSums(), FourSums())
        var (biases0, biases1) = (SIMD4<Float>(), SIMD4<Float>())
        for group in groups {
            let (source0, source1) = (rows.0 + group.offset, rows.1 + group.offset)
            let book0 = Format.book(places.0 + group.parameterOffset, bits: group.bits)
            let book1 = Format.book(places.1 + group.parameterOffset, bits: group.bits)
            let chunks = (group.columns &+ 15) &>> 4
            var (added0, added1) = (FourSums(), FourSums())
            var chunk = 0
            while chunk &+ 4 <= group.columns &>> 4 {
                let (tile0, tile1) = (
                    Format.tile(source0, chunk: chunk, book0), Format.tile(source1, chunk: chunk, book1)
                )
                FourSums.add(tile0.chunk0, to: &added0, tile1.chunk0, to: &added1, values)
                FourSums.add(tile0.chunk1, to: &added0, tile1.chunk1, to: &added1, values + 256)
                FourSums.add(tile0.chunk2, to: &added0, tile1.chunk2, to: &added1, values + 512)
                FourSums.add(tile0.chunk3, to: &added0, tile1.chunk3, to: &added1, values + 768)
                values += 1024
                chunk &+= 4
            }
            while chunk < chunks {
                FourSums.add(
                    columns(source0, chunk, book0, group), to: &added0, columns(source1, chunk, book1, group),
                    to: &added1, values)
                values += 256
                chunk &+= 1
            }
            if Scaling.isScaled {
                let (first, second) = (parameters(rows.0, places.0, group), parameters(rows.1, places.1, group))
                totals0.add(added0, scale: first[0])
                totals1.add(added1, scale: second[0])
                let groupSums = sums.loadUnaligned(as: SIMD4<Float>.self)
                biases0 += SIMD4(repeating: first[1]) * groupSums
                biases1 += SIMD4(repeating: second[1]) * groupSums
                sums += 16
            } else {
                totals0.add(added0)
                totals1.add(added1)
            }
        }
        return (totals0.each + biases0, totals1.each + biases1)
    }

    /// Columns of a chunk; zeros behind the group's last one, where rows may hold anything, even no number.
    @inline(__always)
    private static func columns(
        _ source: UnsafeRawPointer, _ chunk: Int, _ book: Format.Book, _ group: ColumnGroup
    ) -> Floats16 {
        let columns = Format.floats(source, chunk: chunk, book)
        let there = group.columns &- chunk &* 16
        return there < 16 ? ec_first_lanes(columns, Floats16(), Int32(truncatingIfNeeded: there)) : columns
    }

    @inline(__always)
    private static func parameters(
        _ row: UnsafeRawPointer, _ place: UnsafeRawPointer, _ group: ColumnGroup
    ) -> SIMD4<Float> {
        Scaling.parameters(Scaling.isInRow ? row + group.scaleOffset : place + group.parameterOffset)
    }
}

/// Sums of four vectors, lane by lane.
private struct FourSums {
    private var sum0 = Floats16()
    private var sum1 = Floats16()
    private var sum2 = Floats16()
    private var sum3 = Floats16()

    /// Adds the products of a chunk of a row with those of four vectors, which lie one after the other.
    @inline(__always)
    mutating func add(_ columns: Floats16, _ values: UnsafeRawPointer) {
        sum0 = fused(columns, load16(values), sum0)
        sum1 = fused(columns, load16(values + 64), sum1)
        sum2 = fused(columns, load16(values + 128), sum2)
        sum3 = fused(columns, load16(values + 192), sum3)
    }

    /// The same for two rows.
    @inline(__always)
    static func add(
        _ first: Floats16, to sums0: inout FourSums, _ second: Floats16, to sums1: inout FourSums,
        _ values: UnsafeRawPointer
    ) {
        let (x0, x1, x2, x3) = (load16(values), load16(values + 64), load16(values + 128), load16(values + 192))
        sums0.sum0 = fused(first, x0, sums0.sum0)
        sums1.sum0 = fused(second, x0, sums1.sum0)
        sums0.sum1 = fused(first, x1, sums0.sum1)
        sums1.sum1 = fused(second, x1, sums1.sum1)
        sums0.sum2 = fused(first, x2, sums0.sum2)
        sums1.sum2 = fused(second, x2, sums1.sum2)
        sums0.sum3 = fused(first, x3, sums0.sum3)
        sums1.sum3 = fused(second, x3, sums1.sum3)
    }

    @inline(__always)
    mutating func add(_ other: FourSums, scale: Float) {
        let scales = Floats16(repeating: scale)
        sum0 = fused(other.sum0, scales, sum0)
        sum1 = fused(other.sum1, scales, sum1)
        sum2 = fused(other.sum2, scales, sum2)
        sum3 = fused(other.sum3, scales, sum3)
    }

    @inline(__always)
    mutating func add(_ other: FourSums) {
        sum0 += other.sum0
        sum1 += other.sum1
        sum2 += other.sum2
        sum3 += other.sum3
    }

    /// The sum of each vector.
    @inline(__always)
    var each: SIMD4<Float> { SIMD4(lanesSum(sum0), lanesSum(sum1), lanesSum(sum2), lanesSum(sum3)) }
}

/// `a * b + c`, fused where the processor can.
@inline(__always)
private func fused(_ a: Floats16, _ b: Floats16, _ c: Floats16) -> Floats16 { multiplyAdd(a, b, c, isExact: true) }

/// The sum of sixteen lanes.
@inline(__always)
private func lanesSum(_ lanes: Floats16) -> Float {
    let eight = lanes.lowHalf + lanes.highHalf
    let four = eight.lowHalf + eight.highHalf
    let two = four.lowHalf + four.highHalf
    return two[0] + two[1]
}
