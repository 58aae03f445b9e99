// Functions of sixteen floats, by polynomials. Products and sums are fused where the processor can, as in matrix
// products, so that the baseline level may differ in the last bits.

@inline(__always)
private func fused(_ a: Floats16, _ b: Floats16, _ c: Floats16) -> Floats16 { multiplyAdd(a, b, c, isExact: true) }

@inline(__always)
private func all(_ value: Float) -> Floats16 { Floats16(repeating: value) }

@inline(__always)
private func bits(_ values: Floats16) -> SIMD16<UInt32> { unsafeBitCast(values, to: SIMD16<UInt32>.self) }

/// 1.5 * 2^23: a number of up to 2^22 added to it is rounded to a whole one, which its lowest bits then are.
private var roundingShift: Float { 12_582_912 }

/// e^x for x from -87 to 88, to about one unit in the last place.
///
/// With n the whole number next to x / log 2, and r = x - n log 2 of at most .35, it is 2^n times Taylor's series of e^r:
/// the first term left out is below 1.2e-7.
@inline(__always)
func exponential(_ x: Floats16) -> Floats16 {
    let shifted = fused(x, all(1.442_695_04), all(roundingShift))
    let n = shifted - all(roundingShift)
    // log 2 in two parts, the first of which has so few bits that its product with n is exact.
    let r = fused(n, all(2.121_944_4e-4), fused(n, all(-0.693_359_375), x))
    var sum = fused(r, all(1.0 / 720), all(1.0 / 120))
    sum = fused(sum, r, all(1.0 / 24))
    sum = fused(sum, r, all(1.0 / 6))
    sum = fused(sum, r, all(0.5))
    sum = fused(sum, r, all(1))
    sum = fused(sum, r, all(1))
    let power = (bits(shifted) &+ SIMD16<UInt32>(repeating: 127)) &<< SIMD16<UInt32>(repeating: 23)
    return sum * unsafeBitCast(power, to: Floats16.self)
}

/// Mish (Misra, 2019): x tanh(log(1 + e^x)), which is x (e^2x + 2 e^x) / (e^2x + 2 e^x + 2). To about 1e-6 of the result
/// for x from -87 on; 0 but for 1e-36 below.
@inline(__always)
func mish(_ x: Floats16) -> Floats16 {
    // From 20 on the quotient is 1.
    let e = exponential(mostOf(leastOf(x, all(20)), all(-87)))
    let numerator = e * (e + all(2))
    return x * (numerator / (numerator + all(2)))
}

/// The natural logarithm of positive normal numbers.
///
/// With x = 2^n f and f from sqrt(1/2) to sqrt(2), it is n log 2 + 2 artanh(s), where s = (f - 1) / (f + 1) is at most
/// .172: five terms leave less than 1e-8.
@inline(__always)
func logarithm(_ x: Floats16) -> Floats16 {
    // From the bits of sqrt(1/2) on, every 2^23 bits are one more power of two.
    let above = bits(x) &- SIMD16<UInt32>(repeating: 0x3F35_04F3)
    let power = unsafeBitCast(above, to: SIMD16<Int32>.self) &>> SIMD16<Int32>(repeating: 23)
    var n = Floats16()
    for lane in 0..<16 { n[lane] = Float(power[lane]) }
    let fraction = bits(x) &- unsafeBitCast(power &<< SIMD16<Int32>(repeating: 23), to: SIMD16<UInt32>.self)
    let f = unsafeBitCast(fraction, to: Floats16.self)
    let s = (f - all(1)) / (f + all(1))
    let square = s * s
    var sum = fused(square, all(2.0 / 9), all(2.0 / 7))
    sum = fused(sum, square, all(2.0 / 5))
    sum = fused(sum, square, all(2.0 / 3))
    sum = fused(sum, square, all(2))
    return fused(n, all(0.693_359_375), fused(n, all(-2.121_944_4e-4), sum * s))
}

/// Sine and cosine of 2 pi t for t from 0 to 1, to about 1e-7.
///
/// Half the angle, of at most pi / 2 once whole turns are gone, has short series; they are doubled by
/// sin 2a = 2 sin a cos a and cos 2a = 1 - 2 sin^2 a.
@inline(__always)
func turn(_ t: Floats16) -> (sine: Floats16, cosine: Floats16) {
    let whole = (t + all(roundingShift)) - all(roundingShift)
    let a = (t - whole) * all(.pi)
    let square = a * a
    var sine = fused(square, all(1.0 / 6_227_020_800), all(-1.0 / 39_916_800))
    sine = fused(sine, square, all(1.0 / 362_880))
    sine = fused(sine, square, all(-1.0 / 5040))
    sine = fused(sine, square, all(1.0 / 120))
    sine = fused(sine, square, all(-1.0 / 6))
    sine = fused(sine, square, all(1)) * a
    var cosine = fused(square, all(-1.0 / 8.717_829_12e10), all(1.0 / 479_001_600))
    cosine = fused(cosine, square, all(-1.0 / 3_628_800))
    cosine = fused(cosine, square, all(1.0 / 40_320))
    cosine = fused(cosine, square, all(-1.0 / 720))
    cosine = fused(cosine, square, all(1.0 / 24))
    cosine = fused(cosine, square, all(-0.5))
    cosine = fused(cosine, square, all(1))
    return ((sine + sine) * cosine, fused(all(-2) * sine, sine, all(1)))
}
