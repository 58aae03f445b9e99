#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// Eigenvectors of a symmetric tridiagonal matrix by divide and conquer (Cuppen, 1981; Gu and Eisenstat, 1995).
///
/// Without one number beside its diagonal, the matrix is two. What that number adds to them is of rank one: the eigenvalues
/// of both turn into those of the whole by the secular equation, and their eigenvectors by a matrix product, but for those
/// that hardly change. Vectors are rows; those of a range of the matrix have numbers in the range's columns only.
struct TridiagonalEigenvectors {
    private let size: Int
    private let values: UnsafeMutablePointer<Double>
    private let offDiagonal: UnsafeMutablePointer<Double>
    /// The rows of each range that is solved, by rising value, counted from the range's start.
    private let order: UnsafeMutablePointer<Int>
    private let vectors: UnsafeMutablePointer<Double>
    /// As much memory as the vectors take, twice: distances of roots from poles, and vectors before a product.
    private let distances: UnsafeMutablePointer<Double>
    private let kept: UnsafeMutablePointer<Double>

    /// Ranges that QL steps solve have at most so many rows.
    private static let mostLeafRows = 32
    /// From so many merges on, threads take one each; fewer are shared out one after the other.
    private static let leastMerges = 4

    /// - Parameters:
    ///   - diagonal: In no need of scaling, as `offDiagonal`, whose last number is free.
    /// - Returns: The eigenvalues, in no order, and in each row the eigenvector of one.
    static func solve(
        _ diagonal: [Double], _ offDiagonal: [Double], progress: (() throws -> Void)?
    ) throws -> (values: [Double], vectors: DoubleMatrix) {
        let size = diagonal.count
        var (values, offDiagonal) = (diagonal, offDiagonal)
        var order = [Int](repeating: 0, count: size)
        var vectors = try DoubleMatrix(rows: size, columns: size)
        let isLeaf = size <= mostLeafRows
        var distances = try DoubleMatrix.unwritten(rows: isLeaf ? 0 : size, columns: size)
        var kept = try DoubleMatrix.unwritten(rows: isLeaf ? 0 : size, columns: size)
        try values.withUnsafeMutableBufferPointer { values in
            try offDiagonal.withUnsafeMutableBufferPointer { offDiagonal in
                try order.withUnsafeMutableBufferPointer { order in
                    guard let values = values.baseAddress, let offDiagonal = offDiagonal.baseAddress,
                        let order = order.baseAddress
                    else { return }
                    try vectors.withUnsafeMutableNumbers { vectors in
                        try distances.withUnsafeMutableNumbers { distances in
                            try kept.withUnsafeMutableNumbers { kept in
                                try TridiagonalEigenvectors(
                                    size: size, values: values, offDiagonal: offDiagonal, order: order,
                                    vectors: vectors, distances: distances, kept: kept
                                ).solve(progress)
                            }
                        }
                    }
                }
            }
        }
        return (values, vectors)
    }

    private func solve(_ progress: (() throws -> Void)?) throws {
        // Halves of halves: the bounds of each level's ranges.
        var levels = [[0, size]]
        while let bounds = levels.last, bounds[1] - bounds[0] > Self.mostLeafRows {
            let halves = zip(bounds, bounds.dropFirst()).map { ($0 + $1 + 1) / 2 }
            levels.append((bounds + halves).sorted())
        }
        guard let leaves = levels.popLast() else { return }
        for split in leaves.dropFirst().dropLast() {
            values[split - 1] -= abs(offDiagonal[split - 1])
            values[split] -= abs(offDiagonal[split - 1])
        }
        try progress?()
        nonisolated(unsafe) let this = self
        try forEach(leaves.count - 1, isParallel: true) { index in
            try this.solveLeaf(leaves[index]..<leaves[index + 1])
        }
        while let bounds = levels.popLast() {
            let count = bounds.count - 1
            let isShared = count < Self.leastMerges
            let report = isShared ? progress : nil
            try progress?()
            try forEach(count, isParallel: !isShared) { index in
                try this.merge(bounds[index]..<bounds[index + 1], progress: report)
            }
        }
    }

    /// In parallel or one after the other; throws the first one's error.
    private func forEach(_ count: Int, isParallel: Bool, _ body: (Int) throws -> Void) throws {
        guard isParallel else { return try (0..<count).forEach(body) }
        try Parallel.forEach(count: count, grain: 1, progress: ProgressCounter(total: count, callback: nil)) {
            try $0.forEach(body)
        }
    }

    private func solveLeaf(_ range: Range<Int>) throws {
        let first = range.lowerBound
        let block = vectors + first * size + first
        for index in 0..<range.count { block[index * size + index] = 1 }
        // The number after the range belongs to the merge.
        try Scratch.with(range.count, of: Double.self) { beside in
            beside.update(from: offDiagonal + first, count: range.count)
            try TridiagonalQL.solve(
                values + first, beside, size: range.count, vectors: block, width: range.count, stride: size)
        }
        sort(range)
    }

