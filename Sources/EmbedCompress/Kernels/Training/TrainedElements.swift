/// How columns of a row that is trained are stored, sixteen at a time.
protocol TrainedElements {
    /// Of a column.
    static var bits: Int { get }
    /// Codes are whole numbers from `-limit` to `limit - 1`; nil for floats, which have no scale.
    static var limit: Float? { get }
    /// Sixteen columns, without their scale. Reads their `2 * bits` bytes and no more.
    static func load(_ source: UnsafeRawPointer) -> Floats16
    /// Writes sixteen columns, of values that the format has.
    static func store(_ values: Floats16, to target: UnsafeMutableRawPointer)
    /// The nearest values that the format has, halves to even.
    static func nearest(_ values: Floats16) -> Floats16
    /// One of the two values around each, chosen by random bits so that the mean is the value; values that the format has
    /// stay as they are.
    static func random(_ values: Floats16, _ bits: SIMD16<UInt32>) -> Floats16
}

@inline(__always)
private func bits(_ values: Floats16) -> SIMD16<UInt32> { unsafeBitCast(values, to: SIMD16<UInt32>.self) }

/// Magnitudes of infinity and, above it, of NaN.
private var infinity: SIMD16<UInt32> { SIMD16(repeating: 0x7F80_0000) }
private var magnitude: SIMD16<UInt32> { SIMD16(repeating: 0x7FFF_FFFF) }

/// The whole numbers below and above values of magnitudes up to 2^22: the one above with the probability of the
/// fraction, to 24 bits.
@inline(__always)
private func wholeAtRandom(_ values: Floats16, _ bits: SIMD16<UInt32>) -> Floats16 {
    var below = rounded(values)
    below.replace(with: below - 1, where: below .> values)
    let drawn = unsafeBitCast(bits &>> 8, to: SIMD16<Int32>.self)
    var uniform = Floats16()
    for lane in 0..<16 { uniform[lane] = Float(drawn[lane]) }
    return below.replacing(with: below + 1, where: uniform * 0x1p-24 .< values - below)
}

// MARK: - Floats

enum TrainedFloats: TrainedElements {
    static var bits: Int { 32 }
    static var limit: Float? { nil }
    @inline(__always)
    static func load(_ source: UnsafeRawPointer) -> Floats16 { load16(source) }
    @inline(__always)
    static func store(_ values: Floats16, to target: UnsafeMutableRawPointer) {
        target.storeBytes(of: values, as: Floats16.self)
    }
    @inline(__always)
    static func nearest(_ values: Floats16) -> Floats16 { values }
    @inline(__always)
    static func random(_ values: Floats16, _ bits: SIMD16<UInt32>) -> Floats16 { values }
}

enum TrainedBrainFloats: TrainedElements {
    static var bits: Int { 16 }
    static var limit: Float? { nil }
    @inline(__always)
    static func load(_ source: UnsafeRawPointer) -> Floats16 { floatsFromBrainFloats(source) }
    @inline(__always)
    static func store(_ values: Floats16, to target: UnsafeMutableRawPointer) {
        let high = EmbedCompress.bits(values) &>> 16
        var halves = SIMD16<UInt16>()
        for lane in 0..<16 { halves[lane] = UInt16(truncatingIfNeeded: high[lane]) }
        target.storeBytes(of: halves, as: SIMD16<UInt16>.self)
    }
    @inline(__always)
    static func nearest(_ values: Floats16) -> Floats16 {
        let odd = (EmbedCompress.bits(values) &>> 16) & SIMD16(repeating: 1)
        return truncated(values, adding: odd &+ SIMD16(repeating: 0x7FFF))
    }
    @inline(__always)
    static func random(_ values: Floats16, _ bits: SIMD16<UInt32>) -> Floats16 {
        truncated(values, adding: bits &>> 16)
    }

    /// The high halves of finite values once so many of their last places are added; infinities and NaN as they are.
    @inline(__always)
    private static func truncated(_ values: Floats16, adding places: SIMD16<UInt32>) -> Floats16 {
        let all = EmbedCompress.bits(values)
        let high = SIMD16<UInt32>(repeating: 0xFFFF_0000)
        // The highest bit of a NaN's fraction keeps it one.
        var special = all & high
        special.replace(with: special | SIMD16(repeating: 0x40_0000), where: (all & magnitude) .> infinity)
        let result = ((all &+ places) & high).replacing(with: special, where: (all & magnitude) .>= infinity)
        return unsafeBitCast(result, to: Floats16.self)
    }
}

enum TrainedHalves: TrainedElements {
    static var bits: Int { 16 }
    static var limit: Float? { nil }
    @inline(__always)
    static func load(_ source: UnsafeRawPointer) -> Floats16 { floatsFromHalves(source) }
    @inline(__always)
    static func store(_ values: Floats16, to target: UnsafeMutableRawPointer) {
        target.storeBytes(of: halves(values), as: SIMD16<UInt16>.self)
    }
    @inline(__always)
    static func nearest(_ values: Floats16) -> Floats16 { floats(halves(values)) }

