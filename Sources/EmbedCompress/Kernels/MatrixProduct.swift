internal import CEmbedCompress.MatrixProduct
internal import CEmbedCompress.Shims

/// A matrix in memory that rows are multiplied by: `rows x columns`, row after row.
struct Matrix {
    let base: UnsafeRawPointer
    let rows: Int
    let columns: Int
    let element: ScaleType
    /// Bytes from `base` on that may be read, at least those of the matrix.
    let readableCount: Int

    init(base: UnsafeRawPointer, rows: Int, columns: Int, element: ScaleType, readableCount: Int) {
        (self.base, self.rows, self.columns) = (base, rows, columns)
        (self.element, self.readableCount) = (element, readableCount)
    }

    /// The caller has checked that there are as many bytes, and keeps them.
    init(_ bytes: Bytes, rows: Int, columns: Int, element: ScaleType) {
        self.init(
            base: bytes.pointer, rows: rows, columns: columns, element: element, readableCount: bytes.readableCount)
    }

    fileprivate var rowBytes: Int { columns &* element.byteCount }

    /// Rows from the first one on that can be read in whole chunks of columns.
    fileprivate var wholeRows: Int {
        let chunks = (columns &+ 15) &>> 4 &* 16 &* element.byteCount
        return readableCount < chunks ? 0 : min((readableCount &- chunks) / rowBytes &+ 1, rows)
    }
}

/// Products of a block of rows and a matrix, on the calling thread: `output = start + rows * matrix`.
///
/// Each element is one chain of additions from its start, in the order of the matrix's rows, fused with the products where
/// the processor can. So a row's product depends on nothing but the row and the matrix, however many rows come with it.
///
/// Tiles of up to six rows and 64 columns are summed in registers. For many rows, a panel of columns is copied to where it
/// stays in the first-level cache; for few, the matrix is read where it is. Halves become floats on the way.
///
/// Rows whose stride is a multiple of 64 floats share the cache's sets: `stride(_:)` avoids that.
enum MatrixProduct {
    /// Rows from which on copying panels pays.
    private static let leastPackedRows = 16
    /// Rows of a panel, and of a matrix that is read where it is: so many lie in the cache.
    private static let panelRows = 256
    private static let directRows = 64

    /// What the sums start from.
    enum Start {
        case zeros
        /// What the output holds.
        case output
        /// The same for each row, such as a bias: as many floats as there are columns.
        case row(UnsafePointer<Float>)
    }

    /// Floats from one row to the next of scratch memory for rows of so many columns.
    static func stride(_ columns: Int) -> Int {
        let whole = (columns + 15) & ~15
        return whole % 64 == 0 ? whole + 16 : whole
    }

    /// - Parameters:
    ///   - rows: `count` rows of as many floats as `matrix` has rows.
    ///   - output: `count` rows of `matrix.columns` floats; nothing is written between their ends and the next starts.
    static func multiply(
        _ rows: UnsafePointer<Float>, stride: Int, count: Int, by matrix: Matrix, start: Start = .zeros,
        into output: RowBlock
    ) {
        guard count > 0, matrix.columns > 0 else { return }
        let whole = matrix.wholeRows
        let isPacked = count >= leastPackedRows
        var product = Product(rows: rows, stride: stride, count: count, output: output, start: start)
        if matrix.rows == 0 { return product.addNothing(columns: matrix.columns) }
        Scratch.with(panelRows * panelColumns, of: Float.self) { panel in
            var first = 0
            while first < matrix.rows {
                // Rows at the end of memory are copied in any case: panels can be read in whole chunks.
                let packs = isPacked || first >= whole
                let end = packs ? min(first + panelRows, matrix.rows) : min(first + directRows, whole)
                packs
                    ? product.addPacked(matrix, first..<end, panel: panel) : product.addDirect(matrix, first..<end)
                product.start = .output
                first = end
            }
        }
    }

    private static var panelColumns: Int { Int(EC_TILE_CHUNKS) * 16 }

    /// A product that is summed block of the matrix's rows by block.
    private struct Product {
        let rows: UnsafePointer<Float>
        let stride: Int
        let count: Int
        let output: RowBlock
        var start: Start

