internal import CEmbedCompress.Shims

/// Scales of a run of rows as whole numbers, for ``WholeSums``.
///
/// An f16 scale is a whole number below 2^11 times a power of two. Scales whose powers lie within a factor of 16 are whole
/// numbers below 2^15 of the same unit, and sums of codes times these are exact in 32 bits. A run whose scales spread
/// further is gone through once for each such window of powers, in which the scales of other windows count as 0.
struct RunScales {
    /// Most rows of a run: 64 * 2^15 * 255 is below 2^31.
    static let capacity = 64
    /// Powers in a window.
    private static let window: UInt32 = 5
    /// Memory that a run needs, in words of four bytes.
    static let space = capacity + 16 + capacity / 2

    private typealias Words = SIMD16<UInt32>

    /// f16 scale and bias of each row, then zeros up to a multiple of sixteen.
    private let parameters: UnsafeMutablePointer<UInt32>
    private let factors: UnsafeMutablePointer<UInt16>
    private let chunks: Int
    /// A bit for each exponent field of a scale that is still to come, subnormals counted as 1.
    private var powers: UInt32
    /// The sum of the biases.
    let biases: Float

    /// - Parameters:
    ///   - ahead: Rows after the next `capacity` that there are; their parameters are asked for.
    ///   - space: `Self.space` words.
    @inline(__always)
    init(
        _ places: UnsafePointer<UnsafeRawPointer>, offset: Int, count: Int, ahead: Int,
        space: UnsafeMutablePointer<UInt32>
    ) {
        parameters = space
        factors = UnsafeMutableRawPointer(space + (Self.capacity &+ 16)).assumingMemoryBound(to: UInt16.self)
        chunks = (count &+ 15) &>> 4
        for index in 0..<count {
            parameters[index] = UInt32(littleEndian: (places[index] + offset).loadUnaligned(as: UInt32.self))
        }
        for index in 0..<min(ahead, count) { ec_prefetch(places[index &+ Self.capacity] + (offset &+ 3)) }
        UnsafeMutableRawPointer(parameters + count).storeBytes(of: Words(), as: Words.self)
        var sum = Floats16()
        var present = Words()
        for chunk in 0..<chunks {
            let words = Self.words(parameters, chunk)
            sum += floats(Self.lowHalves(words &>> 16))
            // 1 where the scale is not 0.
            let counts = ((words & 0x7fff) &+ 0x7fff) &>> 15
            present |= counts &<< Self.power(Self.field(words))
        }
        let eight = sum.lowHalf + sum.highHalf
        let four = eight.lowHalf + eight.highHalf
        biases = (four[0] + four[2]) + (four[1] + four[3])
        let bits8 = present.lowHalf | present.highHalf
        let bits4 = bits8.lowHalf | bits8.highHalf
        powers = bits4[0] | bits4[1] | bits4[2] | bits4[3]
    }

    @inline(__always)
    private static func words(_ parameters: UnsafeMutablePointer<UInt32>, _ chunk: Int) -> Words {
        UnsafeRawPointer(parameters + 16 &* chunk).loadUnaligned(as: Words.self)
    }

    @inline(__always)
    private static func lowHalves(_ words: Words) -> SIMD16<UInt16> {
        var halves = SIMD16<UInt16>()
        for lane in 0..<16 { halves[lane] = UInt16(truncatingIfNeeded: words[lane]) }
        return halves
    }

    /// The exponent field.
    @inline(__always)
    private static func field(_ words: Words) -> Words { (words &>> 10) & 31 }

    /// The field, 1 for subnormals.
    @inline(__always)
    private static func power(_ field: Words) -> Words { field &+ 1 &- isNormal(field) }

    @inline(__always)
    private static func isNormal(_ field: Words) -> Words { (field &+ 31) &>> 5 }

    /// Whether every scale is finite.
    @inline(__always)
    var areFinite: Bool { powers &>> 31 == 0 }

    /// A factor for each row, then zeros up to a multiple of sixteen.
    var values: UnsafePointer<UInt16> { UnsafePointer(factors) }

    /// Makes the factors of the window at the least power. Returns what a factor of 1 stands for.
    @inline(__always)
    mutating func makeValues() -> Float {
        let least = UInt32(truncatingIfNeeded: max(powers | 1 &<< 31, 1).trailingZeroBitCount) & 31
        for chunk in 0..<chunks {
            let words = Self.words(parameters, chunk)
            let field = Self.field(words)
            let significand = (words & 0x3ff) | (Self.isNormal(field) &<< 10)
            let power = unsafeBitCast(Self.power(field) &- least, to: SIMD16<Int32>.self)
            let isInside = ((power &- Int32(Self.window)) &>> 31) & ~(power &>> 31)
            let magnitude =
                (significand &<< unsafeBitCast(power & 7, to: Words.self)) & unsafeBitCast(isInside, to: Words.self)
            let sign = Words() &- ((words &>> 15) & 1)
            let values = Self.lowHalves((magnitude ^ sign) &- sign)
            UnsafeMutableRawPointer(factors + 16 &* chunk).storeBytes(of: values, as: SIMD16<UInt16>.self)
        }
        powers &= ~(((1 &<< Self.window) &- 1) &<< least)
        return Float(bitPattern: (least &+ (127 - 15 - 10)) &<< 23)
    }

    /// Whether there is another window.
    @inline(__always)
    var hasMore: Bool { powers != 0 }
}
