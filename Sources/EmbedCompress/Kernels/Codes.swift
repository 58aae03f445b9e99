internal import CEmbedCompress.Shims

/// How `b`-bit codes lie in memory: element `j` takes bits `[j * b, (j + 1) * b)` of its row's bit string, low bits
/// first. For 1, 2, 4, 8 and 16 bits this is the order that PyTorch and FBGEMM use.
///
/// One type for each width, so that kernels are compiled for each.
protocol CodeFormat: PlainRowFormat {
    static var bits: Int { get }
    /// Writes the sixteen codes nearest to numbers from 0 to `2^bits - 1` to `2 * bits` bytes; halves to even.
    static func pack(_ codes: Floats16, to target: UnsafeMutableRawPointer)
}

extension CodeFormat {
    static var precision: Int { bits }
    static func chunkBytes(bits _: Int) -> Int { 2 * bits }

    /// For widths of 1 to 7 bits.
    @inline(__always)
    static func floats(_ row: UnsafeRawPointer, chunk: Int) -> Floats16 {
        ec_codes_to_floats(
            (row + chunk &* (2 &* bits)).assumingMemoryBound(to: UInt8.self), Int32(truncatingIfNeeded: bits))
    }

    /// For widths of up to 8 bits: eight codes make `bits` bytes.
    @inline(__always)
    static func pack(_ codes: Floats16, to target: UnsafeMutableRawPointer) {
        let bytes = codeBytes(codes)
        packEight(bytes.lowHalf, to: target)
        packEight(bytes.highHalf, to: target + bits)
    }

    @inline(__always)
    private static func packEight(_ codes: SIMD8<UInt8>, to target: UnsafeMutableRawPointer) {
        // Neighbours are joined three times: pairs in 16 bits, fours in 32, eights in 64.
        let step = UInt64(bits)
        var word = unsafeBitCast(codes, to: UInt64.self)
        let pair: UInt64 = 0x00ff_00ff_00ff_00ff
        word = (word & pair) | ((word &>> 8) & pair) &<< step
        let four: UInt64 = 0x0000_ffff_0000_ffff
        word = (word & four) | ((word &>> 16) & four) &<< (2 &* step)
        word = (word & 0xffff_ffff) | (word &>> 32) &<< (4 &* step)
        for byte in 0..<bits {
            (target + byte).storeBytes(of: UInt8(truncatingIfNeeded: word &>> UInt64(8 &* byte)), as: UInt8.self)
        }
    }
}

/// The whole numbers nearest to numbers from 0 to 255, as bytes.
@inline(__always)
private func codeBytes(_ codes: Floats16) -> SIMD16<UInt8> {
    // A float between 2^23 and 2^24 has no bits below one, so that the sum is rounded, and its low bits are the number.
    let bits = unsafeBitCast(codes + 8_388_608, to: SIMD16<UInt32>.self)
    var bytes = SIMD16<UInt8>()
    for lane in 0..<16 { bytes[lane] = UInt8(truncatingIfNeeded: bits[lane]) }
    return bytes
}

enum Codes1: CodeFormat { static var bits: Int { 1 } }
enum Codes2: CodeFormat {
    static var bits: Int { 2 }

    @inline(__always)
    static func pack(_ codes: Floats16, to target: UnsafeMutableRawPointer) {
        // Four codes in the bytes of a word, moved together.
        let fours = unsafeBitCast(codeBytes(codes), to: SIMD4<UInt32>.self)
        let joined = fours | (fours &>> 6) | (fours &>> 12) | (fours &>> 18)
        var bytes = SIMD4<UInt8>()
        for lane in 0..<4 { bytes[lane] = UInt8(truncatingIfNeeded: joined[lane]) }
        target.storeBytes(of: bytes, as: SIMD4<UInt8>.self)
    }

    /// Chunk `k` has the columns whose position is `k` modulo 4: all that a byte's shift by `2 * k` gives.
    @inline(__always)
    static func tile(_ row: UnsafeRawPointer, chunk: Int) -> Tile {
        let bytes = (row + chunk &* 4).loadUnaligned(as: SIMD16<UInt8>.self)
        return Tile(
            chunk0: EmbedCompress.floats(bytes & 3), chunk1: EmbedCompress.floats((bytes &>> 2) & 3),
            chunk2: EmbedCompress.floats((bytes &>> 4) & 3), chunk3: EmbedCompress.floats(bytes &>> 6))
    }

