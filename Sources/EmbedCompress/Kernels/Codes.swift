internal import CEmbedCompress.Shims

/// How `b`-bit codes lie in memory: element `j` takes bits `[j * b, (j + 1) * b)` of its row's bit string, low bits first. For 1,
/// 2, 4, 8 and 16 bits this is the order that PyTorch and FBGEMM use.
///
/// One type for each width, so that kernels are compiled for each.
protocol CodeFormat: RowFormat {
    static var bits: Int { get }
}

extension CodeFormat {
    /// For widths of 1 to 7 bits.
    @inline(__always)
    static func floats(_ row: UnsafeRawPointer, chunk: Int) -> Floats16 {
        ec_codes_to_floats((row + chunk &* (2 &* bits)).assumingMemoryBound(to: UInt8.self), Int32(truncatingIfNeeded: bits))
    }
}

enum Codes1: CodeFormat { static var bits: Int { 1 } }
enum Codes2: CodeFormat {
    static var bits: Int { 2 }

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
}

/// Packs codes to the bit.
enum CodePacking {
    /// Writes `count` codes of `bits` bits to `target`, which holds `byteCount(count, bits:)` bytes.
    static func pack(_ codes: UnsafePointer<UInt16>, count: Int, bits: Int, to target: UnsafeMutableRawPointer) {
        var word: UInt64 = 0
        var held = 0
        var output = target
        for index in 0..<count {
            word |= UInt64(codes[index]) << UInt64(held)
            held += bits
            while held >= 8 {
                output.storeBytes(of: UInt8(truncatingIfNeeded: word), as: UInt8.self)
                output += 1
                word >>= 8
                held -= 8
            }
        }
        if held > 0 { output.storeBytes(of: UInt8(truncatingIfNeeded: word), as: UInt8.self) }
    }

    static func byteCount(_ count: Int, bits: Int) -> Int { (count * bits + 7) / 8 }
}
