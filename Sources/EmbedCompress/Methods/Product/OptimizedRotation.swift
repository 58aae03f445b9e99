#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// Learns the rotation under which product codes of a sample of rows have the least error.
struct OptimizedRotation {
    private let source: any Node
    private let parts: Int
    private let bits: Int
    private let seed: Int

    private static let sampleRows = 32_768
    /// Of k-means, between turns.
    private static let quickRounds = 4

    init(_ source: any Node, parts: Int, bits: Int, seed: Int) {
        (self.source, self.parts, self.bits, self.seed) = (source, parts, bits, seed)
    }

    /// - Parameter progress: Told of turns.
    /// - Returns: d x d; rows times it are rotated.
    func learned(turns: Int, progress: ProgressCounter) throws -> DoubleMatrix {
        let dimension = source.dimension
        let watch = progress.watch
        let count = min(source.rows, max(Self.sampleRows, 64 << bits))
        guard count >= 2, turns > 0 else { return try DoubleMatrix.identity(dimension) }
        // Three rotations to start from, and what the third one takes.
        try Allocation.require(Checked.product(dimension, dimension, 8, MemoryLayout<Double>.size))
        let sample = try RowSample(CompressionInput(source: source), atMost: count, seed: seed, watch: watch)
        source.discardPages()
        let centered = try sample.withColumns(0..<dimension) { values, _ in
            let rows = try RowBuffer(rows: sample.count, dimension: dimension)
            rows.block().base.update(from: values, count: sample.count * dimension)
            return rows
        }
        let starts = [
            try DoubleMatrix.identity(dimension),
            try LinearAlgebra.randomOrthogonal(dimension, seed: UInt64(bitPattern: Int64(seed))) { try watch.report() },
            try allocated(centered, watch),
        ]
        var best: (error: Double, rotation: DoubleMatrix, decoded: any Node)?
        for start in starts {
            let (error, decoded) = try tried(start, centered, watch)
            if error < best?.error ?? .infinity { best = (error, start, decoded) }
        }
        guard var (least, rotation, decoded) = best.map({ ($0.error, $0.rotation, $0.decoded) }) else {
            return starts[0]
        }
        for _ in 0..<turns {
            let cross = try product(centered, decoded, watch)
            let (left, _, right) = try LinearAlgebra.singularVectors(cross) { try watch.report() }
            let next = try left.multiplied(by: right, transposingOther: true) { try watch.report() }
            let error: Double
            (error, decoded) = try tried(next, centered, watch)
            if error < least { (least, rotation) = (error, next) }
            progress.advance(by: 1)
            try progress.report()
        }
        return rotation
    }

    /// The error of quick product codes of the rotated sample, and what they stand for.
    private func tried(
        _ rotation: DoubleMatrix, _ centered: RowBuffer, _ watch: ProgressCounter
    ) throws -> (error: Double, decoded: any Node) {
        let rotated = try RowBuffer(rows: centered.rows, dimension: centered.dimension)
        try FloatMatrix(rotation).multiply(
            centered.values(), count: centered.rows, into: rotated.block(), watch: watch)
        let table = try rotated.table()
        let codes = try Method.pq.compress(
            Table(table),
            [
                "parts": .integer(parts), "bits": .integer(bits), "seed": .integer(seed), "entry_dtype": "f32",
                "rounds": .integer(Self.quickRounds),
            ], progress: watch)
        let sums = try Table(codes).qualitySums(against: Table(table), progress: watch)
        return (sums.error, codes)
    }

    /// The sum over rows of x qᵀ, where q is what the row's codes stand for.
    private func product(
        _ centered: RowBuffer, _ codes: any Node, _ watch: ProgressCounter
    ) throws -> DoubleMatrix {
        let dimension = centered.dimension
        var cross = try DoubleMatrix(rows: dimension, columns: dimension)
        try RowRuns.forEach(of: codes, progress: watch) { first, count, values in
            try cross.addProduct(
                of: centered.values(from: first).base, stride: dimension, with: values.base,
                otherStride: values.stride, count: count
            ) { try watch.report() }
        }
        return cross
    }

    /// The principal directions, each in the part whose product of variances is the smallest so far.
    private func allocated(_ centered: RowBuffer, _ watch: ProgressCounter) throws -> DoubleMatrix {
        let dimension = centered.dimension
        let basis = try PrincipalBasis(of: try centered.table(), center: false, progress: watch)
        let largest = max(basis.energies.first ?? 0, 1e-300)
        // Falling. As logarithms of shares of the least variance, so that every direction adds to its part.
        let variances = basis.energies.map { max($0, largest * 1e-12) }
        let least = variances.last ?? 1
        let (width, wider) = dimension.quotientAndRemainder(dividingBy: parts)
        var members = [[Int]](repeating: [], count: parts)
        var logarithms = [Double](repeating: 0, count: parts)
        for (direction, variance) in variances.enumerated() {
            let open = (0..<parts).filter { members[$0].count < width + ($0 < wider ? 1 : 0) }
            guard let part = open.min(by: { logarithms[$0] < logarithms[$1] }) else { continue }
            members[part].append(direction)
            logarithms[part] += log(variance / least)
        }
        return try basis.directions.columns(members.flatMap { $0 })
    }
}
