internal import CEmbedCompress.Shims
internal import CEmbedCompress.WholeSums

/// Columns of runs of rows of 2-, 4- or 8-bit codes, which are summed in registers.
struct CodeTile<Codes: CodeFormat> {
    let rows: UnsafePointer<UnsafeRawPointer>
    let runs: UnsafePointer<Segment>
    let count: Int
    /// The sum of the biases of each run.
    let biases: UnsafePointer<Float>
    /// One for each row; seven more may be read.
    let factors: UnsafePointer<UInt16>
    /// What a factor of 1 stands for.
    let unit: Float
    /// Bytes to the first column.
    let offset: Int
    let firstColumn: Int
    /// Columns from the first one on.
    let columns: Int
    /// Bytes to the parameters of the columns.
    let parameterOffset: Int
    let prefetching: Prefetching
    /// Rows that far ahead are asked for meanwhile, if they are after a row before `prefetchEnd`.
    let distance: Int
    let prefetchEnd: Int

    /// The most columns that there are registers for.
    static var widest: Int { Codes.bits == 2 || hasManyRegisters ? 128 : 64 }

    /// Sums as many columns as there are registers for. Returns how many.
    @inline(__always)
    func sum() -> Int {
        switch Codes.bits {
        case 8:
            if columns > 96, hasManyRegisters {
                sum(ByteSums.self, ByteSums.self, ByteSums.self, ByteSums.self)
                return 128
            }
            if columns > 32 {
                sum(ByteSums.self, ByteSums.self, NoSums.self, NoSums.self)
                return 64
            }
            return sumOne(ByteSums.self)
        case 4:
            if columns > 64, hasManyRegisters {
                sum(NibbleSums.self, NibbleSums.self, NoSums.self, NoSums.self)
                return 128
            }
            return sumOne(NibbleSums.self)
        default:
            return sumOne(BitPairSums.self)
        }
    }

    /// One vector of columns, of two, four or eight rows, whichever leaves least of it empty.
    @inline(__always)
    private func sumOne<Sums: CodeSums>(_: Sums.Type) -> Int {
        let width = 32 * 8 / Codes.bits
        if columns > width / 2 {
            sum(Sums.self, NoSums.self, NoSums.self, NoSums.self)
        } else if columns > width / 4 {
            sumFours(Sums.self)
        } else {
            sumEights(Sums.self)
        }
        return width
    }

    /// 32 bytes of two rows at a time, up to four times.
    @inline(__always)
    private func sum<First: CodeSums, Second: CodeSums, Third: CodeSums, Fourth: CodeSums>(
        _: First.Type, _: Second.Type, _: Third.Type, _: Fourth.Type
    ) {
        let (rows, factors, offset, prefetchEnd) = (rows, factors, offset, prefetchEnd)
        let turns = ec_turns(2, Int32(16 / Codes.bits))
        let bytes = 32 &* (First.vectors &+ Second.vectors &+ Third.vectors &+ Fourth.vectors)
        for position in 0..<count {
            var sums = SumsSideBySide<First, Second, Third, Fourth>()
            var index = runs[position].start
            let end = runs[position].end
            while index < end &- 1 {
                if index < prefetchEnd { prefetch(index, 2, bytes: bytes) }
                sums.add(
                    rows[index] + offset, rows[index &+ 1] + offset, turns, ec_factors(factors + index, 2))
                index &+= 2
            }
            if index < end {
                let last = rows[index] + offset
                sums.add(last, last, turns, ec_some_factors(factors + index, 2, 1))
            }
            let target = Target(self, position)
            let width = 32 * 8 / Codes.bits
            write(sums.first.turnedColumns(unit), 0, target)
            if Second.vectors > 0 { write(sums.second.turnedColumns(unit), width, target) }
            if Third.vectors > 0 { write(sums.third.turnedColumns(unit), 2 * width, target) }
            if Fourth.vectors > 0 { write(sums.fourth.turnedColumns(unit), 3 * width, target) }
        }
    }

