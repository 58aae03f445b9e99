internal import CEmbedCompress.Shims
internal import CEmbedCompress.WholeSums

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
    static let space = 2 * (capacity + 16)

    private typealias Words = SIMD16<UInt32>

    /// f16 scale and bias of each row; up to a multiple of sixteen, the scale of the first row and no bias.
    private let parameters: UnsafeMutablePointer<UInt32>
    private let factors: UnsafeMutablePointer<UInt16>
    private let count: Int
    private let chunks: Int
    /// The least and the largest scale, as bits. A negative one is larger than all others.
    private let smallest: UInt32
    private let largest: UInt32
    /// The sum of the biases.
    let biases: Float
    /// The exponent field at which the next window starts, 1 for subnormals; 32 after the last one.
    private var next: UInt32

    /// - Parameters:
    ///   - ahead: Rows after the next `capacity` that there are; their parameters are asked for.
    ///   - space: `Self.space` words.
    @inline(__always)
    init(
        _ prefetching: Prefetching, _ places: UnsafePointer<UnsafeRawPointer>, offset: Int, count: Int, ahead: Int,
        space: UnsafeMutablePointer<UInt32>
    ) {
        let parameters = space
        let chunks = (count &+ 15) &>> 4
        (self.parameters, self.count, self.chunks) = (parameters, count, chunks)
        factors = UnsafeMutableRawPointer(space + (Self.capacity &+ 16)).assumingMemoryBound(to: UInt16.self)
        for index in 0..<count {
            parameters[index] = UInt32(littleEndian: (places[index] + offset).loadUnaligned(as: UInt32.self))
        }
        for index in 0..<min(ahead, count) { prefetching.ask(places[index &+ Self.capacity] + (offset &+ 3)) }
        UnsafeMutableRawPointer(parameters + count).storeBytes(
            of: Words(repeating: parameters[0] & 0xffff), as: Words.self)
        var sum = Floats16()
        var low = Words(repeating: .max)
        var high = Words()
        for chunk in 0..<chunks {
            let words = Self.words(parameters, chunk)
            sum += floats(Self.lowHalves(words &>> 16))
            let scales = words & 0xffff
            low = ec_smaller(low, scales)
            high = ec_larger(high, scales)
        }
        let eight = sum.lowHalf + sum.highHalf
        let four = eight.lowHalf + eight.highHalf
        biases = (four[0] + four[2]) + (four[1] + four[3])
        smallest = ec_smallest(low)
        largest = ec_largest(high)
        next = max((smallest &>> 10) & 31, 1)
        if largest >= 0x8000 { next = Self.power(after: 0, parameters, count) }
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

    /// The least exponent field above `power`, 32 if there is none.
    private static func power(after power: UInt32, _ parameters: UnsafeMutablePointer<UInt32>, _ count: Int) -> UInt32 {
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

    /// A factor for each row, then zeros up to a multiple of sixteen.
    var values: UnsafePointer<UInt16> { UnsafePointer(factors) }

    /// Makes the factors of the next window. Returns what a factor of 1 stands for.
    @inline(__always)
    mutating func makeValues() -> Float {
        let least = next
        if smallest &>> 10 == least, largest &>> 10 < least &+ Self.window {
            for chunk in 0..<chunks {
                let words = Self.words(parameters, chunk)
                let power = ((words &>> 10) & 31) &- least
                store(((words & 0x3ff) | 0x400) &<< power, chunk)
            }
            next = 32
        } else {
            makeSome()
            next = Self.power(after: least &+ (Self.window &- 1), parameters, count)
        }
        UnsafeMutableRawPointer(factors + count).storeBytes(of: SIMD16(), as: SIMD16<UInt16>.self)
        return Float(bitPattern: (least &+ (127 - 15 - 10)) &<< 23)
    }

    /// Makes factors where scales may be negative, subnormal, or outside the window.
    private func makeSome() {
        for chunk in 0..<chunks {
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
