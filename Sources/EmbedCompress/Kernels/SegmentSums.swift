/// Weighted sums of a block's gathered rows into its segments' outputs, tile of rows by tile.
///
/// Each sum is one chain of additions in the order of the ids, from what the output holds if the segment adds to it: where
/// tiles begin makes no difference.
struct SegmentSums {
    private let block: BagBlock
    private let columns: Int
    /// The first segment that is not complete.
    private var next = 0

    init(_ block: BagBlock, columns: Int) {
        self.block = block
        self.columns = columns
    }

    /// Adds the rows of `count` ids from `first` on, those after the tile before.
    ///
    /// - Parameters:
    ///   - rows: Each can be read up to the next multiple of 16 columns.
    ///   - factors: As many rows, which these are multiplied by, element by element.
    ///   - stride: Floats from one row to the next.
    mutating func add(
        _ rows: UnsafePointer<Float>, times factors: UnsafePointer<Float>? = nil, stride: Int, first: Int, count: Int
    ) {
        let end = first &+ count
        while next < block.segmentCount {
            let segment = block.segments[next]
            let (from, to) = (max(segment.start, first), min(segment.end, end))
            if from < to {
                let replaces = segment.replaces && from == segment.start
                let offset = (from &- first) &* stride
                let piece = Piece(
                    rows: rows + offset, factors: factors.map { $0 + offset } ?? rows, stride: stride,
                    weights: block.weights + from, count: to &- from, output: segment.output, columns: columns,
                    replaces: replaces)
                switch (factors != nil, block.isWeighted) {
                case (false, false): piece.add(isProduct: false, isWeighted: false)
                case (false, true): piece.add(isProduct: false, isWeighted: true)
                case (true, false): piece.add(isProduct: true, isWeighted: false)
                case (true, true): piece.add(isProduct: true, isWeighted: true)
                }
            }
            if segment.end > end { return }
            next &+= 1
        }
    }

    /// Rows of one segment.
    private struct Piece {
        let rows: UnsafePointer<Float>
        let factors: UnsafePointer<Float>
        let stride: Int
        let weights: UnsafePointer<Float>
        let count: Int
        let output: UnsafeMutablePointer<Float>
        let columns: Int
        let replaces: Bool

        @inline(__always)
        func add(isProduct: Bool, isWeighted: Bool) {
            var column = 0
            while column &+ 64 <= columns {
                var (sum0, sum1) = (start(column), start(column &+ 16))
                var (sum2, sum3) = (start(column &+ 32), start(column &+ 48))
                for index in 0..<count {
                    let place = index &* stride &+ column
                    sum0 += term(place, index, isProduct, isWeighted)
                    sum1 += term(place &+ 16, index, isProduct, isWeighted)
                    sum2 += term(place &+ 32, index, isProduct, isWeighted)
                    sum3 += term(place &+ 48, index, isProduct, isWeighted)
                }
                store16(sum0, to: output + column)
                store16(sum1, to: output + (column &+ 16))
                store16(sum2, to: output + (column &+ 32))
                store16(sum3, to: output + (column &+ 48))
                column &+= 64
            }
            while column < columns {
                let isWhole = column &+ 16 <= columns
                var sum = isWhole ? start(column) : partialStart(column)
                for index in 0..<count { sum += term(index &* stride &+ column, index, isProduct, isWeighted) }
                write16(sum, to: output + column, count: columns &- column, replaces: true)
                column &+= 16
            }
        }

        @inline(__always)
        private func start(_ column: Int) -> Floats16 { replaces ? Floats16() : load16(output + column) }

        private func partialStart(_ column: Int) -> Floats16 {
            var values = Floats16()
            if !replaces { for lane in 0..<columns - column { values[lane] = output[column + lane] } }
            return values
        }

        @inline(__always)
        private func term(_ place: Int, _ index: Int, _ isProduct: Bool, _ isWeighted: Bool) -> Floats16 {
            var value = load16(rows + place)
            if isProduct { value *= load16(factors + place) }
            if isWeighted { value *= Floats16(repeating: weights[index]) }
            return value
        }
    }
}

/// How the elements of rows are put together.
enum RowOperation {
    case sum, product

    /// Puts `count` rows together with those of `target`, where the results go. Rows can be read up to the next multiple
    /// of 16 columns.
    func combine(
        _ rows: UnsafePointer<Float>, stride: Int, count: Int, columns: Int, into target: RowBlock
    ) {
        self == .sum
            ? Self.combine(rows, stride, count, columns, into: target) { $0 + $1 }
            : Self.combine(rows, stride, count, columns, into: target) { $0 * $1 }
    }

    @inline(__always)
    private static func combine(
        _ rows: UnsafePointer<Float>, _ stride: Int, _ count: Int, _ columns: Int, into target: RowBlock,
        _ operation: (Floats16, Floats16) -> Floats16
    ) {
        let whole = columns & ~15
        for index in 0..<count {
            let (row, output) = (rows + index &* stride, target.row(index))
            var column = 0
            while column < whole {
                store16(operation(load16(output + column), load16(row + column)), to: output + column)
                column &+= 16
            }
            if column < columns {
                var rest = Floats16()
                for lane in 0..<columns &- column { rest[lane] = output[column &+ lane] }
                put16(operation(rest, load16(row + column)), to: output + column, count: columns &- column)
            }
        }
    }
}