    /// 16 bytes of four rows at a time.
    @inline(__always)
    private func sumFours<Sums: CodeSums>(_: Sums.Type) {
        let (rows, factors, offset, prefetchEnd) = (rows, factors, offset, prefetchEnd)
        let turns = ec_turns(4, Int32(16 / Codes.bits))
        for position in 0..<count {
            var sums = Sums()
            var index = runs[position].start
            let end = runs[position].end
            while index &+ 4 <= end {
                if index < prefetchEnd { prefetch(index, 4, bytes: 16) }
                let words = ec_words_of_four(
                    rows[index] + offset, rows[index &+ 1] + offset, rows[index &+ 2] + offset,
                    rows[index &+ 3] + offset, turns)
                sums.add(words, ec_factors(factors + index, 4))
                index &+= 4
            }
            if index < end {
                let last = end &- 1
                let words = ec_words_of_four(
                    rows[index] + offset, rows[min(index &+ 1, last)] + offset, rows[min(index &+ 2, last)] + offset,
                    rows[last] + offset, turns)
                sums.add(words, ec_some_factors(factors + index, 4, Int32(truncatingIfNeeded: end &- index)))
            }
            sums.fold { SIMD16(lowHalf: $0.lowHalf &+ $0.highHalf, highHalf: SIMD8()) }
            write(sums.turnedHalf(unit), 0, Target(self, position))
        }
    }

    /// 8 bytes of eight rows at a time.
    @inline(__always)
    private func sumEights<Sums: CodeSums>(_: Sums.Type) {
        let (rows, factors, prefetchEnd) = (rows, factors, prefetchEnd)
        for position in 0..<count {
            var sums = Sums()
            var index = runs[position].start
            let end = runs[position].end
            while index &+ 8 <= end {
                if index < prefetchEnd { prefetch(index, 8, bytes: 8) }
                let words = (rows + index).withMemoryRebound(to: UnsafeRawPointer?.self, capacity: 8) {
                    ec_words_of_eight($0, Int64(offset))
                }
                sums.add(words, ec_factors(factors + index, 8))
                index &+= 8
            }
            if index < end {
                withUnsafeTemporaryAllocation(of: UnsafeRawPointer?.self, capacity: 8) { last in
                    guard let last = last.baseAddress else { return }
                    for lane in 0..<8 { last[lane] = rows[min(index &+ lane, end &- 1)] }
                    sums.add(
                        ec_words_of_eight(last, Int64(offset)),
                        ec_some_factors(factors + index, 8, Int32(truncatingIfNeeded: end &- index)))
                }
            }
            sums.fold {
                let eight = $0.lowHalf &+ $0.highHalf
                return SIMD16(
                    lowHalf: SIMD8(lowHalf: eight.lowHalf &+ eight.highHalf, highHalf: SIMD4()), highHalf: SIMD8())
            }
            write(sums.columns(unit), 0, Target(self, position))
        }
    }

    /// Asks for cache lines of rows ahead: of the bytes that a tile reads, some of which may be past the row's last one,
    /// and with the last columns of their parameters.
    @inline(__always)
    private func prefetch(_ index: Int, _ count: Int, bytes: Int) {
        let end = columns &* Codes.bits <= bytes &* 8 ? max(parameterOffset &+ 4, offset &+ bytes) : 0
        for place in index..<index &+ count {
            let row = rows[min(place, prefetchEnd &- 1) &+ distance]
            for line in 0..<(bytes &+ 63) &>> 6 { prefetching.ask(row + (offset &+ 64 &* line)) }
            if end > 0 { prefetching.ask(row + (end &- 1)) }
        }
    }

    /// Where the sums of a run go.
    private struct Target {
        let output: UnsafeMutablePointer<Float>
        let replaces: Bool
        let bias: Float

        @inline(__always)
        init(_ tile: CodeTile, _ position: Int) {
            output = tile.runs[position].output + tile.firstColumn
            replaces = tile.runs[position].replaces
            bias = tile.biases[position]
        }
    }

