internal import CEmbedCompress.Shims

// Sixteen columns at a time. Conversions are fixed-count loops over lanes, which the compiler turns into one
// instruction; the generic initialisers of SIMD types become calls.

typealias Floats16 = SIMD16<Float>

/// False at the level that has neither fused multiply-add nor 256-bit registers. A constant once compiled.
@inline(__always)
var hasWideRegisters: Bool { EC_HAS_FMA != 0 }

/// Whether there are 32 registers for vectors. A constant once compiled.
@inline(__always)
var hasManyRegisters: Bool { EC_MANY_REGISTERS != 0 }

/// `a * b + c`, with the product rounded unless `isExact` says that it needs no rounding. Then, and only then, it is
/// fused where the processor can: every instruction set gives the same bits.
@inline(__always)
func multiplyAdd(_ a: Floats16, _ b: Floats16, _ c: Floats16, isExact: Bool) -> Floats16 {
    hasWideRegisters && isExact ? c.addingProduct(a, b) : a * b + c
}

/// The smaller of each pair of lanes; `b` where `a` is NaN.
@inline(__always)
func leastOf(_ a: Floats16, _ b: Floats16) -> Floats16 { ec_min16(a, b) }

/// The larger of each pair of lanes; `b` where `a` is NaN.
@inline(__always)
func mostOf(_ a: Floats16, _ b: Floats16) -> Floats16 { ec_max16(a, b) }

/// Lane `r`: the smallest of `rows[r]`, for sixteen rows without NaN.
@inline(__always)
func leastOfRows(_ rows: UnsafePointer<Floats16>) -> Floats16 {
    ec_least_of_rows(UnsafeRawPointer(rows).assumingMemoryBound(to: Float.self))
}

/// The nearest whole numbers, halves to even, of numbers from -2^22 to 2^22.
@inline(__always)
func rounded(_ values: Floats16) -> Floats16 { ec_round16(values) }

@inline(__always)
func floats(_ bytes: SIMD16<UInt8>) -> Floats16 {
    var result = Floats16()
    for lane in 0..<16 { result[lane] = Float(bytes[lane]) }
    return result
}

/// `even[0], odd[0], even[1], odd[1], …`
@inline(__always)
func interleaved(_ even: Floats16, _ odd: Floats16) -> SIMD32<Float> {
    var result = SIMD32<Float>()
    result.evenHalf = even
    result.oddHalf = odd
    return result
}

@inline(__always)
func load16(_ source: UnsafeRawPointer) -> Floats16 {
    source.loadUnaligned(as: Floats16.self)
}

@inline(__always)
func store16(_ value: Floats16, to target: UnsafeMutablePointer<Float>) {
    UnsafeMutableRawPointer(target).storeBytes(of: value, as: Floats16.self)
}

/// Adds the first `count` lanes, fewer than 16, to `target`.
@inline(__always)
func add16(_ value: Floats16, to target: UnsafeMutablePointer<Float>, count: Int) {
    for lane in 0..<count { target[lane] += value[lane] }
}

/// Writes the first `count` lanes, fewer than 16, to `target`.
@inline(__always)
func put16(_ value: Floats16, to target: UnsafeMutablePointer<Float>, count: Int) {
    var lane = 0
    if count >= 8 {
        UnsafeMutableRawPointer(target).storeBytes(of: value.lowHalf, as: SIMD8<Float>.self)
        lane = 8
    }
    while lane < count {
        target[lane] = value[lane]
        lane += 1
    }
}

/// Writes the first `count` lanes, all of them from 16 on, or adds them to what is there.
@inline(__always)
func write16(_ value: Floats16, to target: UnsafeMutablePointer<Float>, count: Int, replaces: Bool) {
    if count >= 16 {
        store16(replaces ? value : load16(target) + value, to: target)
    } else if replaces {
        put16(value, to: target, count: count)
    } else {
        add16(value, to: target, count: count)
    }
}

/// Adds `weight` times a row to `target`, or writes it. The row may be read up to the next multiple of 16 columns.
@inline(__always)
func addRow(
    _ row: UnsafePointer<Float>, weight: Float, to target: UnsafeMutablePointer<Float>, count: Int, replaces: Bool
) {
    let weight = Floats16(repeating: weight)
    for column in stride(from: 0, to: count, by: 16) {
        write16(weight * load16(row + column), to: target + column, count: count &- column, replaces: replaces)
    }
}

// MARK: - Half and bfloat16

@inline(__always)
func floatFromHalf(_ half: UInt16) -> Float { ec_half_to_float(half) }

@inline(__always)
func halfFromFloat(_ value: Float) -> UInt16 { ec_float_to_half(value) }

/// The nearest halves.
@inline(__always)
func halves(_ values: Floats16) -> SIMD16<UInt16> { ec_floats_to_halves(values) }

/// Sixteen halves, exactly, non-finite ones included.
@inline(__always)
func floats(_ halves: SIMD16<UInt16>) -> Floats16 { ec_halves_to_floats(halves) }

@inline(__always)
func floatsFromHalves(_ source: UnsafeRawPointer) -> Floats16 {
    floats(source.loadUnaligned(as: SIMD16<UInt16>.self))
}

@inline(__always)
func floatsFromBrainFloats(_ source: UnsafeRawPointer) -> Floats16 {
    let halves = source.loadUnaligned(as: SIMD16<UInt16>.self)
    var wide = SIMD16<UInt32>()
    for lane in 0..<16 { wide[lane] = UInt32(halves[lane]) }
    return unsafeBitCast(wide &<< 16, to: Floats16.self)
}
