/// A matrix of f64 numbers, row after row without gaps. A copy shares memory until one of the two is written to.
struct DoubleMatrix: Sendable {
    let rows: Int
    let columns: Int
    private var storage: ByteStorage

    /// Zeros.
    init(rows: Int, columns: Int) throws {
        self.init(rows: rows, columns: columns, storage: try Self.allocate(rows, columns, zeroed: true))
    }

    private init(rows: Int, columns: Int, storage: ByteStorage) {
        self.rows = rows
        self.columns = columns
        self.storage = storage
    }

    /// A copy of `rows * columns` numbers, row after row.
    init(copying numbers: UnsafePointer<Double>, rows: Int, columns: Int) throws {
        self.init(rows: rows, columns: columns, storage: try Self.allocate(rows, columns, zeroed: false))
        self.numbers.update(from: numbers, count: rows * columns)
    }

    /// Whatever the memory holds, for one who writes all of it.
    static func unwritten(rows: Int, columns: Int) throws -> DoubleMatrix {
        DoubleMatrix(rows: rows, columns: columns, storage: try allocate(rows, columns, zeroed: false))
    }

    static func identity(_ size: Int) throws -> DoubleMatrix {
        var result = try DoubleMatrix(rows: size, columns: size)
        result.withUnsafeMutableNumbers { numbers in
            for index in 0..<size { numbers[index * size + index] = 1 }
        }
        return result
    }

    private static func allocate(_ rows: Int, _ columns: Int, zeroed: Bool) throws -> ByteStorage {
        guard rows >= 0, columns >= 0, let bytes = Checked.product(rows, columns, MemoryLayout<Double>.stride) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        return try ByteStorage.allocate(bytes, zeroed: zeroed)
    }

    subscript(row: Int, column: Int) -> Double {
        get { numbers[place(row, column)] }
        set {
            let place = place(row, column)
            makeUnique()
            numbers[place] = newValue
        }
    }

    private func place(_ row: Int, _ column: Int) -> Int {
        precondition(row >= 0 && row < rows && column >= 0 && column < columns, "outside the matrix")
        return row * columns + column
    }

    private var numbers: UnsafeMutablePointer<Double> {
        storage.base.bindMemory(to: Double.self, capacity: rows * columns)
    }

    /// Memory of its own for this value, as an array's when it is written to.
    private mutating func makeUnique() {
        if isKnownUniquelyReferenced(&storage) { return }
        let bytes = rows * columns * MemoryLayout<Double>.stride
        let copy = UnsafeMutableRawPointer.allocate(byteCount: bytes + ByteStorage.allocationSlack, alignment: 64)
        copy.copyMemory(from: storage.base, byteCount: bytes)
        storage = ByteStorage(base: copy, count: bytes, slack: ByteStorage.allocationSlack) { copy.deallocate() }
    }

    /// Row after row, `rows * columns` numbers.
    func withUnsafeNumbers<Result>(_ body: (UnsafePointer<Double>) throws -> Result) rethrows -> Result {
        defer { withExtendedLifetime(storage) {} }
        return try body(numbers)
    }

    /// The same, to be written to.
    mutating func withUnsafeMutableNumbers<Result>(
        _ body: (UnsafeMutablePointer<Double>) throws -> Result
    ) rethrows -> Result {
        makeUnique()
        defer { withExtendedLifetime(storage) {} }
        return try body(numbers)
    }

    /// On memory of its own.
    func copied() throws -> DoubleMatrix {
        let result = try DoubleMatrix.unwritten(rows: rows, columns: columns)
        withUnsafeNumbers { result.numbers.update(from: $0, count: rows * columns) }
        return result
    }

    /// Columns as rows.
    func transposed() throws -> DoubleMatrix { try transposed(rows: Array(0..<rows)) }

