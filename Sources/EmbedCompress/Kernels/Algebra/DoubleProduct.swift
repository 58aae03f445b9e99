internal import CEmbedCompress.DoubleProduct

/// One side of a product: f64 or f32 numbers in memory, a matrix or its transpose.
struct DoubleOperand: @unchecked Sendable {
    fileprivate let base: UnsafeRawPointer
    /// Numbers from one row, and from one column, to the next. One of the two is 1.
    fileprivate let rowStride: Int
    fileprivate let columnStride: Int
    fileprivate let isFloat: Bool

    private init(base: UnsafeRawPointer, rowStride: Int, columnStride: Int, isFloat: Bool) {
        self.base = base
        self.rowStride = rowStride
        self.columnStride = columnStride
        self.isFloat = isFloat
    }

    init(_ numbers: UnsafePointer<Double>, stride: Int, isTransposed: Bool = false) {
        self.init(
            base: UnsafeRawPointer(numbers), rowStride: isTransposed ? 1 : stride,
            columnStride: isTransposed ? stride : 1, isFloat: false)
    }

    init(_ numbers: UnsafePointer<Float>, stride: Int) {
        self.init(base: UnsafeRawPointer(numbers), rowStride: stride, columnStride: 1, isFloat: true)
    }

    var transposed: DoubleOperand {
        DoubleOperand(base: base, rowStride: columnStride, columnStride: rowStride, isFloat: isFloat)
    }

    /// Writes `count` rows from `row` on, columns `range`, as columns of `height` numbers: zeros below the rows.
    fileprivate func packRows(
        _ row: Int, count: Int, height: Int, columns range: Range<Int>, sign: Double,
        to target: UnsafeMutablePointer<Double>
    ) {
        let place = row &* rowStride &+ range.lowerBound &* columnStride
        if isFloat {
            let source = (base + 4 &* place).assumingMemoryBound(to: Float.self)
            pack(source, count: count, height: height, depth: range.count, sign: sign, to: target)
        } else {
            let source = (base + 8 &* place).assumingMemoryBound(to: Double.self)
            pack(source, count: count, height: height, depth: range.count, sign: sign, to: target)
        }
    }

    @inline(__always)
    private func pack<Number: DoubleConvertible>(
        _ source: UnsafePointer<Number>, count: Int, height: Int, depth: Int, sign: Double,
        to target: UnsafeMutablePointer<Double>
    ) {
        if count < height { target.update(repeating: 0, count: height &* depth) }
        if rowStride == 1 {
            var (source, target) = (source, target)
            for _ in 0..<depth {
                for row in 0..<count { target[row] = sign * source[row].asDouble }
                source += columnStride
                target += height
            }
        } else {
            // Four rows at a time, so that what is written together lies together.
            var row = 0
            while row < count {
                let rows = min(4, count &- row)
                let first = source + row &* rowStride
                if rows == 4 {
                    let (second, third, fourth) = (first + rowStride, first + 2 &* rowStride, first + 3 &* rowStride)
                    var place = target + row
                    for column in 0..<depth {
                        place[0] = sign * first[column].asDouble
                        place[1] = sign * second[column].asDouble
                        place[2] = sign * third[column].asDouble
                        place[3] = sign * fourth[column].asDouble
                        place += height
                    }
                } else {
                    for index in 0..<rows {
                        let line = first + index &* rowStride
                        for column in 0..<depth {
                            target[column &* height &+ row &+ index] = sign * line[column].asDouble
                        }
                    }
                }
                row &+= rows
            }
        }
    }
}

private protocol DoubleConvertible {
    var asDouble: Double { get }
}

extension Double: DoubleConvertible {
    @inline(__always)
    fileprivate var asDouble: Double { self }
}

extension Float: DoubleConvertible {
    @inline(__always)
    fileprivate var asDouble: Double { Double(self) }
}

/// A product of f64 matrices of these sizes: rows x depth times depth x columns.
///
/// A block of the right matrix, `mostDepth` deep, is packed into panels as wide as a tile; then threads take blocks of rows
/// of the left matrix, pack them likewise, and multiply tile by tile in registers. The order of each sum depends on the
/// depth alone.
struct DoubleProduct {
    let rows: Int
    let columns: Int
    let depth: Int
    /// Whether only the lower triangle is wanted; some above it is then written, too.
    var isLower = false

    private static let tileRows = Int(EC_DOUBLE_ROWS)
    private static let tileColumns = Int(EC_DOUBLE_COLUMNS)
    /// A panel of this depth stays in the first-level cache, and a block of rows in the second.
    private static let mostDepth = 192
    private static let blockRows = 96
    /// Columns of a packed block, which the last-level cache holds: 4 MiB.
    private static let mostColumns = 2048 / tileColumns * tileColumns
    /// Products of fewer steps take less time than it takes to wake a thread.
    private static let leastParallelSteps = 1 << 17

