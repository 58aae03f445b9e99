/// A block of rows as floats, each readable in chunks of sixteen.
struct FloatBlock {
    let base: UnsafePointer<Float>
    let stride: Int

    @inline(__always)
    func row(_ index: Int) -> UnsafePointer<Float> { base + index * stride }

    /// The rows from `index` on.
    func from(_ index: Int) -> FloatBlock { FloatBlock(base: row(index), stride: stride) }
}

/// Reads a table's rows as floats, block by block and in parallel, whatever the table is made of.
enum RowReader {
    /// Rows in a block: some 64 KiB of floats.
    static func blockRows(dimension: Int) -> Int { min(max(16_384 / dimension, 1), blockCapacity) }

    /// Calls `body` with blocks that cover every row of `source`, in no particular order.
    static func forEachBlock(
        of source: any Node, progress: ProgressCounter,
        _ body: (_ first: Int, _ count: Int, _ values: FloatBlock) throws -> Void
    ) throws {
        let context = LookupContext(onInvalid: .raise)
        let grain = blockRows(dimension: source.dimension)
        try Parallel.forEach(count: source.rows, grain: grain, progress: progress) { range in
            try read(range, of: source, context) { try body(range.lowerBound, range.count, $0) }
        }
        _ = try context.finish()
    }

    /// The same rows of two tables.
    static func forEachBlock(
        of source: any Node, and other: (any Node)?, progress: ProgressCounter,
        _ body: (_ first: Int, _ count: Int, _ values: FloatBlock, _ others: FloatBlock?) throws -> Void
    ) throws {
        guard let other else {
            return try forEachBlock(of: source, progress: progress) { try body($0, $1, $2, nil) }
        }
        let context = LookupContext(onInvalid: .raise)
        try forEachBlock(of: source, progress: progress) { first, count, values in
            try read(first..<first + count, of: other, context) { try body(first, count, values, $0) }
        }
        _ = try context.finish()
    }

    private static func read(
        _ range: Range<Int>, of source: any Node, _ context: LookupContext, _ body: (FloatBlock) throws -> Void
    ) throws {
        if let direct = (source as? Dense)?.floats(range) { return try body(direct) }
        // Whole vectors, so that reading the last columns of the last row stays inside.
        let stride = (source.dimension + 15) / 16 * 16
        try withUnsafeTemporaryAllocation(of: Float.self, capacity: range.count * stride + 16) { values in
            try withUnsafeTemporaryAllocation(of: Int64.self, capacity: range.count) { ids in
                guard let base = values.baseAddress, let ids = ids.baseAddress else { return }
                for index in 0..<range.count { ids[index] = Int64(range.lowerBound + index) }
                source.gather(
                    IDBlock(ids: ids, count: range.count), into: RowBlock(base: base, stride: stride),
                    context: context)
                try body(FloatBlock(base: base, stride: stride))
            }
        }
    }
}