    /// These rows as columns, in this order.
    func transposed(rows chosen: [Int]) throws -> DoubleMatrix {
        let result = try DoubleMatrix.unwritten(rows: columns, columns: chosen.count)
        nonisolated(unsafe) let target = result.numbers
        withUnsafeNumbers { numbers in
            nonisolated(unsafe) let numbers = numbers
            // Square blocks, so that what is read and what is written both come by cache lines.
            Parallel.forEach(count: chosen.count, grain: Self.block) { range in
                for first in stride(from: 0, to: columns, by: Self.block) {
                    for column in first..<min(first + Self.block, columns) {
                        let line = target + column * chosen.count
                        for place in range { line[place] = numbers[chosen[place] &* columns &+ column] }
                    }
                }
            }
        }
        return result
    }

    private static let block = 32
}

extension DoubleMatrix {
    /// self * other, of which either may be taken transposed.
    ///
    /// - Precondition: The first has as many columns as the second has rows.
    func multiplied(
        by other: DoubleMatrix, transposingSelf: Bool = false, transposingOther: Bool = false,
        progress: (() throws -> Void)? = nil
    ) throws -> DoubleMatrix {
        let depth = transposingSelf ? rows : columns
        precondition(depth == (transposingOther ? other.columns : other.rows), "sizes do not match")
        let (height, width) = (transposingSelf ? columns : rows, transposingOther ? other.rows : other.columns)
        var result = try DoubleMatrix(rows: height, columns: width)
        try withUnsafeNumbers { left in
            try other.withUnsafeNumbers { right in
                try result.withUnsafeMutableNumbers { output in
                    try DoubleProduct(rows: height, columns: width, depth: depth).add(
                        DoubleOperand(left, stride: columns, isTransposed: transposingSelf),
                        DoubleOperand(right, stride: other.columns, isTransposed: transposingOther),
                        to: output, stride: width
                    ) { try progress?() }
                }
            }
        }
        return result
    }

    /// self += Xᵀ X.
    ///
    /// - Parameters:
    ///   - rows: X, `count` rows of as many floats as this matrix has rows and columns.
    ///   - stride: Floats from the start of one row to the start of the next.
    ///   - progress: Asked now and then whether to go on.
    mutating func addGram(
        of rows: UnsafePointer<Float>, stride: Int, count: Int, progress: () throws -> Void
    ) throws {
        precondition(self.rows == columns, "a Gram matrix is square")
        let operand = DoubleOperand(rows, stride: stride)
        let size = columns
        try withUnsafeMutableNumbers { output in
            try DoubleProduct(rows: size, columns: size, depth: count, isLower: true).add(
                operand.transposed, operand, to: output, stride: size
            ) { try progress() }
            copyLowerToUpper(output, size: size)
        }
    }

    /// self += Xᵀ Y.
    ///
    /// - Parameters:
    ///   - rows: X, `count` rows of as many floats as this matrix has rows.
    ///   - others: Y, `count` rows of as many floats as this matrix has columns.
    ///   - progress: Asked now and then whether to go on.
    mutating func addProduct(
        of rows: UnsafePointer<Float>, stride: Int, with others: UnsafePointer<Float>, otherStride: Int, count: Int,
        progress: () throws -> Void
    ) throws {
        let product = DoubleProduct(rows: self.rows, columns: columns, depth: count)
        let width = columns
        try withUnsafeMutableNumbers { output in
            try product.add(
                DoubleOperand(rows, stride: stride).transposed, DoubleOperand(others, stride: otherStride), to: output,
                stride: width
            ) { try progress() }
        }
    }
}

/// Makes a matrix symmetric whose lower triangle is known.
func copyLowerToUpper(_ numbers: UnsafeMutablePointer<Double>, size: Int) {
    nonisolated(unsafe) let numbers = numbers
    let block = 32
    Parallel.forEach(count: size, grain: block) { range in
        for first in stride(from: 0, to: range.upperBound, by: block) {
            for row in range {
                for column in first..<min(first + block, row) {
                    numbers[column &* size &+ row] = numbers[row &* size &+ column]
                }
            }
        }
    }
}
