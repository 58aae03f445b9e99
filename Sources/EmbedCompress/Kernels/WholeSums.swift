/// Pooled sums of rows of 2-, 4- and 8-bit codes with f16 scales, in whole numbers.
///
/// Codes are taken out of 16-bit words by masks, two rows side by side, and multiplied by both rows' scales and summed
/// in one instruction; nothing is converted before the sums are complete. They are exact, so that a sum doesn't depend on
/// the order of the rows of a run, and every instruction set gives the same bits. What a mask leaves in a word's upper
/// bits counts 4, 16 or 64 times, which is undone at the end.
enum WholeSums<Codes: CodeFormat> {
    /// Segments of fewer rows are summed in floats, which is quicker for so few.
    private static var leastRows: Int { 4 }

    static func accumulate(
        _ memory: RowMemory, groups: [ColumnGroup], _ block: BagBlock, context: LookupContext
    ) {
        RowKernels<Codes, HalfScaled>.withRows(memory, nil, block.ids, distance: RunScales.capacity, context) {
            rows, _ in
            withUnsafeTemporaryAllocation(of: UInt32.self, capacity: RunScales.space + blockCapacity) { space in
                guard let space = space.baseAddress else { return }
                let floats = UnsafeMutableRawPointer(space + RunScales.space).assumingMemoryBound(to: Float.self)
                let pass = RowKernels<Codes, HalfScaled>.Pass(
                    memory: memory, block: block, rows: rows, places: rows, scales: floats)
                groups.withUnsafeBufferPointer { groups in
                    for group in groups {
                        let upcoming = Upcoming(
                            prefetching: memory.prefetching, rows: rows,
                            end: memory.isWorthPrefetching ? block.ids.count : 0)
                        for index in 0..<block.segmentCount {
                            add(block.segments[index], group, rows, upcoming, pass, space)
                        }
                    }
                }
            }
        }
    }

    /// Rows that are asked for while others are summed: each tile asks for its own part of them.
    private struct Upcoming {
        let prefetching: Prefetching
        let rows: UnsafePointer<UnsafeRawPointer>
        /// After the last row that is to be asked for.
        let end: Int

        @inline(__always)
        func prefetch(after index: Int, count: Int, offset: Int) {
            let first = index &+ RunScales.capacity
            if first &+ count <= end {
                for next in 0..<count { prefetching.ask(rows[first &+ next] + offset) }
            }
        }
    }

    private static func add(
        _ segment: Segment, _ group: ColumnGroup, _ rows: UnsafePointer<UnsafeRawPointer>, _ upcoming: Upcoming,
        _ pass: RowKernels<Codes, HalfScaled>.Pass, _ space: UnsafeMutablePointer<UInt32>
    ) {
        guard segment.end &- segment.start >= leastRows else {
            upcoming.prefetch(after: segment.start, count: segment.end &- segment.start, offset: group.offset)
            return pass.accumulate(Exact.self, segment, group, prefetchEnd: 0)
        }
        var part = segment
        var start = segment.start
        while start < segment.end {
            part.start = start
            part.end = min(start &+ RunScales.capacity, segment.end)
            var scales = RunScales(
                upcoming.prefetching,
                rows + start, offset: group.parameterOffset, count: part.end &- start,
                ahead: max(min(upcoming.end &- start &- RunScales.capacity, RunScales.capacity), 0), space: space)
            if scales.areFinite {
                add(part, group, rows, upcoming, &scales)
            } else {
                upcoming.prefetch(after: start, count: part.end &- start, offset: group.offset)
                pass.accumulate(Exact.self, part, group, prefetchEnd: 0)
            }
            part.replaces = false
            start = part.end
        }
    }

    /// Adds a run of rows.
    @inline(__always)
    private static func add(
        _ segment: Segment, _ group: ColumnGroup, _ rows: UnsafePointer<UnsafeRawPointer>, _ upcoming: Upcoming,
        _ scales: inout RunScales
    ) {
        var replaces = segment.replaces
        var bias = scales.biases
        repeat {
            let unit = scales.makeValues()
            var column = 0
            while column < group.columns {
                let left = group.columns &- column
                let run = RunOfCodes<Codes>(
                    prefetching: upcoming.prefetching,
                    rows: rows + segment.start, count: segment.end &- segment.start,
                    offset: group.offset &+ column &* Codes.bits / 8, factors: scales.values,
                    upcoming: max(
                        min(upcoming.end &- segment.start &- RunScales.capacity, segment.end &- segment.start), 0),
                    target: segment.output + (group.firstColumn &+ column), columns: left, unit: unit, bias: bias,
                    replaces: replaces)
                column &+= run.sum()
            }
            replaces = false
            bias = 0
        } while scales.hasMore
    }
}