    /// Writes up to 128 columns, or adds to them.
    @inline(__always)
    private func write(_ sums: ColumnSums, _ offset: Int, _ target: Target) {
        write(sums.chunk0, offset, target)
        write(sums.chunk1, offset &+ 16, target)
        guard Codes.bits < 8 else { return }
        write(sums.chunk2, offset &+ 32, target)
        write(sums.chunk3, offset &+ 48, target)
        guard Codes.bits < 4 else { return }
        write(sums.chunk4, offset &+ 64, target)
        write(sums.chunk5, offset &+ 80, target)
        write(sums.chunk6, offset &+ 96, target)
        write(sums.chunk7, offset &+ 112, target)
    }

    @inline(__always)
    private func write(_ sum: Floats16, _ offset: Int, _ target: Target) {
        guard offset < columns else { return }
        write16(
            sum + Floats16(repeating: target.bias), to: target.output + offset, count: columns &- offset,
            replaces: target.replaces)
    }
}

/// Sums of the codes of 32 words, pairs of which make the lanes.
protocol CodeSums {
    init()
    /// How many vectors of words this sums: one, or none.
    static var vectors: Int { get }
    mutating func add(_ words: SIMD16<UInt32>, _ factors: SIMD16<UInt32>)
    /// Replaces the sums of each code.
    mutating func fold(_ fold: (SIMD16<Int32>) -> SIMD16<Int32>)
    /// The sums in the order of columns, of words in their own order.
    func columns(_ unit: Float) -> ColumnSums
    /// The same, of words as they are turned for two rows, and of half as many as they are for four.
    func turnedColumns(_ unit: Float) -> ColumnSums
    func turnedHalf(_ unit: Float) -> ColumnSums
}

extension CodeSums {
    @inline(__always)
    func turnedHalf(_ unit: Float) -> ColumnSums { columns(unit) }
}

/// Sums of up to 128 columns.
struct ColumnSums {
    var chunk0 = Floats16()
    var chunk1 = Floats16()
    var chunk2 = Floats16()
    var chunk3 = Floats16()
    var chunk4 = Floats16()
    var chunk5 = Floats16()
    var chunk6 = Floats16()
    var chunk7 = Floats16()
}

/// Stands for a vector that a tile doesn't have.
private struct NoSums: CodeSums {
    static var vectors: Int { 0 }
    @inline(__always)
    mutating func add(_ words: SIMD16<UInt32>, _ factors: SIMD16<UInt32>) {}
    @inline(__always)
    mutating func fold(_ fold: (SIMD16<Int32>) -> SIMD16<Int32>) {}
    @inline(__always)
    func columns(_ unit: Float) -> ColumnSums { ColumnSums() }
    @inline(__always)
    func turnedColumns(_ unit: Float) -> ColumnSums { ColumnSums() }
}

/// Sums of up to four vectors of columns that lie side by side.
private struct SumsSideBySide<First: CodeSums, Second: CodeSums, Third: CodeSums, Fourth: CodeSums> {
    var first = First()
    var second = Second()
    var third = Third()
    var fourth = Fourth()

    /// Adds 32 bytes a vector, of two rows.
    @inline(__always)
    mutating func add(
        _ a: UnsafeRawPointer, _ b: UnsafeRawPointer, _ turns: SIMD16<UInt32>, _ factors: SIMD16<UInt32>
    ) {
        first.add(ec_words_of_two(a, b, turns), factors)
        if Second.vectors > 0 { second.add(ec_words_of_two(a + 32, b + 32, turns), factors) }
        if Third.vectors > 0 { third.add(ec_words_of_two(a + 64, b + 64, turns), factors) }
        if Fourth.vectors > 0 { fourth.add(ec_words_of_two(a + 96, b + 96, turns), factors) }
    }
}

private struct ByteSums: CodeSums {
    static var vectors: Int { 1 }
    private var sum0 = SIMD16<Int32>()
    private var sum1 = SIMD16<Int32>()

    @inline(__always)
    mutating func add(_ words: SIMD16<UInt32>, _ factors: SIMD16<UInt32>) {
        sum0 = ec_add_products(sum0, words & 0x00ff_00ff, factors)
        sum1 = ec_add_products(sum1, (words &>> 8) & 0x00ff_00ff, factors)
    }

