/// The best range of short rows with few codes, by trying every assignment of codes.
///
/// Codes nearest to a range rise with the values. So there are no more assignments than ways to cut the sorted values into
/// as many pieces as there are codes, and of each the best line, which is one of the ranges, has an error that sums from
/// every cut on say. Weights that differ much leave many minima, which a descent misses. Exact but for the rounding of f32
/// sums, and of scale and bias as they are stored. `(n + c)! / n! / c!` assignments of `n` columns to `c + 1` codes.
struct RisingCodes {
    private static let mostColumns = 64
    private static let mostAssignments = 8192

    /// Whether that many assignments are few enough to try.
    static func areFew(columns: Int, lastCode: Int) -> Bool {
        guard columns <= mostColumns else { return false }
        var count = 1
        for cut in 1...lastCode {
            count = count * (columns + cut) / cut
            if count > mostAssignments { return false }
        }
        return true
    }

    static func ranges(of batch: RowBatch) -> Ranges {
        var found = batch.widest
        Scratch.with(4 * (batch.count + 1), of: Floats16.self) { space in
            var search = RisingCodes(batch, space)
            search.cut(1, from: 0, code: Floats16(), square: Floats16(), product: Floats16())
            found = search.found(batch)
        }
        return found
    }

    private let count: Int
    private let cuts: Int
    /// Of a row's weights.
    private let inverse: Floats16
    /// The weighted mean of a row's values, which are in steps of the widest range from the minimum on.
    private let mean: Floats16
    /// Sums over the values from a place on: of weights, and of weights times values less their mean.
    private let weights: UnsafeMutablePointer<Floats16>
    private let products: UnsafeMutablePointer<Floats16>
    private var bestScore = Floats16()
    private var bestSlope = Floats16()
    private var bestCode = Floats16()

    private init(_ batch: RowBatch, _ space: UnsafeMutablePointer<Floats16>) {
        (count, cuts) = (batch.count, Int(batch.format.lastCode))
        (weights, products) = (space, space + count + 1)
        let (values, amounts) = (space + 2 * (count + 1), space + 3 * (count + 1))
        for column in 0..<count {
            values[column] = (batch.columns[column] - batch.minimum) * batch.widest.inverse
            amounts[column] = batch.weighted(Floats16(repeating: 1), column)
        }
        for lane in 0..<RowBatch.lanes { Self.sort(values, amounts, count, lane) }
        var (weight, sum) = (Floats16(), Floats16())
        for column in 0..<count {
            weight += amounts[column]
            sum += amounts[column] * values[column]
        }
        inverse = Floats16().replacing(with: 1 / weight, where: weight .> 0)
        mean = sum * inverse
        (weights[count], products[count]) = (Floats16(), Floats16())
        for column in stride(from: count - 1, through: 0, by: -1) {
            weights[column] = weights[column + 1] + amounts[column]
            products[column] = products[column + 1] + amounts[column] * (values[column] - mean)
        }
    }

    /// Sorts a row's values, and its weights with them.
    private static func sort(
        _ values: UnsafeMutablePointer<Floats16>, _ weights: UnsafeMutablePointer<Floats16>, _ count: Int, _ lane: Int
    ) {
        for column in 1..<max(count, 1) {
            let (value, weight) = (values[column][lane], weights[column][lane])
            var place = column
            while place > 0, values[place - 1][lane] > value {
                values[place][lane] = values[place - 1][lane]
                weights[place][lane] = weights[place - 1][lane]
                place -= 1
            }
            (values[place][lane], weights[place][lane]) = (value, weight)
        }
    }

    /// Tries every place of the cuts from `number` on, given weighted sums of codes, of their squares and of their products
    /// with values that the cuts before have made: values from a cut on have a code that is larger by 1.
    private mutating func cut(_ number: Int, from first: Int, code: Floats16, square: Floats16, product: Floats16) {
        let growth = Float(2 * number - 1)
        for place in first...count {
            let code = code + weights[place]
            let square = square + weights[place] * growth
            let product = product + products[place]
            guard number == cuts else {
                cut(number + 1, from: place, code: code, square: square, product: product)
                continue
            }
            let spread = square - code * code * inverse
            let slope = product / spread
            // What the line takes away of the error of a single value.
            let score = slope * product
            let improves = score .> bestScore .& spread .> 0 .& product .> 0
            bestScore = bestScore.replacing(with: score, where: improves)
            bestSlope = bestSlope.replacing(with: slope, where: improves)
            bestCode = bestCode.replacing(with: code, where: improves)
        }
    }

    /// The best line as a range; the widest where there is none.
    private func found(_ batch: RowBatch) -> Ranges {
        let (type, widest) = (batch.format.type, batch.widest)
        let bias = batch.minimum + (mean - bestSlope * bestCode * inverse) * widest.scale
        let line = Ranges(scale: type.rounded(bestSlope * widest.scale), bias: type.rounded(bias))
        var result = widest
        result.replace(with: line, where: bestScore .> 0)
        return result
    }
}
