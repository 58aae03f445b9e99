/// Writes the non-zeros of a table whose number is known. Rows may be written by several threads, each its own.
struct SparseBuilder: @unchecked Sendable {
    private let layout: Sparse.Layout
    private let rows: Int
    private let dimension: Int
    private let element: ScaleType
    private let indexType: Sparse.IndexType
    private let index: Bytes
    private let columns: Bytes
    private let values: Bytes

    init(_ layout: Sparse.Layout, nonzeros: Int, rows: Int, dimension: Int, element: ScaleType) throws {
        (self.layout, self.rows, self.dimension, self.element) = (layout, rows, dimension, element)
        let isCompressed = layout == .compressedRows
        indexType = Sparse.IndexType(for: isCompressed ? nonzeros : rows)
        guard let indices = isCompressed ? Checked.sum(rows, 1) : nonzeros,
            let indexBytes = Checked.product(indices, indexType.byteCount),
            let columnBytes = Checked.product(nonzeros, Sparse.columnBytes(dimension: dimension)),
            let valueBytes = Checked.product(nonzeros, element.byteCount)
        else { throw EmbedCompressError.outOfMemory(bytes: Int.max) }
        index = Bytes(try ByteStorage.allocate(indexBytes))
        columns = Bytes(try ByteStorage.allocate(columnBytes))
        values = Bytes(try ByteStorage.allocate(valueBytes))
    }

    /// The non-zeros of a row start at `position`; those of row `rows` after the last one.
    @inline(__always)
    func startRow(_ row: Int, at position: Int) {
        if layout == .compressedRows { store(position, at: row) }
    }

    @inline(__always)
    func put(_ value: Float, row: Int, column: Int, at position: Int) {
        if layout == .coordinates { store(row, at: position) }
        switch Sparse.columnBytes(dimension: dimension) {
        case 1:
            columns.mutablePointer.storeBytes(
                of: UInt8(truncatingIfNeeded: column), toByteOffset: position, as: UInt8.self)
        case 2:
            columns.mutablePointer.storeBytes(
                of: UInt16(truncatingIfNeeded: column), toByteOffset: position &* 2, as: UInt16.self)
        default:
            columns.mutablePointer.storeBytes(
                of: UInt32(truncatingIfNeeded: column), toByteOffset: position &* 4, as: UInt32.self)
        }
        if element == .float16 {
            values.mutablePointer.storeBytes(of: halfFromFloat(value), toByteOffset: position &* 2, as: UInt16.self)
        } else {
            values.mutablePointer.storeBytes(of: value, toByteOffset: position &* 4, as: Float.self)
        }
    }

    @inline(__always)
    private func store(_ number: Int, at place: Int) {
        if indexType == .u32 {
            index.mutablePointer.storeBytes(
                of: UInt32(truncatingIfNeeded: number), toByteOffset: place &* 4, as: UInt32.self)
        } else {
            index.mutablePointer.storeBytes(
                of: UInt64(truncatingIfNeeded: number), toByteOffset: place &* 8, as: UInt64.self)
        }
    }

    func sparse() throws -> Sparse {
        try Sparse(
            layout, index: index, indexType: indexType, columns: columns, values: values, element: element, rows: rows,
            dimension: dimension)
    }
}

extension SparseBuilder {
    /// The non-zeros of a matrix that lies row after row.
    ///
    /// - Parameter layout: For so many non-zeros.
    static func sparse(
        _ matrix: FloatArray, rows: Int, dimension: Int, _ element: ScaleType, _ layout: (Int) -> Sparse.Layout
    ) throws -> Sparse {
        let nonzeros = (0..<matrix.count).reduce(0) { $0 + (matrix[$1] != 0 ? 1 : 0) }
        let builder = try SparseBuilder(
            layout(nonzeros), nonzeros: nonzeros, rows: rows, dimension: dimension, element: element)
        var position = 0
        for row in 0..<rows {
            builder.startRow(row, at: position)
            for column in 0..<dimension {
                let value = matrix[row * dimension + column]
                // Lent memory may have changed since the zeros were counted.
                if value != 0, position < nonzeros {
                    builder.put(value, row: row, column: column, at: position)
                    position += 1
                }
            }
        }
        builder.startRow(rows, at: position)
        return try builder.sparse()
    }
}
