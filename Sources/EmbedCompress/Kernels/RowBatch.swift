/// Sixteen rows, or the same group of columns of sixteen rows, side by side: lane `r` of a column is row `r`'s value.
///
/// Searches work on all sixteen at once. A search within one row waits for each of its steps to finish; sixteen rows in
/// lanes keep the processor busy, and every scalar of the algorithm becomes a vector. Nothing here is fused, so that
/// every instruction set finds the same ranges.
struct RowBatch {
    static let lanes = 16
    private static let run = 256

    let columns: UnsafePointer<Floats16>
    /// How much the error of each element counts; nil for all alike.
    let weights: UnsafePointer<Floats16>?
    let count: Int
    let minimum: Floats16
    let maximum: Floats16
    let format: RangeFormat
    /// How errors count; nil for their squares.
    let norm: ErrorNorm?

    /// The ranges from each row's minimum to its maximum.
    let widest: Ranges

    init(
        columns: UnsafePointer<Floats16>, weights: UnsafePointer<Floats16>?, count: Int, minimum: Floats16,
        maximum: Floats16, format: RangeFormat, norm: ErrorNorm?
    ) {
        (self.columns, self.weights, self.count) = (columns, weights, count)
        (self.minimum, self.maximum, self.format, self.norm) = (minimum, maximum, format, norm)
        widest = format.ranges(minimum, maximum)
    }

    /// Errors are squared in steps of the widest range, where they neither overflow nor vanish. The factor that turns
    /// squares in steps of other ranges into those.
    @inline(__always)
    func unit(_ ranges: Ranges) -> Floats16 {
        let steps = ranges.scale * widest.inverse
        return steps * steps
    }

    /// The error of each row under its range: the sum of its elements' squares, or of what the norm makes of them. What
    /// the rounding of decoded values adds is left out.
    @inline(__always)
    func errors(_ ranges: Ranges) -> Floats16 {
        if let norm { return powers(ranges, norm) }
        let (bias, inverse) = (ranges.bias, ranges.inverse)
        let last = Floats16(repeating: format.lastCode)
        var total = Floats16()
        // Columns are summed in runs, so that long rows keep their precision.
        for start in Swift.stride(from: 0, to: count, by: Self.run) {
            var sum = Floats16()
            for column in start..<min(start &+ Self.run, count) {
                let steps = (columns[column] - bias) * inverse
                let error = steps - nearestCodes(steps, last)
                sum += weighted(error * error, column)
            }
            total += sum
        }
        return total * unit(ranges)
    }

    /// The errors under two ranges, in one pass.
    @inline(__always)
    func errors(_ first: Ranges, _ second: Ranges) -> (Floats16, Floats16) {
        if let norm { return (powers(first, norm), powers(second, norm)) }
        let (bias1, inverse1) = (first.bias, first.inverse)
        let (bias2, inverse2) = (second.bias, second.inverse)
        let last = Floats16(repeating: format.lastCode)
        var total1 = Floats16()
        var total2 = Floats16()
        for start in Swift.stride(from: 0, to: count, by: Self.run) {
            var sum1 = Floats16()
            var sum2 = Floats16()
            for column in start..<min(start &+ Self.run, count) {
                let values = columns[column]
                let steps1 = (values - bias1) * inverse1
                let steps2 = (values - bias2) * inverse2
                let error1 = steps1 - nearestCodes(steps1, last)
                let error2 = steps2 - nearestCodes(steps2, last)
                sum1 += weighted(error1 * error1, column)
                sum2 += weighted(error2 * error2, column)
            }
            total1 += sum1
            total2 += sum2
        }
        return (total1 * unit(first), total2 * unit(second))
    }

    /// Takes a candidate over as the best where its error is smaller.
    @inline(__always)
    func keep(_ best: inout Ranges, _ bestErrors: inout Floats16, _ candidate: Ranges, _ errors: Floats16) {
        let improves = errors .< bestErrors
        best.replace(with: candidate, where: improves)
        bestErrors = bestErrors.replacing(with: errors, where: improves)
    }

    /// The largest magnitude of each row.
    var magnitude: Floats16 { maximum.replacing(with: -minimum, where: maximum .< -minimum) }

    /// Sums of powers other than squares, in units of the widest range as those are.
    @inline(never)
    private func powers(_ ranges: Ranges, _ norm: ErrorNorm) -> Floats16 {
        let last = Floats16(repeating: format.lastCode)
        let unit = ranges.scale * widest.inverse
        return total { column in
            let steps = (columns[column] - ranges.bias) * ranges.inverse
            return norm.power((steps - nearestCodes(steps, last)) * unit)
        }
    }

