#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// Trellis codes but for rows that least squares serves better in no more bytes: constant rows, rows of two values, rows far from
/// zero, rows with an outlier. Those are in a uniform table, and a partition says which they are.
///
/// Least squares has the most bits with which its row is no larger than that of the trellis. Rows are encoded by both and compared
/// as they are decoded, so the whole table is made at once. Where every row is better off as trellis codes, the table is these
/// alone. Where a budget has no room for the partition, either each row has a byte less, or all rows stay trellis codes: whichever
/// should have less error.
struct TrellisFallback: RowCompressor {
    /// Codes of a row, in bytes, and what makes them.
    let codeBytes: Int
    let compressor: any RowCompressor
    /// The fewest bytes of codes, with which least squares has no row that is no larger.
    let leastCodeBytes: Int
    /// Of a row, beside codes: that of its scale, and of what its codes are added to.
    let otherBytes: Int
    /// Of the result; nil for any.
    let budget: Int?
    /// The same with fewer bytes.
    let make: @Sendable (_ codeBytes: Int, ProgressCounter) throws -> any RowCompressor

    var needsWholeTable: Bool { true }
    var mayOverflow: Bool { compressor.mayOverflow }
    var choices: [MethodChoice] { compressor.choices }

    func compress(_ input: CompressionInput, tally: FallbackTally, progress: ProgressCounter) throws -> any Node {
        let rows = input.source.rows
        let steps = ProgressSteps(progress, units: rows, shares: [10, 2])
        var (codeBytes, compressor) = (codeBytes, compressor)
        var codes = try compressor.compress(input, tally: FallbackTally(), progress: steps.next(total: rows))
        while true {
            let worse = try worseRows(input, codes, rowBytes: codeBytes + otherBytes, progress.watch)
            var result = try Self.compose(codes, worse)
            let excess = result.storedBytes - (budget ?? Int.max)
            if excess > 0, let worse {
                let fewer = max(codeBytes - (excess + rows - 1) / rows, leastCodeBytes)
                if fewer < codeBytes, worse.isWorth(codeBytes - fewer, dimension: input.source.dimension) {
                    codeBytes = fewer
                    compressor = try make(codeBytes, progress.watch)
                    codes = try compressor.compress(input, tally: FallbackTally(), progress: progress.watch)
                    continue
                }
                result = codes
            }
            var counts = FallbackTally.Counts()
            counts.fallbacks = worse?.rows.count ?? 0
            tally.add(counts, ranges: rows, areCompared: true)
            try steps.finish()
            return result
        }
    }

    /// Rows that least squares serves better.
    private struct WorseRows {
        /// Rising.
        let rows: [Int]
        /// All rows as least squares has them.
        let squares: any Node
        /// The squared error that these rows would be rid of.
        let gain: Double
        /// That of all other rows.
        let rest: Double

        /// Whether the others lose less by so many bytes fewer: a bit of a column is three quarters of its error.
        func isWorth(_ bytes: Int, dimension: Int) -> Bool {
            gain > rest * (exp2(2 * 8 * Double(bytes) / Double(dimension)) - 1)
        }
    }

    /// Rows that least squares serves better; nil if there are none.
    private func worseRows(
        _ input: CompressionInput, _ codes: any Node, rowBytes: Int, _ watch: ProgressCounter
    ) throws -> WorseRows? {
        let (source, weights) = (input.source, input.elementWeights)
        guard source.rows > 0, let budget = Checked.product(source.rows, rowBytes) else { return nil }
        guard let squares = try Self.leastSquares(source, weights, budget: budget, watch) else { return nil }
        // Of the codes and of least squares.
        let found = try (Buffer<Double>(count: source.rows), Buffer<Double>(count: source.rows))
        defer {
            found.0.keep()
            found.1.keep()
        }
        let (mine, theirs) = (SharedPointer(found.0.base), SharedPointer(found.1.base))
        let errors = RowErrors(dimension: source.dimension)
        try RowReader.forEachBlock(of: source, and: weights, progress: watch) { first, count, values, weights in
            let range = first..<first + count
            try RowReader.read(range, of: codes) { codes in
                try RowReader.read(range, of: squares) { squares in
                    for index in 0..<count {
                        let (row, own) = (values.row(index), weights?.row(index))
                        mine.base[first + index] = errors.square(row, codes.row(index), own)
                        theirs.base[first + index] = errors.square(row, squares.row(index), own)
                    }
                }
            }
        }
        var (rows, gain, rest): ([Int], Double, Double) = ([], 0, 0)
        for row in 0..<source.rows {
            if found.1[row] < found.0[row] {
                rows.append(row)
                gain += found.0[row] - found.1[row]
            } else {
                rest += found.0[row]
            }
        }
        return rows.isEmpty ? nil : WorseRows(rows: rows, squares: squares, gain: gain, rest: rest)
    }

