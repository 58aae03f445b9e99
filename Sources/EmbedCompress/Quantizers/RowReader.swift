/// A block of rows as floats, each readable in chunks of sixteen.
struct FloatBlock {
    let base: UnsafePointer<Float>
    let stride: Int

    @inline(__always)
    func row(_ index: Int) -> UnsafePointer<Float> { base + index * stride }
}

/// Reads a table's rows as floats, block by block and in parallel, whatever the table is made of.
enum RowReader {
    /// Rows in a block: some 64 KiB of floats.
    private static func blockRows(dimension: Int) -> Int { min(max(16_384 / dimension, 1), blockCapacity) }

    /// Calls `body` with blocks that cover every row of `source`, in no particular order.
    static func forEachBlock(
        of source: any Node, progress: ProgressCounter,
        _ body: (_ first: Int, _ count: Int, _ values: FloatBlock) throws -> Void
    ) throws {
        let dimension = source.dimension
        // Whole vectors, so that reading the last columns of the last row stays inside.
        let stride = (dimension + 15) / 16 * 16
        let context = LookupContext(onInvalid: .raise)
        try Parallel.forEach(count: source.rows, grain: blockRows(dimension: dimension), progress: progress) { range in
            try withUnsafeTemporaryAllocation(of: Float.self, capacity: range.count * stride + 16) { values in
                try withUnsafeTemporaryAllocation(of: Int64.self, capacity: range.count) { ids in
                    guard let base = values.baseAddress, let ids = ids.baseAddress else { return }
                    for index in 0..<range.count { ids[index] = Int64(range.lowerBound + index) }
                    source.gather(
                        IDBlock(ids: ids, count: range.count), into: RowBlock(base: base, stride: stride),
                        context: context)
                    try body(range.lowerBound, range.count, FloatBlock(base: base, stride: stride))
                }
            }
        }
        _ = try context.finish()
    }
}