    /// The weighted sum of a term of each column. Columns are summed in runs, so that long rows keep their precision.
    @inline(__always)
    private func total(_ term: (_ column: Int) -> Floats16) -> Floats16 {
        var total = Floats16()
        for start in Swift.stride(from: 0, to: count, by: Self.run) {
            var sum = Floats16()
            for column in start..<min(start &+ Self.run, count) { sum += weighted(term(column), column) }
            total += sum
        }
        return total
    }

    /// The error of each row as it is decoded.
    private func decodedErrors(_ ranges: Ranges) -> Floats16 {
        total { column in
            let values = columns[column]
            let decoded = format.codes(values, ranges) * ranges.scale + ranges.bias
            let error = (values - decoded) * widest.inverse
            guard let norm else { return error * error }
            return norm.power(error)
        }
    }

    @inline(__always)
    func weighted(_ term: Floats16, _ column: Int) -> Floats16 {
        guard let weights else { return term }
        return term * weights[column]
    }

    /// Ranges of so many times the width, about the same middle. Rows of one value keep theirs, and so do those whose range
    /// is too small to divide by. A width that becomes too small for its scale to be stored has the smallest one that is.
    func stretched(_ ranges: Ranges, by factors: Floats16) -> Ranges {
        let half = ranges.scale * (format.lastCode / 2)
        let (middle, reach) = (ranges.bias + half, half * factors)
        // A scale of 1 may stand for a range that has none.
        let hasScale = ranges.scale .!= 1 .| format.scale(from: ranges.bias, to: maximum) .>= format.type.leastScale
        let bias = format.type.rounded(middle - reach)
        var scale = format.scale(from: bias, to: middle + reach)
        // The bias may be rounded past the end of so short a range.
        let width = mostOf(format.scale(from: -reach, to: reach), Floats16(repeating: format.type.leastScale))
        scale = scale.replacing(with: width, where: scale .< format.type.leastScale)
        var result = ranges
        result.replace(
            with: Ranges(scale: scale, bias: bias), where: maximum .> minimum .& hasScale .& factors .!= 1)
        return result
    }

    /// Replaces ranges by the widest where that has the smaller error, each with the best scale near it. Returns the rows
    /// that end up with the widest.
    func fallBack(_ ranges: inout Ranges) -> SIMDMask<SIMD16<Int32>> {
        var plain = widest
        takeBestNeighbours(&plain)
        takeBestNeighbours(&ranges)
        // The comparison is this way round so that a NaN falls back.
        ranges.replace(with: plain, where: .!(decodedErrors(ranges) .< decodedErrors(plain)))
        return ranges.scale .== plain.scale .& ranges.bias .== plain.bias
    }

    /// Takes the next larger or smaller f16 scale where the codes that go with it have less error. Only scales that are
    /// coarse for the number of codes are looked at.
    func takeBestNeighbours(_ ranges: inout Ranges) {
        let isCoarse = format.areCoarse(ranges.scale)
        guard any(isCoarse) else { return }
        var best = ranges
        var bestErrors = decodedErrors(ranges)
        for step in [ScaleType.leastHalf, -ScaleType.leastHalf] {
            let neighbour = Ranges(scale: ranges.scale + step, bias: ranges.bias)
            keep(&best, &bestErrors, neighbour, decodedErrors(neighbour))
        }
        ranges.replace(with: best, where: isCoarse)
    }
}

/// The codes nearest to `steps`, values in steps of the scale from the bias on: `clamp(round(steps), 0, last)`.
@inline(__always)
func nearestCodes(_ steps: Floats16, _ last: Floats16) -> Floats16 {
    rounded(clamped(steps, last))
}

/// `clamp(steps, 0, last)`; NaN becomes 0.
@inline(__always)
func clamped(_ steps: Floats16, _ last: Floats16) -> Floats16 { leastOf(mostOf(steps, Floats16()), last) }

/// What a search must know of the stored form: the last code, and the type of scale and bias.
struct RangeFormat {
    let lastCode: Float
    let type: ScaleType

    init(bits: Int, type: ScaleType) {
        lastCode = Float((1 << bits) - 1)
        self.type = type
    }

    /// `clamp(round((x - bias) / scale), 0, lastCode)`, halves to even.
    @inline(__always)
    func codes(_ values: Floats16, _ ranges: Ranges) -> Floats16 {
        rounded(places(values, ranges))
    }

    /// The codes before they are rounded.
    @inline(__always)
    func places(_ values: Floats16, _ ranges: Ranges) -> Floats16 {
        clamped((values - ranges.bias) * ranges.inverse, Floats16(repeating: lastCode))
    }

    /// Scales and biases for values from `minimum` to `maximum`, as they will be stored. As in FBGEMM, the scale is
    /// taken from the rounded bias, and is 1 where the range is empty.
    @inline(__always)
    func ranges(_ minimum: Floats16, _ maximum: Floats16) -> Ranges {
        let bias = type.rounded(minimum)
        let scale = scale(from: bias, to: maximum)
        guard type == .float32 else { return Ranges(scale: scale, bias: bias) }
        let isTooSmall = scale .< type.leastScale .& maximum .> minimum
        guard any(isTooSmall) else { return Ranges(scale: scale, bias: bias) }
        return leastRanges(Ranges(scale: scale, bias: bias), where: isTooSmall)
    }