    @inline(__always)
    static func random(_ values: Floats16, _ bits: SIMD16<UInt32>) -> Floats16 {
        let all = EmbedCompress.bits(values)
        let size = all & magnitude
        // Below 2^-14 halves are the multiples of 2^-24; above they have 13 places less than floats.
        let small = unsafeBitCast(size, to: Floats16.self)
        let isSmall = small .< 0x1p-14
        let multiples = wholeAtRandom(Floats16().replacing(with: small * 0x1p24, where: isSmall), bits)
        var result = (size &+ (bits &>> 19)) & SIMD16(repeating: 0xFFFF_E000)
        result.replace(with: EmbedCompress.bits(multiples * 0x1p-24), where: isSmall)
        result.replace(with: size, where: size .>= infinity)
        return unsafeBitCast(result | (all & ~magnitude), to: Floats16.self)
    }
}

// MARK: - Whole numbers

/// Codes with their sign.
protocol TrainedCodes: TrainedElements {
    static func store(_ codes: SIMD16<Int32>, to target: UnsafeMutableRawPointer)
}

extension TrainedCodes {
    static var limit: Float? { Float(1 << (bits - 1)) }

    @inline(__always)
    private static func clamped(_ values: Floats16) -> Floats16 {
        let limit = Float(1 << (bits - 1))
        return leastOf(mostOf(values, Floats16(repeating: -limit)), Floats16(repeating: limit - 1))
    }

    @inline(__always)
    static func nearest(_ values: Floats16) -> Floats16 { rounded(clamped(values)) }

    @inline(__always)
    static func random(_ values: Floats16, _ bits: SIMD16<UInt32>) -> Floats16 { wholeAtRandom(clamped(values), bits) }

    @inline(__always)
    static func store(_ values: Floats16, to target: UnsafeMutableRawPointer) {
        // 1.5 * 2^23, whose lowest bits a small whole number that is added to it becomes.
        let shift = Floats16(repeating: 12_582_912)
        let codes = EmbedCompress.bits(values + shift) &- EmbedCompress.bits(shift)
        store(unsafeBitCast(codes, to: SIMD16<Int32>.self), to: target)
    }
}

/// Two's complement, low byte first.
enum TrainedInt16: TrainedCodes {
    static var bits: Int { 16 }
    @inline(__always)
    static func load(_ source: UnsafeRawPointer) -> Floats16 {
        let codes = source.loadUnaligned(as: SIMD16<Int16>.self)
        var result = Floats16()
        for lane in 0..<16 { result[lane] = Float(codes[lane]) }
        return result
    }
    @inline(__always)
    static func store(_ codes: SIMD16<Int32>, to target: UnsafeMutableRawPointer) {
        var short = SIMD16<Int16>()
        for lane in 0..<16 { short[lane] = Int16(truncatingIfNeeded: codes[lane]) }
        target.storeBytes(of: short, as: SIMD16<Int16>.self)
    }
}

/// Two's complement.
enum TrainedInt8: TrainedCodes {
    static var bits: Int { 8 }
    @inline(__always)
    static func load(_ source: UnsafeRawPointer) -> Floats16 {
        let codes = source.loadUnaligned(as: SIMD16<Int8>.self)
        var result = Floats16()
        for lane in 0..<16 { result[lane] = Float(codes[lane]) }
        return result
    }
    @inline(__always)
    static func store(_ codes: SIMD16<Int32>, to target: UnsafeMutableRawPointer) {
        var short = SIMD16<Int8>()
        for lane in 0..<16 { short[lane] = Int8(truncatingIfNeeded: codes[lane]) }
        target.storeBytes(of: short, as: SIMD16<Int8>.self)
    }
}

/// Codes plus 8, two a byte, the first in the low bits: as stores of 4 bits hold them.
enum TrainedInt4: TrainedCodes {
    static var bits: Int { 4 }
    @inline(__always)
    static func load(_ source: UnsafeRawPointer) -> Floats16 {
        let pairs = source.loadUnaligned(as: SIMD8<UInt8>.self)
        var codes = SIMD16<UInt8>()
        codes.evenHalf = pairs & SIMD8(repeating: 15)
        codes.oddHalf = pairs &>> 4
        return floats(codes) - 8
    }
    @inline(__always)
    static func store(_ codes: SIMD16<Int32>, to target: UnsafeMutableRawPointer) {
        let positive = codes &+ SIMD16(repeating: 8)
        let pairs = positive.evenHalf | (positive.oddHalf &<< 4)
        var bytes = SIMD8<UInt8>()
        for lane in 0..<8 { bytes[lane] = UInt8(truncatingIfNeeded: pairs[lane]) }
        target.storeBytes(of: bytes, as: SIMD8<UInt8>.self)
    }
}
