internal import CEmbedCompress.Shims
internal import CEmbedCompress.WholeSums

/// Scales of rows as whole numbers, for ``WholeSums``.
///
/// An f16 scale is a whole number below 2^11 times a power of two. Scales whose powers lie within a factor of 16 are whole
/// numbers below 2^15 of the same unit, and sums of codes times these are exact in 32 bits. Rows whose scales spread
/// further are gone through once for each such window of powers, in which the scales of other windows count as 0.
struct RunScales {
    /// Most rows of a sum: 64 * 2^15 * 255 is below 2^31.
    static let longestSum = 64
    /// Powers in a window.
    private static let window: UInt32 = 5

    private typealias Words = SIMD16<UInt32>

    /// f16 scale and bias of each row.
    private let parameters: UnsafePointer<UInt32>
    private let factors: UnsafeMutablePointer<UInt16>
    private let count: Int
    /// The least and the largest scale, as bits. A negative one is larger than all others.
    private let smallest: UInt32
    private let largest: UInt32
    /// The exponent field at which the next window starts, 1 for subnormals; 32 after the last one.
    private var next: UInt32

    /// - Parameters:
    ///   - parameters: f16 scale and bias of each row, at least one; up to a multiple of sixteen may be read.
    ///   - factors: Where ``makeFactors()`` writes one for each, and up to a multiple of sixteen.
    @inline(__always)
    init(_ parameters: UnsafePointer<UInt32>, count: Int, factors: UnsafeMutablePointer<UInt16>) {
        (self.parameters, self.count, self.factors) = (parameters, count, factors)
        var low = Words(repeating: parameters[0] & 0xffff)
        var high = low
        for chunk in 0..<count &>> 4 {
            let scales = Self.words(parameters, chunk) & 0xffff
            low = ec_smaller(low, scales)
            high = ec_larger(high, scales)
        }
        if count & 15 != 0 {
            let inside = Self.first(count & 15)
            let scales = Self.words(parameters, count &>> 4) & 0xffff
            low = ec_smaller(low, scales | ~inside)
            high = ec_larger(high, scales & inside)
        }
        smallest = ec_smallest(low)
        largest = ec_largest(high)
        next = max((smallest &>> 10) & 31, 1)
        if largest >= 0x8000 { next = Self.power(after: 0, parameters, count) }
    }

    /// The sum of the biases of rows with these parameters, of which up to a multiple of sixteen may be read.
    @inline(__always)
    static func sumOfBiases(_ parameters: UnsafePointer<UInt32>, _ count: Int) -> Float {
        var sum = Floats16()
        for chunk in 0..<count &>> 4 { sum += floats(lowHalves(words(parameters, chunk) &>> 16)) }
        if count & 15 != 0 {
            sum += floats(lowHalves((words(parameters, count &>> 4) & first(count & 15)) &>> 16))
        }
        let eight = sum.lowHalf + sum.highHalf
        let four = eight.lowHalf + eight.highHalf
        return (four[0] + four[2]) + (four[1] + four[3])
    }

    @inline(__always)
    private static func words(_ parameters: UnsafePointer<UInt32>, _ chunk: Int) -> Words {
        UnsafeRawPointer(parameters + 16 &* chunk).loadUnaligned(as: Words.self)
    }

    /// All bits of the first `count` lanes.
    @inline(__always)
    private static func first(_ count: Int) -> Words {
        let lanes = SIMD16<Int32>(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
        return unsafeBitCast((lanes &- Int32(truncatingIfNeeded: count)) &>> 31, to: Words.self)
    }

    @inline(__always)
    private static func lowHalves(_ words: Words) -> SIMD16<UInt16> {
        var halves = SIMD16<UInt16>()
        for lane in 0..<16 { halves[lane] = UInt16(truncatingIfNeeded: words[lane]) }
        return halves
    }

    /// The least exponent field above `power`, 32 if there is none.
    private static func power(after power: UInt32, _ parameters: UnsafePointer<UInt32>, _ count: Int) -> UInt32 {
        var least: UInt32 = 32
        for index in 0..<count {
            let field = max((parameters[index] &>> 10) & 31, 1)
            if field > power { least = min(least, field) }
        }
        return least
    }

    /// Whether every scale is finite.
    @inline(__always)
    var areFinite: Bool {
        largest < 0x7c00 || (largest >= 0x8000 && !(0..<count).contains { (parameters[$0] &>> 10) & 31 == 31 })
    }

    /// Whether every scale is finite, positive and normal, and one window has them all.
    @inline(__always)
    var fitOneWindow: Bool {
        largest < 0x7c00 && smallest >= 0x400 && largest &>> 10 < smallest &>> 10 &+ Self.window
    }

    /// Makes a factor for each row in the next window. Returns what a factor of 1 stands for.
    @inline(__always)
    mutating func makeFactors() -> Float {
        let least = next
        if fitOneWindow {
            for chunk in 0..<(count &+ 15) &>> 4 {
                let words = Self.words(parameters, chunk)
                let power = ((words &>> 10) & 31) &- least
                store(((words & 0x3ff) | 0x400) &<< power, chunk)
            }
            next = 32
        } else {
            makeSome()
            next = Self.power(after: least &+ (Self.window &- 1), parameters, count)
        }
        return Float(bitPattern: (least &+ (127 - 15 - 10)) &<< 23)
    }

    /// Makes factors where scales may be negative, subnormal, or outside the window.
    private func makeSome() {
        for chunk in 0..<(count &+ 15) &>> 4 {
            let words = Self.words(parameters, chunk)
            let field = (words &>> 10) & 31
            let isNormal = (field &+ 31) &>> 5
            let power = unsafeBitCast(field &+ 1 &- isNormal &- next, to: SIMD16<Int32>.self)
            let isInside = ((power &- Int32(Self.window)) &>> 31) & ~(power &>> 31)
            let magnitude = ((words & 0x3ff) | (isNormal &<< 10)) &<< unsafeBitCast(power & 7, to: Words.self)
            let sign = Words() &- ((words &>> 15) & 1)
            store((((magnitude & unsafeBitCast(isInside, to: Words.self)) ^ sign) &- sign), chunk)
        }
    }

    @inline(__always)
    private func store(_ values: Words, _ chunk: Int) {
        UnsafeMutableRawPointer(factors + 16 &* chunk).storeBytes(
            of: Self.lowHalves(values), as: SIMD16<UInt16>.self)
    }

    /// Whether there is another window.
    @inline(__always)
    var hasMore: Bool { next < 32 }
}