    /// The smallest f32 scale, and the multiple of it that is nearest to the bias, in some of the rows: decoded values are
    /// multiples of the scale then, and none is farther from a value than 0 is.
    @inline(never)
    private func leastRanges(_ ranges: Ranges, where mask: SIMDMask<SIMD16<Int32>>) -> Ranges {
        let steps = ranges.bias * (1 / type.leastScale)
        // Larger ones are near enough to multiples.
        let isNear = steps .< 0x1p22 .& steps .> -0x1p22
        let multiple = ranges.bias.replacing(with: rounded(steps) * type.leastScale, where: isNear)
        var result = ranges
        result.replace(
            with: Ranges(scale: Floats16(repeating: type.leastScale), bias: multiple), where: mask)
        return result
    }

    /// Scales that are as little as f16 can say for so many codes: the nearest f16 number may leave the end of the range more
    /// than a step away from the last code.
    @inline(__always)
    func areCoarse(_ scales: Floats16) -> SIMDMask<SIMD16<Int32>> {
        let bound = type == .float16 ? min(0x1p-14, lastCode * (ScaleType.leastHalf / 2)) : 0
        return scales .< Floats16(repeating: bound)
    }

    /// The stored scale of which the last code reaches from a bias to `maximum`; one that is not usable where it is below.
    @inline(__always)
    func scale(from bias: Floats16, to maximum: Floats16) -> Floats16 {
        type.roundedScale((maximum - bias) / lastCode, lastCode: lastCode)
    }
}

/// A scale and a bias for each of sixteen rows, as stored, and what codes are computed with.
struct Ranges {
    private(set) var scale: Floats16
    private(set) var bias: Floats16
    private(set) var inverse: Floats16

    /// A scale that is 0 or too small to divide by becomes 1.
    @inline(__always)
    init(scale: Floats16, bias: Floats16) {
        let inverse = 1 / scale
        let usable = scale .> 0 .& inverse .< .infinity
        self.scale = Floats16(repeating: 1).replacing(with: scale, where: usable)
        self.inverse = Floats16(repeating: 1).replacing(with: inverse, where: usable)
        self.bias = bias
    }

    @inline(__always)
    mutating func replace(with other: Ranges, where mask: SIMDMask<SIMD16<Int32>>) {
        scale = scale.replacing(with: other.scale, where: mask)
        bias = bias.replacing(with: other.bias, where: mask)
        inverse = inverse.replacing(with: other.inverse, where: mask)
    }

    /// Lanes whose values are finite, up to that of the last code.
    func areFinite(lastCode: Float) -> SIMDMask<SIMD16<Int32>> {
        let top = scale * lastCode + bias
        return (top - top) .== 0
    }

    /// Calls `body` with the range of each of the first `count` rows, in every lane.
    @inline(__always)
    func forEachRow(_ count: Int, _ body: (_ lane: Int, _ row: Ranges) -> Void) {
        // Lanes are read from memory, to which they are written once.
        withUnsafeBytes(of: self) { lanes in
            for index in 0..<count {
                var row = self
                row.scale = .init(repeating: lanes.load(fromByteOffset: 4 &* index, as: Float.self))
                row.bias = .init(repeating: lanes.load(fromByteOffset: 64 &+ 4 &* index, as: Float.self))
                row.inverse = .init(repeating: lanes.load(fromByteOffset: 128 &+ 4 &* index, as: Float.self))
                body(index, row)
            }
        }
    }
}

extension ScaleType {
    /// The smallest f16 number, and how far all below 2^-14 are apart.
    static var leastHalf: Float { 0x1p-24 }
    /// The smallest scale to store: of f16, the smallest number; f32 has smaller ones, but with fewer digits.
    var leastScale: Float { self == .float16 ? Self.leastHalf : .leastNormalMagnitude }

    /// The nearest values of this type.
    @inline(__always)
    func rounded(_ values: Floats16) -> Floats16 {
        self == .float32 ? values : floats(halves(values))
    }

    /// The nearest scales of this type; or the next larger one where the nearest would leave the end of the range more
    /// than a step away from the last code. Below 2^-14 numbers in f16 are 2^-24 apart, so that a scale may lose up to
    /// all of itself, and 255 codes lose 255 times as much.
    @inline(__always)
    func roundedScale(_ scales: Floats16, lastCode: Float) -> Floats16 {
        let nearest = rounded(scales)
        guard self == .float16 else { return nearest }
        let isShort = scales .< 0x1p-14 .& (scales - nearest) * lastCode .> nearest
        return nearest.replacing(with: nearest + Self.leastHalf, where: isShort)
    }
}