    private func sort(_ range: Range<Int>) {
        let values = values + range.lowerBound
        let sorted = (0..<range.count).sorted { (values[$0], $0) < (values[$1], $1) }
        for (place, row) in sorted.enumerated() { order[range.lowerBound + place] = row }
    }

    // MARK: - Merging

    /// Makes the eigenvectors of a range from those of its halves.
    private func merge(_ range: Range<Int>, progress: (() throws -> Void)?) throws {
        let middle = (range.lowerBound + range.upperBound + 1) / 2
        let (count, half) = (range.count, middle - range.lowerBound)
        let block = vectors + range.lowerBound * size + range.lowerBound
        let values = values + range.lowerBound
        let coupling = offDiagonal[middle - 1]
        // The numbers of the vectors on either side of the split, as one vector of length 1.
        var weights = (0..<count).map { row in
            row < half
                ? block[row * size + half - 1] * 0.5.squareRoot()
                : (coupling < 0 ? -1 : 1) * block[row * size + half] * 0.5.squareRoot()
        }
        let first = order + range.lowerBound
        let rising = ((0..<half).map { first[$0] } + (half..<count).map { first[$0] + half })
            .sorted { (values[$0], $0) < (values[$1], $1) }
        var deflation = Deflation(rows: count, half: half)
        deflation.find(
            rising, values: values, weights: &weights, strength: 2 * abs(coupling), vectors: block, stride: size)
        let active = deflation.active
        let poles = active.map { values[$0] }
        let (kept, distances) = (kept + range.lowerBound * size, distances + range.lowerBound * size)
        let places = deflation.keep(block, stride: size, in: kept)
        let old = (0..<count).map { values[$0] }
        for (index, row) in deflation.deflated.enumerated() { values[active.count + index] = old[row] }
        solveSecular(
            poles, active.map { weights[$0] }, strength: 2 * abs(coupling), places: places, values: values,
            distances: distances)
        try progress?()
        try deflation.multiply(distances, kept, into: block, stride: size, progress: progress)
        sort(range)
    }

    /// The values, and in rows the eigenvectors, of diag(poles) + strength * weights weightsᵀ, whose numbers go where
    /// `places` says.
    private func solveSecular(
        _ poles: [Double], _ weights: [Double], strength: Double, places: [Int], values: UnsafeMutablePointer<Double>,
        distances: UnsafeMutablePointer<Double>
    ) {
        let count = poles.count
        guard count > 1 else {
            if count == 1 {
                values[0] = poles[0] + strength * weights[0] * weights[0]
                distances[0] = 1
            }
            return
        }
        let squares = weights.map { strength * $0 * $0 }
        var corrected = weights
        nonisolated(unsafe) let (values, distances) = (values, distances)
        let grain = max(1, (1 << 14) / count)
        poles.withUnsafeBufferPointer { poles in
            squares.withUnsafeBufferPointer { squares in
                guard let poles = poles.baseAddress, let squares = squares.baseAddress else { return }
                nonisolated(unsafe) let equation = SecularEquation(poles: poles, weights: squares, count: count)
                Parallel.forEach(count: count, grain: grain) { range in
                    for index in range {
                        values[index] = equation.root(index, distances: distances + index * count)
                    }
                }
            }
            corrected.withUnsafeMutableBufferPointer { corrected in
                nonisolated(unsafe) let (corrected, poles) = (corrected, poles)
                Parallel.forEach(count: count, grain: max(grain, 32)) { range in
                    Self.correct(corrected, range, poles, distances, count: count)
                }
            }
        }
        let weights = corrected
        Parallel.forEach(count: count, grain: grain) { range in
            Scratch.with(count, of: Double.self) { vector in
                for index in range {
                    let row = distances + index * count
                    for pole in 0..<count { vector[pole] = weights[pole] / row[pole] }
                    let factor = 1 / dot(vector, vector, count).squareRoot()
                    for pole in 0..<count { row[places[pole]] = vector[pole] * factor }
                }
            }
        }
    }

    /// The weights for which the roots that were found are exact (Löwner's formula): vectors made of them are orthogonal
    /// however close the roots are.
    private static func correct(
        _ weights: UnsafeMutableBufferPointer<Double>, _ range: Range<Int>, _ poles: UnsafeBufferPointer<Double>,
        _ distances: UnsafePointer<Double>, count: Int
    ) {
        Scratch.with(range.count, of: Double.self) { products in
            for index in range { products[index - range.lowerBound] = abs(distances[index * count + index]) }
            for root in 0..<count {
                let row = distances + root * count
                let pole = poles[root]
                for index in range where index != root {
                    products[index &- range.lowerBound] *= row[index] / (poles[index] - pole)
                }
            }
            for index in range {
                let magnitude = abs(products[index - range.lowerBound]).squareRoot()
                weights[index] = weights[index] < 0 ? -magnitude : magnitude
            }
        }
    }
}
