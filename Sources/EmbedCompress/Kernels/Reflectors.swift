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
    /// V, `dimension x count`, times -T, or times -T' for the way back.
    private let products: Buffer<Float>
    /// V'.
    private let vectors: Buffer<Float>

    /// Bytes in memory.
    static func byteCount(dimension: Int, count: Int) -> Int? {
        Checked.product(2, dimension, count, MemoryLayout<Float>.size)
    }

    /// Steps that getting ready may take: seconds.
    private static let mostSteps = 1 << 32

    /// - Parameters:
    ///   - table: A table of `count` rows.
    ///   - isForward: Whether rows are to be turned by the rotation itself, not by its inverse.
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for more vectors than columns, too many of them, or one that is not
    ///   finite.
    init(_ table: any Node, isForward: Bool) throws {
        let (count, dimension) = (table.rows, table.dimension)
        guard (1...dimension).contains(count), Checked.product(count, count, dimension) ?? Int.max <= Self.mostSteps
        else {
            throw EmbedCompressError.invalidArgument(
                "rows of \(dimension) columns are reflected by 1 to \(dimension) vectors, whose number times itself times the "
                    + "columns is at most 2^32, not by \(count)")
        }
        (self.dimension, self.count) = (dimension, count)
        vectors = try Buffer<Float>(count: count * dimension + 16)
        products = try Buffer<Float>(count: count * dimension + 16)
        try Self.read(table, to: vectors.base)
        let columns = try Buffer<Float>(count: count * dimension)
        for index in 0..<count {
            for column in 0..<dimension { columns[column * count + index] = vectors[index * dimension + column] }
        }
        var gram = try DoubleMatrix(rows: count, columns: count)
        try gram.addGram(of: columns.base, stride: count, count: dimension) {}
        let triangle = try Self.triangle(gram, isForward: isForward)
        MatrixProduct.multiply(
            columns.base, stride: count, count: dimension,
            by: Matrix(
                base: UnsafeRawPointer(triangle.base), rows: count, columns: count, element: .float32,
                readableCount: triangle.count * MemoryLayout<Float>.size),
            into: RowBlock(base: products.base, stride: count))
        try Scratch.check()
        columns.keep()
        triangle.keep()
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

    /// -T, `count x count`, or its transpose, from the products of vectors.
    private static func triangle(_ gram: DoubleMatrix, isForward: Bool) throws -> Buffer<Float> {
        let count = gram.rows
        var triangle = try [Double](allocating: 0, count: count * count)
        gram.withUnsafeNumbers { gram in
            triangle.withUnsafeMutableBufferPointer { triangle in
                for index in 0..<count {
                    let products = gram + index * count
                    // At least 1, the square of the vector's own first number.
                    let factor = 2 / products[index]
                    for row in 0..<index {
                        var sum = 0.0
                        for other in row..<index { sum += triangle[row &* count &+ other] * products[other] }
                        triangle[row &* count &+ index] = -factor * sum
                    }
                    triangle[index &* count &+ index] = factor
                }
            }
        }
        let result = try Buffer<Float>(count: count * count + 16)
        for row in 0..<count {
            for column in 0..<count {
                let place = isForward ? row * count + column : column * count + row
                result[row * count + column] = Float(-triangle[place])
            }
        }
        return result
    }

    /// Turns rows in place.
    func turn(_ rows: UnsafeMutablePointer<Float>, stride: Int, count rowCount: Int) {
        let width = MatrixProduct.stride(count)
        let capacity = tileRows(dimension: dimension)
        Scratch.with(min(capacity, rowCount) * width, of: Float.self) { coordinates in
            for start in Swift.stride(from: 0, to: rowCount, by: capacity) {
                let taken = min(capacity, rowCount - start)
                let target = rows + start * stride
                MatrixProduct.multiply(
                    target, stride: stride, count: taken, by: matrix(products, dimension, count),
                    into: RowBlock(base: coordinates, stride: width))
                MatrixProduct.multiply(
                    coordinates, stride: width, count: taken, by: matrix(vectors, count, dimension), start: .output,
                    into: RowBlock(base: target, stride: stride))
            }
        }
        products.keep()
        vectors.keep()
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