    @inline(__always)
    mutating func fold(_ fold: (SIMD16<Int32>) -> SIMD16<Int32>) {
        sum0 = fold(sum0)
        sum1 = fold(sum1)
    }

    @inline(__always)
    func columns(_ unit: Float) -> ColumnSums {
        let all = interleaved(ec_scaled(sum0, unit), ec_scaled(sum1, unit))
        return ColumnSums(chunk0: all.lowHalf, chunk1: all.highHalf)
    }

    @inline(__always)
    func turnedColumns(_ unit: Float) -> ColumnSums {
        let (a, b) = (ec_scaled(sum0, unit), ec_scaled(sum1, unit))
        return ColumnSums(chunk0: ec_columns_of_two(a, b, 0), chunk1: ec_columns_of_two(a, b, 1))
    }
}

private struct NibbleSums: CodeSums {
    static var vectors: Int { 1 }
    private var sum0 = SIMD16<Int32>()
    private var sum1 = SIMD16<Int32>()
    private var sum2 = SIMD16<Int32>()
    private var sum3 = SIMD16<Int32>()

    @inline(__always)
    mutating func add(_ words: SIMD16<UInt32>, _ factors: SIMD16<UInt32>) {
        sum0 = ec_add_products(sum0, words & 0x000f_000f, factors)
        sum1 = ec_add_products(sum1, words & 0x00f0_00f0, factors)
        let upper = words &>> 8
        sum2 = ec_add_products(sum2, upper & 0x000f_000f, factors)
        sum3 = ec_add_products(sum3, upper & 0x00f0_00f0, factors)
    }

    @inline(__always)
    mutating func fold(_ fold: (SIMD16<Int32>) -> SIMD16<Int32>) {
        sum0 = fold(sum0)
        sum1 = fold(sum1)
        sum2 = fold(sum2)
        sum3 = fold(sum3)
    }

    @inline(__always)
    func columns(_ unit: Float) -> ColumnSums {
        let even = interleaved(ec_scaled(sum0, unit), ec_scaled(sum2, unit))
        let odd = interleaved(ec_scaled(sum1, unit / 16), ec_scaled(sum3, unit / 16))
        let low = interleaved(even.lowHalf, odd.lowHalf)
        let high = interleaved(even.highHalf, odd.highHalf)
        return ColumnSums(chunk0: low.lowHalf, chunk1: low.highHalf, chunk2: high.lowHalf, chunk3: high.highHalf)
    }

    @inline(__always)
    func turnedColumns(_ unit: Float) -> ColumnSums {
        let (a, b) = (ec_scaled(sum0, unit), ec_scaled(sum1, unit / 16))
        let (c, d) = (ec_scaled(sum2, unit), ec_scaled(sum3, unit / 16))
        return ColumnSums(
            chunk0: ec_columns_of_four(a, b, c, d, 0), chunk1: ec_columns_of_four(a, b, c, d, 1),
            chunk2: ec_columns_of_four(a, b, c, d, 2), chunk3: ec_columns_of_four(a, b, c, d, 3))
    }
}

private struct BitPairSums: CodeSums {
    static var vectors: Int { 1 }
    private var sum0 = SIMD16<Int32>()
    private var sum1 = SIMD16<Int32>()
    private var sum2 = SIMD16<Int32>()
    private var sum3 = SIMD16<Int32>()
    private var sum4 = SIMD16<Int32>()
    private var sum5 = SIMD16<Int32>()
    private var sum6 = SIMD16<Int32>()
    private var sum7 = SIMD16<Int32>()

