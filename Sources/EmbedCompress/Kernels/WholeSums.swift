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

    static func accumulate(_ memory: RowPlaces, groups: ColumnGroups, _ block: BagBlock) {
        let count = block.ids.count
        let space = block.space
        memory.locate(block.ids, space.pointers)
        let rows = UnsafePointer(space.pointers)
        let asks = memory.isWorthPrefetching && memory.rowBytes <= longestAskedFor
        let distance = memory.prefetching.isFar ? count : memory.prefetchDistance
        if asks, !block.ids.wereAhead {
            for index in 0..<min(distance, count) { memory.prefetch(rows[index]) }
        }
        let floats = RowKernels<Codes, HalfScaled>.Pass(
            memory: memory, block: block, rows: rows, places: rows, scales: space.floats,
            reach: memory.rowBytes)
        for group in groups {
            let words = space.words
            let offset = group.parameterOffset
            for index in 0..<count {
                words[index] = UInt32(littleEndian: (rows[index] + offset).loadUnaligned(as: UInt32.self))
            }
            let pass = Pass(
                floats: floats, group: group, rows: rows, space: space, prefetching: memory.prefetching,
                distance: distance, prefetchEnd: asks ? count &+ block.ids.ahead &- distance : 0)
            var scales = RunScales(words, count: count, factors: space.factors)
            if scales.fitOneWindow {
                pass.add(block, unit: scales.makeFactors())
            } else {
                for index in 0..<block.segmentCount { pass.addInWindows(block.segments[index]) }
            }
        }
    }

    /// What the loops over a group's segments share.
    private struct Pass {
        let floats: RowKernels<Codes, HalfScaled>.Pass
        let group: ColumnGroup
        let rows: UnsafePointer<UnsafeRawPointer>
        let space: KernelSpace
        let prefetching: Prefetching
        /// How many rows ahead of its use a row is asked for.
        let distance: Int
        /// The rows before this one ask for another one.
        let prefetchEnd: Int

        /// Adds a block's segments, whose factors there are.
        @inline(__always)
        func add(_ block: BagBlock, unit: Float) {
            var runs = 0
            for index in 0..<block.segmentCount {
                let segment = block.segments[index]
                if segment.end &- segment.start < leastRows {
                    addFew(segment)
                } else {
                    forEachRun(segment) { run in
                        space.runs[runs] = run
                        space.biases[runs] = sumOfBiases(run)
                        runs &+= 1
                    }
                }
            }
            // The rows of one run stay in the first-level cache from one tile of columns to the next.
            let together = group.columns <= CodeTile<Codes>.widest ? runs : 1
            var first = 0
            while first < runs {
                add(runs: first..<first &+ together, factors: space.factors, unit)
                first &+= together
            }
        }

        /// Adds a segment whose scales take more than one window, or are not finite.
        func addInWindows(_ segment: Segment) {
            guard segment.end &- segment.start >= leastRows else { return addFew(segment) }
            forEachRun(segment) { run in
                var scales = RunScales(
                    space.words + run.start, count: run.end &- run.start, factors: space.factors)
                guard scales.areFinite else { return addFew(run) }
                space.runs[0] = run
                space.biases[0] = sumOfBiases(run)
                repeat {
                    let unit = scales.makeFactors()
                    add(runs: 0..<1, factors: space.factors - run.start, unit)
                    space.runs[0].replaces = false
                    space.biases[0] = 0
                } while scales.hasMore
            }
        }

        @inline(__always)
        private func sumOfBiases(_ run: Segment) -> Float {
            RunScales.sumOfBiases(space.words + run.start, run.end &- run.start)
        }

        private func addFew(_ segment: Segment) {
            for index in segment.start..<max(min(segment.end, prefetchEnd), segment.start) {
                floats.memory.prefetch(rows[index &+ distance])
            }
            floats.accumulate(Exact.self, segment, group, prefetchEnd: 0)
        }

        @inline(__always)
        private func forEachRun(_ segment: Segment, _ body: (Segment) -> Void) {
            var run = segment
            while run.start < segment.end {
                run.end = min(run.start &+ RunScales.longestSum, segment.end)
                body(run)
                run.start = run.end
                run.replaces = false
            }
        }

        /// Adds some of the space's runs, whose biases' sums are there too.
        @inline(__always)
        private func add(runs: Range<Int>, factors: UnsafePointer<UInt16>, _ unit: Float) {
            var column = 0
            while column < group.columns {
                let tile = CodeTile<Codes>(
                    rows: rows, runs: UnsafePointer(space.runs + runs.lowerBound), count: runs.count,
                    biases: UnsafePointer(space.biases + runs.lowerBound), factors: factors, unit: unit,
                    offset: group.offset &+ column &* Codes.bits / 8,
                    firstColumn: group.firstColumn &+ column, columns: group.columns &- column,
                    parameterOffset: group.parameterOffset, prefetching: prefetching, distance: distance,
                    prefetchEnd: prefetchEnd)
                column &+= tile.sum()
            }
        }
    }
}
