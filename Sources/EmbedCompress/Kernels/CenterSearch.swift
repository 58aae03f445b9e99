internal import CEmbedCompress.Parts

/// Centers laid out for the search of the nearest one to a short vector: sixteen of them side by side, so that a vector is
/// compared with sixteen at once and no distance is ever stored.
///
/// The score of a center `c` for a vector `x` is `|c|^2 / 2 - x * c`, half of their squared distance less that of `x` from
/// zero. Products are fused where the processor can: the baseline level may differ from the others in ties.
final class CenterSearch: @unchecked Sendable {
    let count: Int
    let width: Int
    private let blocks: Int
    /// For each sixteen centers their halved squared lengths, then their negated numbers, column by column. Centers that
    /// make up sixteen are infinitely far.
    private let values: UnsafeMutablePointer<Floats16>
    /// What they lie in.
    private let memory: Buffer<Floats16>

    init(count: Int, width: Int) throws {
        self.count = count
        self.width = width
        blocks = (count + 15) / 16
        guard let chunks = Checked.product(blocks, width + 1) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        memory = try Buffer(repeating: Floats16(), count: chunks)
        values = memory.base
    }

    /// Takes over `count` centers of `width` numbers each.
    func set(_ centers: UnsafePointer<Float>) {
        let floats = UnsafeMutableRawPointer(values).assumingMemoryBound(to: Float.self)
        for index in 0..<blocks * 16 {
            let place = floats + (index &>> 4 &* (width &+ 1) &* 16 &+ index & 15)
            guard index < count else {
                place[0] = .infinity
                continue
            }
            let center = centers + index * width
            var square: Float = 0
            for column in 0..<width {
                square += center[column] * center[column]
                place[(column &+ 1) &* 16] = -center[column]
            }
            place[0] = square / 2
        }
    }

    /// The nearest center of each row, of several the first, and its score.
    func nearest(
        _ rows: UnsafePointer<Float>, stride: Int, count: Int, to indices: UnsafeMutablePointer<Int32>,
        scores: UnsafeMutablePointer<Float>
    ) {
        switch width {
        case 1: nearest(Columns1.self, rows, stride, count, indices, scores)
        case 2: nearest(Columns2.self, rows, stride, count, indices, scores)
        case 3: nearest(Columns3.self, rows, stride, count, indices, scores)
        case 4: nearest(Columns4.self, rows, stride, count, indices, scores)
        case 8: nearest(Columns8.self, rows, stride, count, indices, scores)
        default: nearest(AnyColumns.self, rows, stride, count, indices, scores)
        }
    }

    @inline(__always)
    private func nearest<Columns: ColumnCount>(
        _: Columns.Type, _ rows: UnsafePointer<Float>, _ stride: Int, _ count: Int,
        _ indices: UnsafeMutablePointer<Int32>, _ scores: UnsafeMutablePointer<Float>
    ) {
        var row = 0
        // Four rows share a reading of the centers. Where there are few registers, two.
        if hasManyRegisters {
            while row &+ 4 <= count {
                four(Columns.self, rows + row &* stride, stride, indices + row, scores + row)
                row &+= 4
            }
        }
        while row &+ 2 <= count {
            two(Columns.self, rows + row &* stride, stride, indices + row, scores + row)
            row &+= 2
        }
        if row < count {
            one(Columns.self, rows + row &* stride, indices + row, scores + row)
        }
    }

    private static let first = SIMD16<Int32>(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)

    @inline(__always)
    private func four<Columns: ColumnCount>(
        _: Columns.Type, _ rows: UnsafePointer<Float>, _ stride: Int, _ indices: UnsafeMutablePointer<Int32>,
        _ scores: UnsafeMutablePointer<Float>
    ) {
        let width = Columns.count > 0 ? Columns.count : self.width
        let (row0, row1, row2, row3) = (rows, rows + stride, rows + 2 &* stride, rows + 3 &* stride)
        var (best0, best1, best2, best3) = (Best(), Best(), Best(), Best())
        var number = Self.first
        var block = values
        for _ in 0..<blocks {
            var (score0, score1, score2, score3) = (block[0], block[0], block[0], block[0])
            for column in 0..<width {
                let center = block[column &+ 1]
                score0 = fused(center, row0[column], score0)
                score1 = fused(center, row1[column], score1)
                score2 = fused(center, row2[column], score2)
                score3 = fused(center, row3[column], score3)
            }
            best0.keep(score0, number)
            best1.keep(score1, number)
            best2.keep(score2, number)
            best3.keep(score3, number)
            number &+= 16
            block += width &+ 1
        }
        best0.store(indices, scores)
        best1.store(indices + 1, scores + 1)
        best2.store(indices + 2, scores + 2)
        best3.store(indices + 3, scores + 3)
    }