    @inline(__always)
    mutating func add(_ words: SIMD16<UInt32>, _ factors: SIMD16<UInt32>) {
        sum0 = ec_add_products(sum0, words & 0x0003_0003, factors)
        sum1 = ec_add_products(sum1, words & 0x000c_000c, factors)
        sum2 = ec_add_products(sum2, words & 0x0030_0030, factors)
        sum3 = ec_add_products(sum3, words & 0x00c0_00c0, factors)
        let upper = words &>> 8
        sum4 = ec_add_products(sum4, upper & 0x0003_0003, factors)
        sum5 = ec_add_products(sum5, upper & 0x000c_000c, factors)
        sum6 = ec_add_products(sum6, upper & 0x0030_0030, factors)
        sum7 = ec_add_products(sum7, upper & 0x00c0_00c0, factors)
    }

    @inline(__always)
    mutating func fold(_ fold: (SIMD16<Int32>) -> SIMD16<Int32>) {
        sum0 = fold(sum0)
        sum1 = fold(sum1)
        sum2 = fold(sum2)
        sum3 = fold(sum3)
        sum4 = fold(sum4)
        sum5 = fold(sum5)
        sum6 = fold(sum6)
        sum7 = fold(sum7)
    }

    @inline(__always)
    func columns(_ unit: Float) -> ColumnSums {
        let codes04 = interleaved(ec_scaled(sum0, unit), ec_scaled(sum4, unit))
        let codes26 = interleaved(ec_scaled(sum2, unit / 16), ec_scaled(sum6, unit / 16))
        let codes15 = interleaved(ec_scaled(sum1, unit / 4), ec_scaled(sum5, unit / 4))
        let codes37 = interleaved(ec_scaled(sum3, unit / 64), ec_scaled(sum7, unit / 64))
        let evenLow = interleaved(codes04.lowHalf, codes26.lowHalf)
        let oddLow = interleaved(codes15.lowHalf, codes37.lowHalf)
        let evenHigh = interleaved(codes04.highHalf, codes26.highHalf)
        let oddHigh = interleaved(codes15.highHalf, codes37.highHalf)
        let first = interleaved(evenLow.lowHalf, oddLow.lowHalf)
        let second = interleaved(evenLow.highHalf, oddLow.highHalf)
        let third = interleaved(evenHigh.lowHalf, oddHigh.lowHalf)
        let fourth = interleaved(evenHigh.highHalf, oddHigh.highHalf)
        return ColumnSums(
            chunk0: first.lowHalf, chunk1: first.highHalf, chunk2: second.lowHalf, chunk3: second.highHalf,
            chunk4: third.lowHalf, chunk5: third.highHalf, chunk6: fourth.lowHalf, chunk7: fourth.highHalf)
    }

    @inline(__always)
    func turnedColumns(_ unit: Float) -> ColumnSums {
        @inline(__always)
        func part(_ part: Int32) -> Floats16 {
            let (low, high) = fours(part / 2, unit)
            return ec_columns_of_eight(low, high, part)
        }
        return ColumnSums(
            chunk0: part(0), chunk1: part(1), chunk2: part(2), chunk3: part(3), chunk4: part(4), chunk5: part(5),
            chunk6: part(6), chunk7: part(7))
    }

    /// The sums of eight words as they are turned for four rows.
    @inline(__always)
    func turnedHalf(_ unit: Float) -> ColumnSums {
        @inline(__always)
        func part(_ part: Int32) -> Floats16 {
            let (low, high) = fours(EC_WHOLE_SUMS_512 != 0 ? part : part / 2, unit)
            return ec_columns_of_eight_words(low, high, part)
        }
        return ColumnSums(chunk0: part(0), chunk1: part(1), chunk2: part(2), chunk3: part(3))
    }

    /// A part of the first and of the last four codes of each word.
    @inline(__always)
    private func fours(_ part: Int32, _ unit: Float) -> (low: Floats16, high: Floats16) {
        (
            ec_columns_of_four(
                ec_scaled(sum0, unit), ec_scaled(sum1, unit / 4), ec_scaled(sum2, unit / 16),
                ec_scaled(sum3, unit / 64), part),
            ec_columns_of_four(
                ec_scaled(sum4, unit), ec_scaled(sum5, unit / 4), ec_scaled(sum6, unit / 16),
                ec_scaled(sum7, unit / 64), part)
        )
    }
}