    @inline(__always)
    static func ordered(_ tile: Tile) -> Tile {
        let even = interleaved(tile.chunk0, tile.chunk2)
        let odd = interleaved(tile.chunk1, tile.chunk3)
        let low = interleaved(even.lowHalf, odd.lowHalf)
        let high = interleaved(even.highHalf, odd.highHalf)
        return Tile(chunk0: low.lowHalf, chunk1: low.highHalf, chunk2: high.lowHalf, chunk3: high.highHalf)
    }
}
enum Codes3: CodeFormat { static var bits: Int { 3 } }
enum Codes4: CodeFormat {
    static var bits: Int { 4 }

    @inline(__always)
    static func pack(_ codes: Floats16, to target: UnsafeMutableRawPointer) {
        let pairs = unsafeBitCast(codeBytes(codes), to: SIMD8<UInt16>.self)
        let joined = pairs | (pairs &>> 4)
        var bytes = SIMD8<UInt8>()
        for lane in 0..<8 { bytes[lane] = UInt8(truncatingIfNeeded: joined[lane]) }
        target.storeBytes(of: bytes, as: SIMD8<UInt8>.self)
    }

    /// Even columns, odd columns, twice: the low and high halves of the bytes.
    @inline(__always)
    static func tile(_ row: UnsafeRawPointer, chunk: Int) -> Tile {
        let first = (row + chunk &* 8).loadUnaligned(as: SIMD16<UInt8>.self)
        let second = (row + (chunk &* 8 &+ 16)).loadUnaligned(as: SIMD16<UInt8>.self)
        return Tile(
            chunk0: EmbedCompress.floats(first & 15), chunk1: EmbedCompress.floats(first &>> 4),
            chunk2: EmbedCompress.floats(second & 15), chunk3: EmbedCompress.floats(second &>> 4))
    }

    @inline(__always)
    static func ordered(_ tile: Tile) -> Tile {
        let low = interleaved(tile.chunk0, tile.chunk1)
        let high = interleaved(tile.chunk2, tile.chunk3)
        return Tile(chunk0: low.lowHalf, chunk1: low.highHalf, chunk2: high.lowHalf, chunk3: high.highHalf)
    }
}
enum Codes5: CodeFormat { static var bits: Int { 5 } }
enum Codes6: CodeFormat { static var bits: Int { 6 } }
enum Codes7: CodeFormat { static var bits: Int { 7 } }
enum Codes8: CodeFormat {
    static var bits: Int { 8 }
    @inline(__always)
    static func floats(_ row: UnsafeRawPointer, chunk: Int) -> Floats16 {
        EmbedCompress.floats((row + chunk &* 16).loadUnaligned(as: SIMD16<UInt8>.self))
    }

    @inline(__always)
    static func pack(_ codes: Floats16, to target: UnsafeMutableRawPointer) {
        target.storeBytes(of: codeBytes(codes), as: SIMD16<UInt8>.self)
    }
}
enum Codes16: CodeFormat {
    static var bits: Int { 16 }
    @inline(__always)
    static func floats(_ row: UnsafeRawPointer, chunk: Int) -> Floats16 {
        let words = (row + chunk &* 32).loadUnaligned(as: SIMD16<UInt16>.self)
        var result = Floats16()
        for lane in 0..<16 { result[lane] = Float(words[lane]) }
        return result
    }

    @inline(__always)
    static func pack(_ codes: Floats16, to target: UnsafeMutableRawPointer) {
        let bits = unsafeBitCast(codes + 8_388_608, to: SIMD16<UInt32>.self)
        var words = SIMD16<UInt16>()
        for lane in 0..<16 { words[lane] = UInt16(truncatingIfNeeded: bits[lane]) }
        target.storeBytes(of: words, as: SIMD16<UInt16>.self)
    }
}
