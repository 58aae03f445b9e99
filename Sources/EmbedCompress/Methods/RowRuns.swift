/// Reads a table's rows in order, run by run, for sums that grow with rows: memory does not, and what a mapped file has
/// brought into memory is let go of after each run.
enum RowRuns {
    /// Floats of a run, and the fewest rows.
    private static let runFloats = 1 << 20
    private static let leastRows = 64

    /// Rows of a run: a number of whole blocks of ``RowReader``, or less than one.
    static func rows(dimension: Int) -> Int { max(runFloats / max(dimension, 1), leastRows) }

    /// Calls `body` with each run, on the calling thread.
    ///
    /// - Parameters:
    ///   - rows: Of a run.
    ///   - progress: Told of rows.
    /// - Returns: The largest magnitude.
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for a value that is not finite.
    @discardableResult
    static func forEach(
        of source: any Node, rows: Int? = nil, progress: ProgressCounter,
        _ body: (_ first: Int, _ count: Int, _ values: FloatBlock) throws -> Void
    ) throws -> Float {
        let dimension = source.dimension
        let step = min(rows ?? Self.rows(dimension: dimension), max(source.rows, 1))
        // Whole vectors, so that reading the last columns of the last row stays inside.
        let stride = (dimension + 15) / 16 * 16
        guard let bytes = Checked.product(step, stride, MemoryLayout<Float>.size) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        let isDirect = source.rows > 0 && (source as? Dense)?.floats(0..<source.rows) != nil
        let memory = Bytes(try ByteStorage.allocate(isDirect ? 0 : bytes, zeroed: false))
        let space = SharedPointer(memory.mutablePointer.assumingMemoryBound(to: Float.self))
        let lock = Lock()
        var largest: Float = 0
        try withExtendedLifetime(memory) {
            for first in Swift.stride(from: 0, to: source.rows, by: step) {
                let run = try source.sliced(first..<min(first + step, source.rows))
                try RowReader.forEachBlock(of: run, progress: progress.watch) { start, count, values in
                    let found = try checkFinite(values, count, dimension, firstRow: first + start)
                    lock.withLock { largest = max(largest, found) }
                    if isDirect { return }
                    for index in 0..<count {
                        (space.base + (start + index) * stride).update(from: values.row(index), count: dimension)
                    }
                }
                let values =
                    (run as? Dense).flatMap { isDirect ? $0.floats(0..<run.rows) : nil }
                    ?? FloatBlock(base: UnsafePointer(space.base), stride: stride)
                try body(first, run.rows, values)
                run.discardPages()
                progress.advance(by: run.rows)
                try progress.report()
            }
        }
        return largest
    }
}
