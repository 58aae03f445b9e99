/// Room for the f32 rows of a table that is being made.
struct RowBuffer: @unchecked Sendable {
    let rows: Int
    let dimension: Int
    private let bytes: Bytes

    init(rows: Int, dimension: Int) throws {
        (self.rows, self.dimension) = (rows, dimension)
        guard let count = Checked.product(rows, dimension, MemoryLayout<Float>.size) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        bytes = Bytes(try ByteStorage.allocate(count, zeroed: false))
    }

    /// The rows from `first` on. Valid as long as this value is.
    func block(from first: Int = 0) -> RowBlock {
        RowBlock(
            base: bytes.mutablePointer.assumingMemoryBound(to: Float.self) + first * dimension, stride: dimension)
    }

    /// The same to read from.
    func values(from first: Int = 0) -> FloatBlock {
        FloatBlock(base: UnsafePointer(block(from: first).base), stride: dimension)
    }

    /// The table, once every row has been written.
    func table() throws -> Dense { try Dense(bytes, element: .float32, rows: rows, dimension: dimension) }
}
