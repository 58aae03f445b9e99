/// The mean of a table's rows, and the values that it comes from.
struct MeanRow {
    let values: [Float]
    let extent: TableExtent
}

/// The mean of a table's rows; zeros if it has none. The same whatever the number of threads.
///
/// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for a value that is not finite.
func meanRow(of source: any Node, progress: ProgressCounter) throws -> MeanRow {
    let dimension = source.dimension
    let blockRows = RowReader.blockRows(dimension: dimension)
    // Sums of blocks are added in order, some blocks at a time.
    let blocks = max(min((1 << 21) / dimension, 256), 1)
    var sums = try [Double](allocating: 0, count: dimension)
    let parts = try ByteStorage.allocate(blocks * dimension * MemoryLayout<Double>.size)
    let partial = parts.base.assumingMemoryBound(to: Double.self)
    let lock = Lock()
    var extent: TableExtent?
    try withExtendedLifetime(parts) {
        for start in stride(from: 0, to: source.rows, by: blocks * blockRows) {
            let run = try source.sliced(start..<min(start + blocks * blockRows, source.rows))
            try RowReader.forEachBlock(of: run, progress: progress) { first, count, values in
                let target = partial + first / blockRows * dimension
                target.update(repeating: 0, count: dimension)
                var found: TableExtent?
                for index in 0..<count {
                    let row = RowValues(base: values.row(index), count: dimension)
                    guard let own = row.extent() else { throw nonFinite(row, row: start + first + index) }
                    let other = TableExtent(row: start + first + index, own.minimum, own.maximum)
                    found = found?.joined(other) ?? other
                    for column in 0..<dimension { target[column] += Double(row.base[column]) }
                }
                lock.withLock { if let found { extent = extent?.joined(found) ?? found } }
            }
            for block in 0..<(run.rows + blockRows - 1) / blockRows {
                for column in 0..<dimension { sums[column] += partial[block * dimension + column] }
            }
            run.discardPages()
        }
    }
    return MeanRow(
        values: sums.map { Float($0 / Double(max(source.rows, 1))) }, extent: extent ?? TableExtent(row: 0, 0, 0))
}
