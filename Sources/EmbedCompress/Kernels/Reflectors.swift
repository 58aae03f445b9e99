/// A rotation that is a product of Householder reflections: `z = x · H0 · H1 · …`, where `Hk = I - 2 v v' / (v' v)` and v is
/// vector k. So few vectors turn a row that its first coordinates are along as many chosen directions, and all others are what
/// is left of the row's own.
///
/// The first k numbers of vector k are 0 and the next one is 1, whatever a table of vectors has there. For a row of d columns and
/// m vectors a turn takes `4 * d * m` operations: the product is `I - V T V'`, where T is a triangle (Schreiber and Van Loan, "A
/// Storage-Efficient WY Representation for Products of Householder Transformations", 1989).
struct Reflectors: Sendable {
    let dimension: Int
    let count: Int
    /// V, `dimension x count`, times -T and times -T', and V' for the way back to the row's columns.
    private let forward: Buffer<Float>
    private let inverse: Buffer<Float>
    private let back: Buffer<Float>

    /// Bytes in memory.
    static func byteCount(dimension: Int, count: Int) -> Int? {
        Checked.product(3, dimension, count, MemoryLayout<Float>.size)
    }

    /// - Parameter vectors: A table of `count` rows.
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for more vectors than columns, or one that is not finite.
    init(_ vectors: any Node) throws {
        let (count, dimension) = (vectors.rows, vectors.dimension)
        guard (1...dimension).contains(count) else {
            throw EmbedCompressError.invalidArgument(
                "rows of \(dimension) columns are reflected by 1 to \(dimension) vectors, not \(count)")
        }
        (self.dimension, self.count) = (dimension, count)
        back = try Buffer<Float>(count: count * dimension + 16)
        try Self.read(vectors, to: back.base)
        forward = try Buffer<Float>(repeating: 0, count: count * dimension + 16)
        inverse = try Buffer<Float>(repeating: 0, count: count * dimension + 16)
        let triangle = try triangle()
        for column in 0..<dimension {
            for index in 0..<count {
                var (ahead, behind) = (0.0, 0.0)
                for other in 0..<count {
                    let value = Double(back[other * dimension + column])
                    if other <= index { ahead += value * triangle[other * count + index] }
                    if other >= index { behind += value * triangle[index * count + other] }
                }
                forward[column * count + index] = Float(-ahead)
                inverse[column * count + index] = Float(-behind)
            }
        }
    }

    private static func read(_ vectors: any Node, to target: UnsafeMutablePointer<Float>) throws {
        let (count, dimension) = (vectors.rows, vectors.dimension)
        let context = LookupContext(onInvalid: .raise)
        for first in stride(from: 0, to: count, by: blockCapacity) {
            let ids = (first..<min(first + blockCapacity, count)).map(Int64.init)
            ids.withUnsafeBufferPointer { ids in
                guard let base = ids.baseAddress else { return }
                vectors.gather(
                    IDBlock(ids: base, count: ids.count),
                    into: RowBlock(base: target + first * dimension, stride: dimension), context: context)
            }
        }
        _ = try context.finish()
        for index in 0..<count {
            let vector = target + index * dimension
            vector.update(repeating: 0, count: index)
            vector[index] = 1
            guard RowValues(base: vector, count: dimension).extent() != nil else {
                throw EmbedCompressError.invalidArgument("vector \(index) of a reflection is not finite")
            }
        }
    }

    /// T, `count x count`, upper.
    private func triangle() throws -> [Double] {
        var triangle = try [Double](allocating: 0, count: count * count)
        var products = [Double](repeating: 0, count: count)
        func product(_ a: Int, _ b: Int) -> Double {
            var sum = 0.0
            for column in max(a, b)..<dimension {
                sum += Double(back[a * dimension + column]) * Double(back[b * dimension + column])
            }
            return sum
        }
        for index in 0..<count {
            // At least 1, the square of the vector's own first number.
            let factor = 2 / product(index, index)
            for other in 0..<index { products[other] = product(other, index) }
            for row in 0..<index {
                var sum = 0.0
                for other in row..<index { sum += triangle[row * count + other] * products[other] }
                triangle[row * count + index] = -factor * sum
            }
            triangle[index * count + index] = factor
        }
        return triangle
    }

    /// Turns rows in place.
    ///
    /// - Parameter isForward: By the rotation itself, not by its inverse.
    func turn(_ rows: UnsafeMutablePointer<Float>, stride: Int, count rowCount: Int, isForward: Bool) {
        let width = MatrixProduct.stride(count)
        let capacity = tileRows(dimension: max(dimension, count))
        Scratch.with(min(capacity, rowCount) * width, of: Float.self) { products in
            for start in Swift.stride(from: 0, to: rowCount, by: capacity) {
                let taken = min(capacity, rowCount - start)
                let target = rows + start * stride
                MatrixProduct.multiply(
                    target, stride: stride, count: taken, by: matrix(isForward ? forward : inverse, dimension, count),
                    into: RowBlock(base: products, stride: width))
                MatrixProduct.multiply(
                    products, stride: width, count: taken, by: matrix(back, count, dimension), start: .output,
                    into: RowBlock(base: target, stride: stride))
            }
        }
        forward.keep()
        inverse.keep()
        back.keep()
    }

    private func matrix(_ numbers: Buffer<Float>, _ rows: Int, _ columns: Int) -> Matrix {
        Matrix(
            base: UnsafeRawPointer(numbers.base), rows: rows, columns: columns, element: .float32,
            readableCount: numbers.count * MemoryLayout<Float>.size)
    }

    /// The vectors whose rotation turns columns of a matrix to the first coordinates, but for their signs: row k is vector k
    /// as it is stored.
    ///
    /// - Parameter directions: `dimension x count`, of orthonormal columns.
    static func vectors(turning directions: DoubleMatrix) throws -> [Float] {
        let (dimension, count) = (directions.rows, directions.columns)
        var columns = try [Double](allocating: 0, count: count * dimension)
        for index in 0..<count {
            for row in 0..<dimension { columns[index * dimension + row] = directions[row, index] }
        }
        var vectors = try [Float](allocating: 0, count: count * dimension)
        for index in 0..<count {
            // What is left of this direction below the coordinates that are taken has the norm 1, but for rounding.
            let own = index * dimension
            var square = 0.0
            for row in index..<dimension { square += columns[own + row] * columns[own + row] }
            let norm = square.squareRoot()
            let first = columns[own + index]
            let pivot = first < 0 ? first - norm : first + norm
            guard pivot != 0 else { continue }
            for row in index + 1..<max(dimension, index + 1) { vectors[own + row] = Float(columns[own + row] / pivot) }
            var length = 1.0
            for row in index + 1..<max(dimension, index + 1) {
                length += Double(vectors[own + row]) * Double(vectors[own + row])
            }
            for other in index + 1..<max(count, index + 1) {
                let place = other * dimension
                var product = columns[place + index]
                for row in index + 1..<dimension { product += columns[place + row] * Double(vectors[own + row]) }
                let factor = 2 * product / length
                columns[place + index] -= factor
                for row in index + 1..<dimension { columns[place + row] -= factor * Double(vectors[own + row]) }
            }
            vectors[own + index] = 1
        }
        return vectors
    }
}
