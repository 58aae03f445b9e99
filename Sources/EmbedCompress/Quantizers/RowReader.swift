/// A block of rows as floats, each readable in chunks of sixteen.
struct FloatBlock {
    let base: UnsafePointer<Float>
    let stride: Int
    /// Whether others may write to them: who needs a value twice keeps it.
    var isChanging = false

    @inline(__always)
    func row(_ index: Int) -> UnsafePointer<Float> { base + index * stride }

    /// The rows from `index` on.
    func from(_ index: Int) -> FloatBlock { FloatBlock(base: row(index), stride: stride, isChanging: isChanging) }
}

/// Reads a table's rows as floats, block by block and in parallel, whatever the table is made of.
///
/// A block does not change while it is worked with: rows of memory that somebody else may write to, such as a NumPy array
/// or the mapped checkpoint of a model that is being trained, are copied first. Two readings of a row may still differ, so
/// that what one has counted is a bound that the next must keep to.
enum RowReader {
    /// Rows in a block: some 64 KiB of floats.
    static func blockRows(dimension: Int) -> Int { min(max(16_384 / dimension, 1), blockCapacity) }

    /// Runs of some 32 MiB of floats that cover every row of a table, in order. They start where blocks do, so that rows
    /// meet in the batches that they meet in within the whole table.
    static func runs(of source: any Node) -> some Sequence<Range<Int>> {
        let (rows, block) = (source.rows, blockRows(dimension: source.dimension))
        let runRows = max((32 << 20) / (4 * source.widestDimension * block), 1) * block
        return stride(from: 0, to: rows, by: runRows).lazy.map { $0..<min($0 + runRows, rows) }
    }

    /// Calls `body` with blocks that cover every row of `source`, in no particular order.
    ///
    /// - Parameter takesChanging: Whether `body` minds ``FloatBlock/isChanging`` itself.
    static func forEachBlock(
        of source: any Node, takesChanging: Bool = false, progress: ProgressCounter,
        _ body: (_ first: Int, _ count: Int, _ values: FloatBlock) throws -> Void
    ) throws {
        let context = LookupContext(onInvalid: .raise)
        let grain = blockRows(dimension: source.dimension)
        try Parallel.forEach(count: source.rows, grain: grain, progress: progress) { range in
            try read(range, of: source, takesChanging, context) { try body(range.lowerBound, range.count, $0) }
        }
        _ = try context.finish()
    }

    /// The same rows of two tables.
    static func forEachBlock(
        of source: any Node, and other: (any Node)?, takesChanging: Bool = false, progress: ProgressCounter,
        _ body: (_ first: Int, _ count: Int, _ values: FloatBlock, _ others: FloatBlock?) throws -> Void
    ) throws {
        guard let other else {
            return try forEachBlock(of: source, takesChanging: takesChanging, progress: progress) {
                try body($0, $1, $2, nil)
            }
        }
        let context = LookupContext(onInvalid: .raise)
        try forEachBlock(of: source, takesChanging: takesChanging, progress: progress) { first, count, values in
            try read(first..<first + count, of: other, false, context) { try body(first, count, values, $0) }
        }
        _ = try context.finish()
    }

    /// Some rows of a table, in the block of another that the caller works with.
    static func read(_ range: Range<Int>, of source: any Node, _ body: (FloatBlock) throws -> Void) throws {
        let context = LookupContext(onInvalid: .raise)
        try read(range, of: source, false, context, body)
        _ = try context.finish()
    }

    private static func read(
        _ range: Range<Int>, of source: any Node, _ takesChanging: Bool, _ context: LookupContext,
        _ body: (FloatBlock) throws -> Void
    ) throws {
        if let dense = source as? Dense, let stride = dense.floatStride {
            if let direct = dense.floats(range, isChanging: takesChanging) { return try body(direct) }
            return try Scratch.with(range.count * stride + 16, of: Float.self) { base in
                dense.copyFloats(range, to: base)
                try body(FloatBlock(base: base, stride: stride))
            }
        }
        // Whole vectors, so that reading the last columns of the last row stays inside.
        let stride = (source.dimension + 15) / 16 * 16
        try Scratch.with(range.count * stride + 16, of: Float.self) { base in
            try Scratch.with(range.count, of: Int64.self) { ids in
                for index in 0..<range.count { ids[index] = Int64(range.lowerBound + index) }
                source.gather(
                    IDBlock(ids: ids, count: range.count), into: RowBlock(base: base, stride: stride),
                    context: context)
                try body(FloatBlock(base: base, stride: stride))
            }
        }
    }
}

extension Node {
    /// Columns of the widest rows that are read: those of an inner table may be wider than what a projection makes.
    fileprivate var widestDimension: Int {
        children.reduce(dimension) { max($0, ($1.expression as? any Node)?.widestDimension ?? 0) }
    }
}