        func addNothing(columns: Int) {
            for index in 0..<count {
                switch start {
                case .zeros: output.row(index).update(repeating: 0, count: columns)
                case .output: break
                case .row(let start): output.row(index).update(from: start, count: columns)
                }
            }
        }

        /// From where the matrix is.
        func addDirect(_ matrix: Matrix, _ range: Range<Int>) {
            add(
                range, matrix.base + range.lowerBound &* matrix.rowBytes, stride: matrix.rowBytes,
                isHalf: matrix.element == .float16, columns: 0..<matrix.columns, mostChunks: Int.max)
        }

        /// Panel by panel.
        func addPacked(_ matrix: Matrix, _ range: Range<Int>, panel: UnsafeMutablePointer<Float>) {
            for first in Swift.stride(from: 0, to: matrix.columns, by: panelColumns) {
                let end = min(first + panelColumns, matrix.columns)
                let stride = (end - first + 15) & ~15
                pack(matrix, range, first..<end, into: panel, stride: stride)
                add(
                    range, UnsafeRawPointer(panel), stride: 4 &* stride, isHalf: false, columns: first..<end,
                    mostChunks: Int(EC_TILE_CHUNKS))
            }
        }

        private func pack(
            _ matrix: Matrix, _ range: Range<Int>, _ columns: Range<Int>, into panel: UnsafeMutablePointer<Float>,
            stride: Int
        ) {
            let (elementBytes, isHalf) = (matrix.element.byteCount, matrix.element == .float16)
            let whole = matrix.wholeRows
            var target = panel
            for row in range {
                let source = matrix.base + (row &* matrix.columns &+ columns.lowerBound) &* elementBytes
                if row < whole {
                    for column in Swift.stride(from: 0, to: columns.count, by: 16) {
                        let chunk = source + column &* elementBytes
                        store16(isHalf ? floatsFromHalves(chunk) : load16(chunk), to: target + column)
                    }
                } else {
                    for column in 0..<stride {
                        let place = source + column &* elementBytes
                        target[column] =
                            column >= columns.count
                            ? 0
                            : isHalf
                                ? floatFromHalf(place.loadUnaligned(as: UInt16.self))
                                : place.loadUnaligned(as: Float.self)
                    }
                }
                target += stride
            }
        }

        /// - Parameters:
        ///   - source: The elements of the matrix's rows `range` from `columns.lowerBound` on.
        ///   - stride: Bytes between them.
        private func add(
            _ range: Range<Int>, _ source: UnsafeRawPointer, stride matrixStride: Int, isHalf: Bool,
            columns: Range<Int>, mostChunks: Int
        ) {
            let chunks = (columns.count &+ 15) &>> 4
            let lastColumns = columns.count &- (chunks &- 1) &* 16
            let chunkBytes = isHalf ? 32 : 64
            let source = source.assumingMemoryBound(to: UInt8.self)
            var tile = ec_tile()
            tile.row_stride = Int64(stride)
            tile.matrix_stride = Int64(matrixStride)
            tile.depth = Int64(range.count)
            tile.output_stride = Int64(output.stride)
            var row = 0
            while row < count {
                let height = min(Int(EC_TILE_ROWS), count &- row)
                let most = min(Int(ec_most_chunks(Int64(height))), mostChunks)
                tile.rows = rows + (row &* stride &+ range.lowerBound)
                var chunk = 0
                while chunk < chunks {
                    var width = most
                    while width > chunks &- chunk { width /= 2 }
                    let column = columns.lowerBound &+ chunk &* 16
                    tile.matrix = source + chunk &* chunkBytes
                    tile.output = output.row(row) + column
                    switch start {
                    case .zeros: tile.start = nil
                    case .output: (tile.start, tile.start_stride) = (UnsafePointer(tile.output), tile.output_stride)
                    case .row(let start): (tile.start, tile.start_stride) = (start + column, 0)
                    }
                    chunk &+= width
                    tile.last_columns = chunk == chunks ? Int64(lastColumns) : 16
                    ec_multiply_tile(&tile, Int64(height), Int64(width), isHalf ? 1 : 0)
                }
                row &+= height
            }
        }
    }
}