    /// output += sign * left * right.
    ///
    /// - Parameters:
    ///   - stride: Numbers from one row of the output to the next.
    ///   - progress: Asked now and then, from the calling thread, whether to go on.
    func add<Failure>(
        _ left: DoubleOperand, _ right: DoubleOperand, to output: UnsafeMutablePointer<Double>, stride: Int,
        sign: Double = 1, progress: () throws(Failure) -> Void
    ) throws(Failure) {
        guard rows > 0, columns > 0, depth > 0 else { return }
        for firstColumn in Swift.stride(from: 0, to: columns, by: Self.mostColumns) {
            let columns = firstColumn..<min(firstColumn + Self.mostColumns, columns)
            for firstStep in Swift.stride(from: 0, to: depth, by: Self.mostDepth) {
                try progress()
                let steps = firstStep..<min(firstStep + Self.mostDepth, depth)
                addBlock(left, right, columns, steps, to: output, stride: stride, sign: sign)
            }
        }
    }

    /// The same, to the end.
    func add(
        _ left: DoubleOperand, _ right: DoubleOperand, to output: UnsafeMutablePointer<Double>, stride: Int,
        sign: Double = 1
    ) {
        add(left, right, to: output, stride: stride, sign: sign) { () throws(Never) in }
    }

    private func addBlock(
        _ left: DoubleOperand, _ right: DoubleOperand, _ columns: Range<Int>, _ steps: Range<Int>,
        to output: UnsafeMutablePointer<Double>, stride: Int, sign: Double
    ) {
        let (tileRows, tileColumns) = (Self.tileRows, Self.tileColumns)
        let panels = (columns.count + tileColumns - 1) / tileColumns
        let isParallel = rows * columns.count * steps.count >= Self.leastParallelSteps
        Scratch.with(panels * tileColumns * steps.count, of: Double.self) { packed in
            nonisolated(unsafe) let (packed, output) = (packed, output)
            Parallel.forEach(count: panels, grain: 8, leastChunks: isParallel ? 2 : Int.max) { range in
                for panel in range {
                    let first = columns.lowerBound + panel * tileColumns
                    right.transposed.packRows(
                        first, count: min(tileColumns, columns.upperBound - first), height: tileColumns, columns: steps,
                        sign: 1, to: packed + panel * tileColumns * steps.count)
                }
            }
            // Where only the lower triangle is wanted, rows above the columns' first have nothing of it.
            let skipped = isLower ? columns.lowerBound / Self.blockRows * Self.blockRows : 0
            let count = rows - skipped
            Parallel.forEach(count: count, grain: Self.blockRows, leastChunks: isParallel ? 2 : Int.max) { range in
                let block = range.lowerBound + skipped..<range.upperBound + skipped
                let height = (block.count + tileRows - 1) / tileRows * tileRows
                Scratch.with(height * steps.count, of: Double.self) { packedRows in
                    for row in Swift.stride(from: 0, to: block.count, by: tileRows) {
                        left.packRows(
                            block.lowerBound + row, count: min(tileRows, block.count - row), height: tileRows,
                            columns: steps, sign: sign, to: packedRows + row * steps.count)
                    }
                    addTiles(packedRows, block, packed, columns, depth: steps.count, to: output, stride: stride)
                }
            }
        }
    }

    /// The tiles of a block of rows, packed, and of all packed columns.
    private func addTiles(
        _ left: UnsafePointer<Double>, _ rows: Range<Int>, _ right: UnsafePointer<Double>, _ columns: Range<Int>,
        depth: Int, to output: UnsafeMutablePointer<Double>, stride: Int
    ) {
        let (tileRows, tileColumns) = (Self.tileRows, Self.tileColumns)
        Scratch.with(tileRows * tileColumns, of: Double.self) { edge in
            var column = columns.lowerBound
            while column < columns.upperBound {
                let width = min(tileColumns, columns.upperBound &- column)
                let panel = right + (column &- columns.lowerBound) &* depth
                var row = rows.lowerBound
                while row < rows.upperBound {
                    let height = min(tileRows, rows.upperBound &- row)
                    if !isLower || column < row &+ height {
                        let block = left + (row &- rows.lowerBound) &* depth
                        let target = output + (row &* stride &+ column)
                        if height == tileRows, width == tileColumns {
                            ec_double_tile(block, panel, Int64(depth), target, Int64(stride))
                        } else {
                            edge.update(repeating: 0, count: tileRows &* tileColumns)
                            ec_double_tile(block, panel, Int64(depth), edge, Int64(tileColumns))
                            for y in 0..<height {
                                for x in 0..<width { target[y &* stride &+ x] += edge[y &* tileColumns &+ x] }
                            }
                        }
                    }
                    row &+= tileRows
                }
                column &+= tileColumns
            }
        }
    }
}