    /// All rows as least squares has them in so many bytes; nil if it can't.
    private static func leastSquares(
        _ source: any Node, _ weights: (any Node)?, budget: Int, _ watch: ProgressCounter
    ) throws -> (any Node)? {
        // Scales of f32 where f16 can't hold the values.
        for scales in ["auto", "f32"] {
            do {
                return try Method.leastSquares.compress(
                    Table(source), ["budget": .integer(budget), "scale_dtype": .string(scales)],
                    weights: weights.map { Table($0) }, progress: watch)
            } catch EmbedCompressError.invalidArgument {
                continue
            } catch EmbedCompressError.budget {
                return nil
            }
        }
        return nil
    }

    private static func compose(_ codes: any Node, _ worse: WorseRows?) throws -> any Node {
        guard let worse else { return codes }
        if worse.rows.count == codes.rows { return worse.squares }
        // A number for each row, in both lists and the assignment.
        try Allocation.require(Checked.product(codes.rows, 3, MemoryLayout<Int>.stride))
        var assignment = try [Int](allocating: 0, count: codes.rows)
        for row in worse.rows { assignment[row] = 1 }
        let others = assignment.indices.filter { assignment[$0] == 0 }
        let parts = [try codes.picking(others), try worse.squares.picking(worse.rows)]
        return try Partition(parts.map { Table($0) }, assignment: assignment)
    }
}

/// The squared error of a row's copy, weighted.
private struct RowErrors {
    let dimension: Int

    func square(_ row: UnsafePointer<Float>, _ copy: UnsafePointer<Float>, _ weights: UnsafePointer<Float>?) -> Double {
        var sum = 0.0
        for column in 0..<dimension {
            let difference = Double(row[column]) - Double(copy[column])
            sum += difference * difference * (weights.map { Double($0[column]) } ?? 1)
        }
        return sum
    }
}

extension Node {
    /// Some of the rows of a store, on memory of their own, under the same routes.
    ///
    /// - Parameter rows: Rising.
    fileprivate func picking(_ rows: [Int]) throws -> any Node {
        if let rotate = self as? Rotate { return try rotate.with(rotate.inner.picking(rows)) }
        if let sum = self as? Combination { return try sum.with(try sum.parts.map { try $0.picking(rows) }) }
        if let project = self as? Project { return try project.with(project.inner.picking(rows)) }
        if let remap = self as? Remap, remap.inner.rows == 1 {
            // A row that all share.
            return try Remap(.modulo(modulus: 1, offset: 0), rows: rows.count, inner: remap.inner)
        }
        guard let store = self as? any RowStore else {
            return try Remap(Table(self), rows: rows.count, through: rows)
        }
        return try store.pickingRows(rows)
    }
}

extension RowStore {
    fileprivate func pickingRows(_ rows: [Int]) throws -> any Node {
        let rowBytes = spacing.rowBytes
        guard let count = Checked.product(rows.count, rowBytes), let part = try sliced(0..<rows.count) as? Self else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        let bytes = Bytes(try ByteStorage.allocate(count, zeroed: false))
        withExtendedLifetime(memory) {
            for (index, row) in rows.enumerated() {
                (bytes.mutablePointer + index * rowBytes).copyMemory(from: memory.places.row(row), byteCount: rowBytes)
            }
        }
        return try part.with(bytes, spacing: spacing)
    }
}
