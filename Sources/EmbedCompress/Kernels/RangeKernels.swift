// What range searches need of a row: its extent, the error of a candidate range, and its codes. Nothing here is fused, so that every
// instruction set chooses the same codes.

/// A group of columns of one row, as floats, readable in chunks of sixteen.
struct RowValues {
    /// At least `count` rounded up to 16 floats are readable.
    let base: UnsafePointer<Float>
    let count: Int

    private var full: Int { count / 16 }

    @inline(__always)
    private func chunk(_ index: Int) -> Floats16 { load16(base + index * 16) }

    /// Lanes of the last, partial chunk that are within the row.
    @inline(__always)
    private var lastLanes: SIMDMask<SIMD16<Int32>> {
        SIMD16<Int32>(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) .< Int32(truncatingIfNeeded: count % 16)
    }

    /// Calls `body` with every chunk; the lanes past the row repeat its first value.
    @inline(__always)
    private func forEachChunk(_ body: (Floats16) -> Void) {
        for index in 0..<full { body(chunk(index)) }
        if count % 16 != 0 {
            let filler = Floats16(repeating: base[0])
            body(filler.replacing(with: chunk(full), where: lastLanes))
        }
    }

    /// Smallest and largest value.
    @inline(__always)
    func extent() -> (minimum: Float, maximum: Float) {
        var low = Floats16(repeating: base[0])
        var high = low
        forEachChunk { values in
            low = low.replacing(with: values, where: values .< low)
            high = high.replacing(with: values, where: values .> high)
        }
        return (low.min(), high.max())
    }

    /// Whether no value is NaN or infinite.
    func isFinite() -> Bool {
        // An infinite or NaN value makes its difference with itself NaN.
        var difference = Floats16()
        forEachChunk { values in difference += values - values }
        return difference.sum() == 0
    }

    /// The squared error of the row under a range, in f32: sixteen running sums, then their sum in order.
    @inline(__always)
    func squaredError(_ range: StoredRange, lastCode: Float) -> Float {
        let scale = Floats16(repeating: range.scale)
        let bias = Floats16(repeating: range.bias)
        let inverse = Floats16(repeating: range.inverse)
        let last = Floats16(repeating: lastCode)
        @inline(__always)
        func errors(_ values: Floats16) -> Floats16 {
            let restored = roundedCodes(values, bias, inverse, last) * scale + bias
            let error = values - restored
            return error * error
        }
        var total = Floats16()
        for index in 0..<full { total += errors(chunk(index)) }
        if count % 16 != 0 { total += errors(chunk(full)).replacing(with: 0, where: .!lastLanes) }
        return total.sum()
    }

    /// The nearest codes of the row under a range.
    func encode(_ range: StoredRange, lastCode: Float, to codes: UnsafeMutablePointer<UInt16>) {
        let bias = Floats16(repeating: range.bias)
        let inverse = Floats16(repeating: range.inverse)
        let last = Floats16(repeating: lastCode)
        for index in 0..<(count + 15) / 16 {
            let rounded = roundedCodes(chunk(index), bias, inverse, last)
            for lane in 0..<min(16, count - index * 16) { codes[index * 16 + lane] = UInt16(rounded[lane]) }
        }
    }
}

/// `clamp(round((x - bias) / scale), 0, lastCode)`, halves to even.
@inline(__always)
private func roundedCodes(_ values: Floats16, _ bias: Floats16, _ inverse: Floats16, _ last: Floats16) -> Floats16 {
    var codes = (values - bias) * inverse
    // Comparisons are this way round so that a NaN (from lanes past the row) becomes 0.
    codes = Floats16().replacing(with: codes, where: codes .> 0)
    codes = codes.replacing(with: last, where: codes .> last)
    // Adding 1.5 * 2^23 leaves no bits below one: the sum is rounded as the processor rounds, to nearest, halves to even.
    let magic = Floats16(repeating: 12_582_912)
    return (codes + magic) - magic
}

/// A scale and a bias as they will be stored, and what codes are computed with.
struct StoredRange: Equatable {
    let scale: Float
    let bias: Float
    let inverse: Float

    /// Scale and bias for values from `minimum` to `maximum`, rounded to the type that stores them. As in FBGEMM, the scale is taken from the
    /// rounded bias, and is 1 where the range is empty or too small for the type.
    @inline(__always)
    init(minimum: Float, maximum: Float, lastCode: Float, type: ScaleType) {
        let bias = type.rounded(minimum)
        var scale = type.rounded((maximum - bias) / lastCode)
        var inverse = 1 / scale
        if scale <= 0 || !inverse.isFinite {
            scale = 1
            inverse = 1
        }
        self.scale = scale
        self.bias = bias
        self.inverse = inverse
    }

    var isFinite: Bool { scale.isFinite && bias.isFinite }
}

extension ScaleType {
    /// The nearest value of this type.
    @inline(__always)
    func rounded(_ value: Float) -> Float {
        self == .float32 ? value : floatFromHalf(halfFromFloat(value))
    }
}
