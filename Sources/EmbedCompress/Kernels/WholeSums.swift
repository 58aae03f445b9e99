/// Pooled sums of rows of 2-, 4- and 8-bit codes with f16 scales, in whole numbers.
///
/// Codes are taken out of 16-bit words by masks, two rows side by side, and multiplied by both rows' scales and summed
/// in one instruction; nothing is converted before the sums are complete. They are exact, so that a sum doesn't depend on
/// the order of the rows of a run, and every instruction set gives the same bits. What a mask leaves in a word's upper
/// bits counts 4, 16 or 64 times, which is undone at the end.
///
/// Scales are read and made whole for all rows of a block at once, where their powers allow; else for each run of a
/// segment's rows. Which, makes no difference to the sums.
enum WholeSums<Codes: CodeFormat> {
    /// Segments of fewer rows are summed in floats, which is quicker for so few.
    private static var leastRows: Int { 4 }
    /// Longer rows are found by the processor's own prefetching.
    private static var longestAskedFor: Int { 2048 }

    static func accumulate(_ memory: RowPlaces, groups: [ColumnGroup], _ block: BagBlock) {
        let count = block.ids.count
        let pointers = block.space.pointers
        memory.locate(block.ids, pointers)
        let asks = memory.isWorthPrefetching && memory.rowBytes <= longestAskedFor
        let distance = memory.prefetching.isFar ? count : memory.prefetchDistance
        if asks, !block.ids.wereAhead {
            for index in 0..<min(distance, count) { memory.prefetch(pointers[index]) }
        }
        let rows = UnsafePointer(pointers)
        let pass = RowKernels<Codes, HalfScaled>.Pass(
            memory: memory, block: block, rows: rows, places: rows, scales: block.space.floats)
        for group in groups {
            let words = block.space.words
            let offset = group.parameterOffset
            for index in 0..<count {
                words[index] = UInt32(littleEndian: (rows[index] + offset).loadUnaligned(as: UInt32.self))
            }
            let run = Run(
                pass: pass, group: group, prefetching: memory.prefetching, distance: distance,
                end: asks ? count &+ block.ids.ahead &- distance : 0)
            var scales = RunScales(words, count: count, factors: block.space.factors)
            guard scales.fitOneWindow else {
                for index in 0..<block.segmentCount { run.addInWindows(block.segments[index]) }
                continue
            }
            let unit = scales.makeFactors()
            for index in 0..<block.segmentCount { run.add(block.segments[index], unit) }
        }
    }

    /// What the loops over a group's segments share.
    private struct Run {
        let pass: RowKernels<Codes, HalfScaled>.Pass
        let group: ColumnGroup
        let prefetching: Prefetching
        /// How many rows ahead of its use a row is asked for.
        let distance: Int
        /// The rows before this one ask for another one.
        let end: Int

        /// Adds a segment whose factors there are.
        @inline(__always)
        func add(_ segment: Segment, _ unit: Float) {
            guard segment.end &- segment.start >= leastRows else { return addFew(segment) }
            let space = pass.block.space
            forEachRun(segment) { part in
                let bias = RunScales.sumOfBiases(space.words + part.start, part.end &- part.start)
                add(part, UnsafePointer(space.factors + part.start), unit, bias)
            }
        }

        /// Adds a segment whose scales take more than one window, or are not finite.
        func addInWindows(_ segment: Segment) {
            guard segment.end &- segment.start >= leastRows else { return addFew(segment) }
            let space = pass.block.space
            forEachRun(segment) { part in
                let count = part.end &- part.start
                let words = space.words + part.start
                var scales = RunScales(words, count: count, factors: space.factors)
                guard scales.areFinite else { return addFew(part) }
                var window = part
                var bias = RunScales.sumOfBiases(words, count)
                repeat {
                    let unit = scales.makeFactors()
                    add(window, UnsafePointer(space.factors), unit, bias)
                    window.replaces = false
                    bias = 0
                } while scales.hasMore
            }
        }

        private func addFew(_ segment: Segment) {
            pass.accumulate(Exact.self, segment, group, prefetchEnd: 0)
        }

        @inline(__always)
        private func forEachRun(_ segment: Segment, _ body: (Segment) -> Void) {
            var part = segment
            while part.start < segment.end {
                part.end = min(part.start &+ RunScales.longestSum, segment.end)
                body(part)
                part.start = part.end
                part.replaces = false
            }
        }

        @inline(__always)
        private func add(_ part: Segment, _ factors: UnsafePointer<UInt16>, _ unit: Float, _ bias: Float) {
            let rows = pass.rows + part.start
            var column = 0
            while column < group.columns {
                let run = RunOfCodes<Codes>(
                    rows: rows, count: part.end &- part.start, offset: group.offset &+ column &* Codes.bits / 8,
                    factors: factors, prefetching: prefetching, next: rows + distance,
                    upcoming: min(end, part.end) &- part.start,
                    parameterOffset: group.parameterOffset, target: part.output + (group.firstColumn &+ column),
                    columns: group.columns &- column, unit: unit, bias: bias, replaces: part.replaces)
                column &+= run.sum()
            }
        }
    }
}
