/// Loops over all of an array that may hold anything. Of several faults the first is found, whatever the number of threads.
struct ArrayCheck {
    private let progress: ProgressCounter
    private let told = AtomicInt()

    init(progress: ProgressCounter) { self.progress = progress }

    /// From any thread.
    func advance(by bytes: Int) throws {
        told.add(bytes)
        progress.advance(by: bytes)
        try progress.report()
    }

    /// Counts what is left of the node's bytes, which nothing has to be checked in.
    func finish(_ ownBytes: Int) throws { try advance(by: max(ownBytes - told.value, 0)) }

    /// Entries between two looks at whether to stop.
    private static let grain = 1 << 16

    /// Calls `body` with ranges that cover `0 ..< count`, from many threads.
    ///
    /// - Parameter byteCount: Of what the entries are read from.
    func forEach(count: Int, byteCount: Int, _ body: (Range<Int>) throws -> Void) throws {
        guard count > 0 else { return }
        let grain = max(Self.grain / max(byteCount / count, 1) * 16, 1)
        try Parallel.forEach(count: count, grain: grain, progress: progress.watch) { range in
            try body(range)
            try advance(
                by: Checked.share(of: byteCount, range.upperBound, of: count)
                    - Checked.share(of: byteCount, range.lowerBound, of: count))
        }
    }

    /// Calls `body` with each row of a store.
    func forEachRow(of memory: RowMemory, _ body: (_ row: Int, _ place: UnsafeRawPointer) throws -> Void) throws {
        let (start, rowBytes) = (memory.bytes.pointer, memory.rowBytes)
        try withExtendedLifetime(memory) {
            try forEach(count: memory.rows, byteCount: memory.bytes.count) { range in
                for row in range { try body(row, start + row * rowBytes) }
            }
        }
    }

    /// Checks numbers of which each must be finite.
    func checkFinite(_ bytes: Bytes, _ type: ScaleType, called name: String) throws {
        let numbers = NumberArray(bytes, type: type)
        try withExtendedLifetime(bytes.storage) {
            try forEach(count: numbers.count, byteCount: bytes.count) { range in
                for index in range where !numbers.places[index].isFinite {
                    throw EmbedCompressError.format(.notFinite(place: "number \(index) of \(name)"))
                }
            }
        }
    }
}
