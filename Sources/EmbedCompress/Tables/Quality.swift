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
        let sums = try qualitySums(
            against: source, progress: ProgressCounter(total: rows, callback: callback))
        return Quality(sums, rows: rows, dimension: dimension)
    }

    /// The sums of a comparison with a table of the same shape.
    ///
    /// - Parameter firstRow: What the first row is called.
    func qualitySums(
        against source: Table, firstRow: Int = 0,
        progress: ProgressCounter = ProgressCounter(total: 0, callback: nil)
    ) throws -> QualitySums {
        // Blocks are summed in order at the end, so that the result does not depend on threads.
        let lock = Lock()
        var partial: [Int: QualitySums] = [:]
        let dimension = dimension
        try RowReader.forEachBlock(of: source.root, and: root, progress: progress) { first, count, values, copies in
            guard let copies else { return }
            var sums = QualitySums()
            for index in 0..<count {
                sums.add(values.row(index), copies.row(index), count: dimension, row: firstRow + first + index)
            }
            lock.withLock { partial[first] = sums }
        }
        return partial.keys.sorted().reduce(into: QualitySums()) { total, first in
            if let sums = partial[first] { total.add(sums) }
        }
    }
}

extension Quality {
    init(_ sums: QualitySums, rows: Int, dimension: Int) {
        guard rows > 0 else { return }
        normalizedL2 = relativeNorm(error: sums.error, norm: sums.norm)
        meanCosine = sums.cosine / Double(rows)
        (worstRowL2, worstRow) = (sums.worst, sums.worstRow)
        meanSquaredError = sums.error / (Double(rows) * Double(dimension))
    }
}

/// `||error|| / ||x||` of squared norms; infinite when only x is zero.
private func relativeNorm(error: Double, norm: Double) -> Double {
    error == 0 ? 0 : sqrt(error / norm)
}

/// Sums over rows that ``Quality`` is made of.
struct QualitySums {
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

    mutating func add(_ other: QualitySums) {
        error += other.error
        norm += other.norm
        cosine += other.cosine
        if other.worst > worst { (worst, worstRow) = (other.worst, other.worstRow) }
    }
}
