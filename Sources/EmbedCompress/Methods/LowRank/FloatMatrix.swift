/// An f32 matrix that the rows of tables are multiplied by, on all cores.
struct FloatMatrix: Sendable {
    let rows: Int
    let columns: Int
    private let bytes: Bytes

    /// The nearest numbers, or those of the negative matrix.
    init(_ matrix: DoubleMatrix, isNegative: Bool = false) throws {
        (rows, columns) = (matrix.rows, matrix.columns)
        guard let count = Checked.product(rows, columns, MemoryLayout<Float>.size) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        bytes = Bytes(try ByteStorage.allocate(count, zeroed: false))
        let target = bytes.mutablePointer.assumingMemoryBound(to: Float.self)
        matrix.withUnsafeNumbers { source in
            for index in 0..<rows * columns { target[index] = Float(isNegative ? -source[index] : source[index]) }
        }
    }

    /// Row after row.
    var numbers: [Float] {
        get throws {
            try Allocation.require(bytes.count)
            return withExtendedLifetime(bytes) {
                Array(
                    UnsafeBufferPointer(
                        start: bytes.pointer.assumingMemoryBound(to: Float.self), count: rows * columns))
            }
        }
    }

    /// What the rows of a product start from.
    enum Start {
        case zeros
        /// What the output holds.
        case output
        /// As many numbers as there are columns, for each row.
        case row([Float])
    }

    /// output = start + values * matrix.
    ///
    /// - Parameters:
    ///   - values: `count` rows of as many floats as the matrix has rows.
    ///   - output: `count` rows of as many floats as the matrix has columns.
    func multiply(
        _ values: FloatBlock, count: Int, start: Start = .zeros, into output: RowBlock, watch: ProgressCounter
    ) throws {
        let matrix = Matrix(bytes, rows: rows, columns: columns, element: .float32)
        let padded = MatrixProduct.stride(rows)
        try Parallel.forEach(count: count, grain: Self.grain, progress: watch) { range in
            let target = RowBlock(base: output.row(range.lowerBound), stride: output.stride)
            // Rows whose stride is a multiple of 64 floats are copied to where they don't share the cache's sets.
            let isCopied = values.stride % 64 == 0
            Scratch.with(isCopied ? range.count * padded : 0, of: Float.self) { space in
                if isCopied {
                    for index in range {
                        (space + (index - range.lowerBound) * padded).update(from: values.row(index), count: rows)
                    }
                }
                let source = isCopied ? UnsafePointer(space) : values.row(range.lowerBound)
                func multiply(_ start: MatrixProduct.Start) {
                    MatrixProduct.multiply(
                        source, stride: isCopied ? padded : values.stride, count: range.count, by: matrix,
                        start: start, into: target)
                }
                switch start {
                case .zeros: multiply(.zeros)
                case .output: multiply(.output)
                case .row(let numbers):
                    numbers.withUnsafeBufferPointer { row in
                        if let base = row.baseAddress { multiply(.row(base)) }
                    }
                }
            }
        }
    }

    /// Rows of a thread's piece: panels of the matrix are copied once for each.
    private static let grain = 96
}

extension DoubleMatrix {
    /// Rows of f32 numbers.
    init(_ values: FloatBlock, rows: Int, columns: Int) throws {
        try self.init(rows: rows, columns: columns)
        withUnsafeMutableNumbers { numbers in
            for row in 0..<rows {
                let source = values.row(row)
                for column in 0..<columns { numbers[row * columns + column] = Double(source[column]) }
            }
        }
    }

    /// The columns of some numbers, in that order.
    func columns(_ chosen: [Int]) throws -> DoubleMatrix {
        let width = chosen.count
        var result = try DoubleMatrix(rows: rows, columns: width)
        withUnsafeNumbers { source in
            result.withUnsafeMutableNumbers { target in
                for row in 0..<rows {
                    let line = source + row * columns
                    for (place, column) in chosen.enumerated() { target[row * width + place] = line[column] }
                }
            }
        }
        return result
    }
}
