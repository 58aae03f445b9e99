/// Sixteen rows, or the same group of columns of sixteen rows, side by side: lane `r` of a column is row `r`'s value.
///
/// Searches work on all sixteen at once. A search within one row waits for each of its steps to finish; sixteen rows in
/// lanes keep the processor busy, and every scalar of the algorithm becomes a vector. Nothing here is fused, so that
/// every instruction set finds the same ranges.
struct RowBatch {
    static let lanes = 16

    let columns: UnsafePointer<Floats16>
    let count: Int
    let minimum: Floats16
    let maximum: Floats16
    let format: RangeFormat

    /// The squared error of each row under its range. Columns are summed in runs, so that long rows keep their
    /// precision.
    @inline(__always)
    func squaredErrors(_ ranges: Ranges) -> Floats16 {
        var total = Floats16()
        var start = 0
        while start < count {
            let end = min(start &+ 256, count)
            var sum = Floats16()
            for column in start..<end {
                let values = columns[column]
                let error = values - (format.codes(values, ranges) * ranges.scale + ranges.bias)
                sum += error * error
            }
            total += sum
            start = end
        }
        return total
    }

    /// The ranges from each row's minimum to its maximum.
    var widest: Ranges { format.ranges(minimum, maximum) }

    /// `candidate` where its error is smaller than the best so far.
    @inline(__always)
    func improve(_ best: inout Ranges, _ bestErrors: inout Floats16, with candidate: Ranges) {
        let errors = squaredErrors(candidate)
        best.replace(with: candidate, where: errors .< bestErrors)
        bestErrors = bestErrors.replacing(with: errors, where: errors .< bestErrors)
    }
}

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
        var codes = (values - ranges.bias) * ranges.inverse
        // Comparisons are this way round so that a NaN becomes 0.
        codes = Floats16().replacing(with: codes, where: codes .> 0)
        codes = codes.replacing(with: lastCode, where: codes .> lastCode)
        // Adding 1.5 * 2^23 leaves no bits below one: the sum is rounded as the processor rounds, to nearest, halves to
        // even.
        return (codes + 12_582_912) - 12_582_912
    }

    /// Scales and biases for values from `minimum` to `maximum`, as they will be stored. As in FBGEMM, the scale is
    /// taken from the rounded bias, and is 1 where the range is empty or too small for the type.
    @inline(__always)
    func ranges(_ minimum: Floats16, _ maximum: Floats16) -> Ranges {
        let bias = type.rounded(minimum)
        return Ranges(scale: type.rounded((maximum - bias) / lastCode), bias: bias)
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

    /// Lanes that the stored type can hold.
    var isFinite: SIMDMask<SIMD16<Int32>> { (scale - scale) .== 0 .& (bias - bias) .== 0 }

    /// The range of one row in every lane.
    @inline(__always)
    func row(_ lane: Int) -> Ranges { Ranges(scale: .init(repeating: scale[lane]), bias: .init(repeating: bias[lane])) }
}

extension ScaleType {
    /// The nearest values of this type.
    @inline(__always)
    func rounded(_ values: Floats16) -> Floats16 {
        if self == .float32 { return values }
        var result = Floats16()
        for lane in 0..<16 { result[lane] = floatFromHalf(halfFromFloat(values[lane])) }
        return result
    }
}
