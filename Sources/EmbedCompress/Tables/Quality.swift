#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// What a table costs against its source.
public struct Quality: Sendable, Equatable {
    /// `||X - Q(X)|| / ||X||`, Frobenius norms: the 4-bit paper's normalised l2 loss. 0 when X is zero and the copy is
    /// exact.
    public var normalizedL2 = 0.0
    /// Mean over rows of the cosine between a row and its copy. Rows that are zero in both count as 1, in one as 0.
    public var meanCosine = 1.0
    /// The largest over rows of `||x - q(x)|| / ||x||`.
    public var worstRowL2 = 0.0
    /// The row that has it.
    public var worstRow = 0
    /// Mean over all elements of the squared difference.
    public var meanSquaredError = 0.0
}

extension Table {
    /// Compares this table with `source`, row by row, in one parallel pass over both.
    ///
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` when the shapes differ.
    public func quality(against source: Table, progress callback: ProgressCallback? = nil) throws -> Quality {
        guard rows == source.rows, dimension == source.dimension else {
            throw EmbedCompressError.invalidArgument(
                "a table of \(rows) x \(dimension) can't be compared with a source of \(source.rows) x \(source.dimension)"
            )
        }
        guard rows > 0 else { return Quality() }
        // Blocks are summed in order at the end, so that the result does not depend on threads.
        let lock = Lock()
        var partial: [Int: RowSums] = [:]
        let context = LookupContext(onInvalid: .raise)
        let dimension = dimension
        try RowReader.forEachBlock(of: source.root, progress: ProgressCounter(total: rows, callback: callback)) {
            first, count, values in
            let sums = withUnsafeTemporaryAllocation(of: Float.self, capacity: count * dimension) { copies in
                withUnsafeTemporaryAllocation(of: Int64.self, capacity: count) { ids in
                    var sums = RowSums()
                    guard let copies = copies.baseAddress, let ids = ids.baseAddress else { return sums }
                    for index in 0..<count { ids[index] = Int64(first + index) }
                    root.gather(
                        IDBlock(ids: ids, count: count), into: RowBlock(base: copies, stride: dimension),
                        context: context)
                    for index in 0..<count {
                        sums.add(values.row(index), copies + index * dimension, count: dimension, row: first + index)
                    }
                    return sums
                }
            }
            lock.withLock { partial[first] = sums }
        }
        _ = try context.finish()
        var total = RowSums()
        for first in partial.keys.sorted() {
            if let sums = partial[first] { total.add(sums) }
        }
        return Quality(
            normalizedL2: relativeNorm(error: total.error, norm: total.norm), meanCosine: total.cosine / Double(rows),
            worstRowL2: total.worst, worstRow: total.worstRow,
            meanSquaredError: total.error / (Double(rows) * Double(dimension)))
    }
}

/// `||error|| / ||x||` of squared norms; infinite when only x is zero.
private func relativeNorm(error: Double, norm: Double) -> Double {
    error == 0 ? 0 : sqrt(error / norm)
}

/// Sums over rows that ``Quality`` is made of.
private struct RowSums {
    var error = 0.0
    var norm = 0.0
    var cosine = 0.0
    var worst = 0.0
    var worstRow = 0

    mutating func add(_ row: UnsafePointer<Float>, _ copy: UnsafePointer<Float>, count: Int, row index: Int) {
        var difference = SIMD8<Double>()
        var square = SIMD8<Double>()
        var copySquare = SIMD8<Double>()
        var product = SIMD8<Double>()
        var column = 0
        while column < count {
            var x = SIMD8<Double>()
            var y = SIMD8<Double>()
            for lane in 0..<min(8, count - column) {
                x[lane] = Double(row[column + lane])
                y[lane] = Double(copy[column + lane])
            }
            let delta = x - y
            difference += delta * delta
            square += x * x
            copySquare += y * y
            product += x * y
            column += 8
        }
        let (rowError, rowNorm, copyNorm) = (difference.sum(), square.sum(), copySquare.sum())
        error += rowError
        norm += rowNorm
        if rowNorm > 0, copyNorm > 0 {
            cosine += product.sum() / sqrt(rowNorm * copyNorm)
        } else if rowNorm == copyNorm {
            cosine += 1
        }
        let relative = relativeNorm(error: rowError, norm: rowNorm)
        if relative > worst { (worst, worstRow) = (relative, index) }
    }

    mutating func add(_ other: RowSums) {
        error += other.error
        norm += other.norm
        cosine += other.cosine
        if other.worst > worst { (worst, worstRow) = (other.worst, other.worstRow) }
    }
}
