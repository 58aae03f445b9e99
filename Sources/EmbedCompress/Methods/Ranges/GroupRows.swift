/// The elements of groups as the rows of dense tables: those of whole groups in one, those of smaller ones in another.
struct GroupRows {
    private let grid: GroupGrid
    private let bytes: Bytes
    /// Columns of whole groups that lie side by side.
    private let wholeColumns: Int

    /// Reads all rows, and refuses values that are not finite.
    init(_ source: any Node, _ grid: GroupGrid, progress: ProgressCounter) throws {
        self.grid = grid
        let (rows, columns) = (grid.rows, grid.columns)
        let wholeColumns = columns / grid.groupColumns * grid.groupColumns
        self.wholeColumns = wholeColumns
        guard let byteCount = Checked.product(rows, columns, MemoryLayout<Float>.size) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        let bytes = Bytes(try ByteStorage.allocate(byteCount, zeroed: false))
        let target = bytes.mutablePointer.assumingMemoryBound(to: Float.self)
        // Groups of columns have their columns one after the other, others the rows of their columns.
        let isByColumns = grid.lines == 1 && grid.groupsPerLine > 1
        try RowReader.forEachBlock(of: source, progress: progress) { first, count, values in
            for row in first..<first + count {
                let line = values.row(row - first)
                _ = try finiteExtent(line, count: columns, row: row)
                if isByColumns {
                    for column in 0..<columns { target[column * rows + row] = line[column] }
                } else {
                    let rest = columns - wholeColumns
                    (target + row * wholeColumns).update(from: line, count: wholeColumns)
                    (target + (rows * wholeColumns + row * rest)).update(from: line + wholeColumns, count: rest)
                }
            }
        }
        self.bytes = bytes
    }

    /// Each table, and the group that each of its rows is.
    func tables() throws -> [(table: Dense, group: (Int) -> Int)] {
        let (rows, columns, perLine) = (grid.rows, grid.columns, grid.groupsPerLine)
        if grid.groupRows == 1, perLine > 1 {
            let whole = columns / grid.groupColumns
            return try [
                table(at: 0, rows: rows * whole, columns: grid.groupColumns) { $0 / whole * perLine + $0 % whole },
                table(at: rows * wholeColumns, rows: rows, columns: columns - wholeColumns) { $0 * perLine + whole },
            ].compactMap { $0 }
        }
        let size = min(grid.groupRows, rows) * min(grid.groupColumns, columns)
        let whole = rows * columns / max(size, 1)
        return try [
            table(at: 0, rows: whole, columns: size) { $0 },
            table(at: whole * size, rows: 1, columns: rows * columns - whole * size) { _ in whole },
        ].compactMap { $0 }
    }

    /// nil if it has no elements.
    private func table(
        at start: Int, rows: Int, columns: Int, _ group: @escaping (Int) -> Int
    ) throws -> (table: Dense, group: (Int) -> Int)? {
        let size = MemoryLayout<Float>.size
        guard rows > 0, columns > 0, let bytes = bytes.range(start * size, rows * columns * size) else { return nil }
        return (try Dense(bytes, element: .float32, rows: rows, dimension: columns), group)
    }
}
