internal import CEmbedCompress.MatrixProduct

/// The nearest rows of a table to rows of another, by cosine: every query is compared with every row.
///
/// Rows are made as long as 1, and a block of them is multiplied by all queries at once. A score is one sum in the order of
/// the columns, in f32, so results depend neither on blocks nor on threads; of equal scores, the row of the smaller number
/// is nearer. A row of zeros has cosine 0 with all others; one that is not finite is nobody's neighbour. Time is that of
/// `queries x rows x dimension` products, and memory does not grow with the table.
struct NeighbourSearch {
    /// Rows of a block, and most queries of a pass over the table.
    private static let (blockRows, mostQueries) = (96, 512)
    /// Most numbers of the queries of a pass, and about as many of the rows that a thread takes at a time.
    private static let (queryFloats, chunkFloats) = (1 << 22, 1 << 20)

    private let table: any Node
    private let dimension: Int
    private let k: Int

    init(_ table: Table, k: Int) {
        (self.table, dimension, self.k) = (table.root, table.dimension, k)
    }

    /// How often so many queries lead through the table.
    static func passes(queries: Int, dimension: Int) -> Int {
        let most = queriesOfPass(dimension)
        return (queries + most - 1) / most
    }

    private static func queriesOfPass(_ dimension: Int) -> Int {
        max(min(queryFloats / dimension, mostQueries), 1)
    }

    /// For each query the nearest rows of the table but the query's own, best first: `k`, or all there are.
    ///
    /// - Parameters:
    ///   - queries: Rows of `source`, which has as many columns.
    ///   - progress: Counts rows of the table, in every pass.
    func nearest(to queries: [Int], of source: Table, progress: ProgressCounter) throws -> [[Int]] {
        try Allocation.require(Checked.product(queries.count, min(k, table.rows) + 5, MemoryLayout<Int>.stride))
        var found: [[Int]] = []
        let most = Self.queriesOfPass(dimension)
        for start in stride(from: 0, to: queries.count, by: most) {
            let taken = Array(queries[start..<min(start + most, queries.count)])
            let lists = try pass(taken, of: source, progress)
            found += taken.indices.map(lists.rows(of:))
        }
        return found
    }

    private func pass(_ queries: [Int], of source: Table, _ progress: ProgressCounter) throws -> NearestRows {
        let columns = try Self.columns(of: queries, source)
        let found = try NearestRows(of: queries, k: k)
        let lock = Lock()
        let context = LookupContext(onInvalid: .raise)
        let chunk = max(min(Self.chunkFloats / dimension / Self.blockRows, 20), 1) * Self.blockRows
        for range in RowReader.runs(of: table) {
            let run = try table.sliced(range)
            try Parallel.forEach(count: run.rows, grain: chunk, progress: progress) { rows in
                let own = try NearestRows(of: queries, k: min(k, rows.count))
                lock.withLock { own.takeLimits(of: found) }
                scan(run, rows, first: range.lowerBound, columns, own, context)
                lock.withLock { found.merge(own) }
            }
            run.discardPages()
        }
        _ = try context.finish()
        return found
    }

    /// Offers rows of a run, whose first one has the number `first`, to lists of queries.
    private func scan(
        _ run: any Node, _ rows: Range<Int>, first: Int, _ queries: QueryColumns, _ lists: NearestRows,
        _ context: LookupContext
    ) {
        let stride = MatrixProduct.stride(dimension)
        let lineStride = MatrixProduct.stride(queries.count)
        let blockRows = min(Self.blockRows, rows.count)
        Scratch.with(blockRows, of: Int64.self) { ids in
            Scratch.with(blockRows * stride, of: Float.self) { values in
                Scratch.with(blockRows * lineStride, of: Float.self) { lines in
                    for start in Swift.stride(from: rows.lowerBound, to: rows.upperBound, by: blockRows) {
                        let count = min(blockRows, rows.upperBound - start)
                        for index in 0..<count { ids[index] = Int64(start + index) }
                        run.gather(
                            IDBlock(ids: ids, count: count), into: RowBlock(base: values, stride: stride),
                            context: context)
                        for index in 0..<count { makeUnit(values + index * stride, count: dimension) }
                        MatrixProduct.multiply(
                            values, stride: stride, count: count, by: queries.matrix,
                            into: RowBlock(base: lines, stride: lineStride))
                        lists.offer(lines, stride: lineStride, first: first + start, count: count)
                    }
                }
            }
        }
    }

    /// Queries of length 1, each a column of a matrix.
    private struct QueryColumns {
        let count: Int
        let bytes: Bytes
        let matrix: Matrix
    }

    private static func columns(of queries: [Int], _ source: Table) throws -> QueryColumns {
        let (dimension, count) = (source.dimension, queries.count)
        let bytes = Bytes(
            try ByteStorage.allocate(
                Checked.product(count, dimension, MemoryLayout<Float>.size) ?? Int.max, zeroed: false))
        let target = bytes.storage.base.assumingMemoryBound(to: Float.self)
        for (query, id) in queries.enumerated() {
            var row = try source.lookup([id])
            row.withUnsafeMutableBufferPointer { row in
                guard let base = row.baseAddress else { return }
                makeUnit(base, count: dimension)
                for column in 0..<dimension { target[column * count + query] = base[column] }
            }
        }
        let matrix = Matrix(bytes, rows: dimension, columns: count, element: .float32)
        return QueryColumns(count: count, bytes: bytes, matrix: matrix)
    }
}

/// Divides a row by its length, which is summed in double precision; a row of zeros stays one.
private func makeUnit(_ row: UnsafeMutablePointer<Float>, count: Int) {
    var squares = SIMD8<Double>()
    let whole = count & ~7
    for column in stride(from: 0, to: whole, by: 8) {
        let values = doubles(row + column)
        squares.addProduct(values, values)
    }
    var sum = squares.sum()
    for column in whole..<count { sum += Double(row[column]) * Double(row[column]) }
    if sum == 0 { return }
    let factor = 1 / sum.squareRoot()
    for column in 0..<count { row[column] = Float(Double(row[column]) * factor) }
}

@inline(__always)
private func doubles(_ source: UnsafePointer<Float>) -> SIMD8<Double> {
    var result = SIMD8<Double>()
    for lane in 0..<8 { result[lane] = Double(source[lane]) }
    return result
}
