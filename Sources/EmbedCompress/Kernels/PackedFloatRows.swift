internal import CEmbedCompress.PackedFloats

/// How the values of a table of packed floats are put together of a row's bytes: the low bits of each column, in whole bytes,
/// and then the row's lowest exponent, a mark where rows have one, and codes of the high bits of each column.
struct PackedFloatBits {
    /// Bits of a float's mantissa.
    static let floatMantissaBits = 23

    let mantissaBits: Int
    let exponentBits: Int
    /// Whether there is a byte before the codes that says whether a row has exceptions.
    let marksRows: Bool

    /// Of a value: a sign, the exponent's code and a mantissa.
    var valueBits: Int { 1 + exponentBits + mantissaBits }
    /// Whole bytes of low bits, 1 to 3.
    var lowBytes: Int { (valueBits - 1) / 8 }
    /// Of the code of the high bits: 1 to 8.
    var codeBits: Int { valueBits - 8 * lowBytes }
    /// Bytes between the low bits and the codes.
    var headBytes: Int { marksRows ? 2 : 1 }

    init(mantissaBits: Int, exponentBits: Int, marksRows: Bool) {
        (self.mantissaBits, self.exponentBits, self.marksRows) = (mantissaBits, exponentBits, marksRows)
    }

    /// All of it in a number, which is what kernels know as the bits of a column.
    var number: Int { mantissaBits &<< 8 | exponentBits &<< 1 | (marksRows ? 1 : 0) }

    @inline(__always)
    init(number: Int) {
        self.init(mantissaBits: number &>> 8, exponentBits: number &>> 1 & 0x7f, marksRows: number & 1 != 0)
    }
}

/// Low bits of one width.
protocol PackedFloatLowBits {
    static var bytes: Int { get }
    /// Those of sixteen columns. May read up to 16 bytes past the last.
    static func load(_ source: UnsafeRawPointer) -> SIMD16<UInt32>
}

enum LowBits8: PackedFloatLowBits {
    static var bytes: Int { 1 }
    @inline(__always)
    static func load(_ source: UnsafeRawPointer) -> SIMD16<UInt32> {
        let low = source.loadUnaligned(as: SIMD16<UInt8>.self)
        var wide = SIMD16<UInt32>()
        for lane in 0..<16 { wide[lane] = UInt32(low[lane]) }
        return wide
    }
}
enum LowBits16: PackedFloatLowBits {
    static var bytes: Int { 2 }
    @inline(__always)
    static func load(_ source: UnsafeRawPointer) -> SIMD16<UInt32> {
        let low = source.loadUnaligned(as: SIMD16<UInt16>.self)
        var wide = SIMD16<UInt32>()
        for lane in 0..<16 { wide[lane] = UInt32(low[lane]) }
        return wide
    }
}
enum LowBits24: PackedFloatLowBits {
    static var bytes: Int { 3 }
    @inline(__always)
    static func load(_ source: UnsafeRawPointer) -> SIMD16<UInt32> {
        ec_load_24_bits(source.assumingMemoryBound(to: UInt8.self))
    }
}

/// Rows of packed floats: the parameters of a row are its lowest exponent and what follows.
enum PackedFloatRows<Low: PackedFloatLowBits>: RowFormat {
    /// What a row is decoded with. All but the first two is alike for all rows of a table.
    struct Book {
        let codes: UnsafePointer<UInt8>
        /// At its place in a float.
        let lowestExponent: UInt32
        let chunkCodeBytes: Int
        let turns: SIMD16<UInt32>
        let places: SIMD16<UInt32>
        let lowShift: UInt32
        let highMask: UInt32
        let signShift: UInt32
    }

    static var precision: Int { 24 }
    static func chunkBytes(bits: Int) -> Int { 16 * Low.bytes }

    @inline(__always)
    static func book(_ place: UnsafeRawPointer, bits: Int) -> Book {
        let bits = PackedFloatBits(number: bits)
        let lowShift = UInt32(truncatingIfNeeded: PackedFloatBits.floatMantissaBits &- bits.mantissaBits)
        let firstCodeBit = lowShift &+ UInt32(truncatingIfNeeded: 8 &* Low.bytes)
        let codeBits = bits.valueBits &- 8 &* Low.bytes
        // The sign is the last bit of a code.
        let sign = UInt32(truncatingIfNeeded: PackedFloatBits.floatMantissaBits &+ bits.exponentBits)
        return Book(
            codes: (place + bits.headBytes).assumingMemoryBound(to: UInt8.self),
            lowestExponent: UInt32(place.load(as: UInt8.self)) &<< 23, chunkCodeBytes: 2 &* codeBits,
            turns: ec_code_turns(Int64(truncatingIfNeeded: codeBits)),
            places: ec_code_places(Int64(truncatingIfNeeded: codeBits), firstCodeBit), lowShift: lowShift,
            highMask: (1 &<< sign) &- (1 &<< firstCodeBit), signShift: 31 &- sign)
    }

    @inline(__always)
    static func floats(_ row: UnsafeRawPointer, chunk: Int, _ book: Book) -> Floats16 {
        ec_packed_floats(
            Low.load(row + chunk &* (16 &* Low.bytes)), book.lowShift,
            ec_trellis_words_at(book.codes + chunk &* book.chunkCodeBytes, book.turns), book.places, book.highMask,
            book.signShift, book.lowestExponent)
    }
}