    @inline(__always)
    private func two<Columns: ColumnCount>(
        _: Columns.Type, _ rows: UnsafePointer<Float>, _ stride: Int, _ indices: UnsafeMutablePointer<Int32>,
        _ scores: UnsafeMutablePointer<Float>
    ) {
        let width = Columns.count > 0 ? Columns.count : self.width
        let (row0, row1) = (rows, rows + stride)
        var (best0, best1) = (Best(), Best())
        var number = Self.first
        var block = values
        for _ in 0..<blocks {
            var (score0, score1) = (block[0], block[0])
            for column in 0..<width {
                let center = block[column &+ 1]
                score0 = fused(center, row0[column], score0)
                score1 = fused(center, row1[column], score1)
            }
            best0.keep(score0, number)
            best1.keep(score1, number)
            number &+= 16
            block += width &+ 1
        }
        best0.store(indices, scores)
        best1.store(indices + 1, scores + 1)
    }

    @inline(__always)
    private func one<Columns: ColumnCount>(
        _: Columns.Type, _ row: UnsafePointer<Float>, _ index: UnsafeMutablePointer<Int32>,
        _ score: UnsafeMutablePointer<Float>
    ) {
        let width = Columns.count > 0 ? Columns.count : self.width
        var best = Best()
        var number = Self.first
        var block = values
        for _ in 0..<blocks {
            var score = block[0]
            for column in 0..<width { score = fused(block[column &+ 1], row[column], score) }
            best.keep(score, number)
            number &+= 16
            block += width &+ 1
        }
        best.store(index, score)
    }

    /// Scores from one row's to the next row's: those of all centers, in whole sixteens.
    var scoreStride: Int { blocks &* 16 }

    /// The scores of all centers for each row; infinite past the last center.
    func scores(
        _ rows: UnsafePointer<Float>, stride: Int, count: Int, to scores: UnsafeMutablePointer<Float>
    ) {
        let (width, scoreStride) = (width, scoreStride)
        var row = 0
        while row &+ 4 <= count {
            let (row0, target0) = (rows + row &* stride, scores + row &* scoreStride)
            let (row1, row2, row3) = (row0 + stride, row0 + 2 &* stride, row0 + 3 &* stride)
            let (target1, target2) = (target0 + scoreStride, target0 + 2 &* scoreStride)
            let target3 = target0 + 3 &* scoreStride
            var block = values
            for index in 0..<blocks {
                var (score0, score1, score2, score3) = (block[0], block[0], block[0], block[0])
                for column in 0..<width {
                    let center = block[column &+ 1]
                    score0 = fused(center, row0[column], score0)
                    score1 = fused(center, row1[column], score1)
                    score2 = fused(center, row2[column], score2)
                    score3 = fused(center, row3[column], score3)
                }
                store16(score0, to: target0 + index &* 16)
                store16(score1, to: target1 + index &* 16)
                store16(score2, to: target2 + index &* 16)
                store16(score3, to: target3 + index &* 16)
                block += width &+ 1
            }
            row &+= 4
        }
        while row < count {
            let (source, target) = (rows + row &* stride, scores + row &* scoreStride)
            var block = values
            for index in 0..<blocks {
                var score = block[0]
                for column in 0..<width { score = fused(block[column &+ 1], source[column], score) }
                store16(score, to: target + index &* 16)
                block += width &+ 1
            }
            row &+= 1
        }
    }
}

/// Numbers of a vector, where they are few: a type, so that each is compiled on its own. 0: any number.
private protocol ColumnCount { static var count: Int { get } }
private enum Columns1: ColumnCount { static var count: Int { 1 } }
private enum Columns2: ColumnCount { static var count: Int { 2 } }
private enum Columns3: ColumnCount { static var count: Int { 3 } }
private enum Columns4: ColumnCount { static var count: Int { 4 } }
private enum Columns8: ColumnCount { static var count: Int { 8 } }
private enum AnyColumns: ColumnCount { static var count: Int { 0 } }

/// The least score of each lane so far, and the number of its center.
private struct Best {
    var least = Floats16(repeating: .infinity)
    var index = SIMD16<Int32>()

    @inline(__always)
    mutating func keep(_ score: Floats16, _ number: SIMD16<Int32>) {
        index = ec_index_of_less(score, least, number, index)
        least = leastOf(score, least)
    }

    @inline(__always)
    func store(_ target: UnsafeMutablePointer<Int32>, _ score: UnsafeMutablePointer<Float>) {
        let value = ec_least16(least)
        score[0] = value
        target[0] = ec_index_of_least(least, index, value)
    }
}

/// `a * b + c`, fused where the processor can.
@inline(__always)
func fused(_ a: Floats16, _ b: Float, _ c: Floats16) -> Floats16 {
    hasWideRegisters ? c.addingProduct(a, Floats16(repeating: b)) : a * Floats16(repeating: b) + c
}
