/// How `b`-bit codes lie in memory: element `j` takes bits `[j * b, (j + 1) * b)` of its row's bit string, low bits first. For 1,
/// 2, 4, 8 and 16 bits this is the order that PyTorch and FBGEMM use.
///
/// One type for each width, so that kernels are compiled for each.
protocol CodeFormat {
    static var bits: Int { get }
    /// The codes of elements `16 * chunk ..< 16 * chunk + 16` of the row at `codes`. May read up to `rowOverread` bytes past the
    /// last element.
    static func load(_ codes: UnsafeRawPointer, chunk: Int) -> SIMD16<Int32>
}

extension CodeFormat {
    /// Up to 4 bits: eight elements lie within 32 bits, which every lane shifts by its own amount.
    @inline(__always)
    static func narrow(_ codes: UnsafeRawPointer, chunk: Int) -> SIMD16<Int32> {
        let start = codes + chunk * 2 * bits
        let low = SIMD8<UInt32>(repeating: start.loadUnaligned(as: UInt32.self))
        let high = SIMD8<UInt32>(repeating: (start + bits).loadUnaligned(as: UInt32.self))
        let step = UInt32(bits)
        let shift = SIMD8<UInt32>(0, step, 2 * step, 3 * step, 4 * step, 5 * step, 6 * step, 7 * step)
        let mask = SIMD16<UInt32>(repeating: (1 << step) - 1)
        return unsafeBitCast(SIMD16(lowHalf: low &>> shift, highHalf: high &>> shift) & mask, to: SIMD16<Int32>.self)
    }

    /// 5 to 7 bits: four elements lie within 32 bits.
    @inline(__always)
    static func wide(_ codes: UnsafeRawPointer, chunk: Int) -> SIMD16<Int32> {
        let start = codes + chunk * 2 * bits
        let first = start.loadUnaligned(as: UInt64.self)
        let second = (start + bits).loadUnaligned(as: UInt64.self)
        let step = UInt32(bits)
        let shift = SIMD4<UInt32>(0, step, 2 * step, 3 * step)
        let half = UInt64(4 * bits)
        @inline(__always)
        func four(_ word: UInt64) -> SIMD4<UInt32> { SIMD4(repeating: UInt32(truncatingIfNeeded: word)) &>> shift }
        let low = SIMD8(lowHalf: four(first), highHalf: four(first &>> half))
        let high = SIMD8(lowHalf: four(second), highHalf: four(second &>> half))
        let mask = SIMD16<UInt32>(repeating: (1 << step) - 1)
        return unsafeBitCast(SIMD16(lowHalf: low, highHalf: high) & mask, to: SIMD16<Int32>.self)
    }
}

enum Codes1: CodeFormat {
    static var bits: Int { 1 }
    @inline(__always)
    static func load(_ codes: UnsafeRawPointer, chunk: Int) -> SIMD16<Int32> { narrow(codes, chunk: chunk) }
}
enum Codes2: CodeFormat {
    static var bits: Int { 2 }
    @inline(__always)
    static func load(_ codes: UnsafeRawPointer, chunk: Int) -> SIMD16<Int32> { narrow(codes, chunk: chunk) }
}
enum Codes3: CodeFormat {
    static var bits: Int { 3 }
    @inline(__always)
    static func load(_ codes: UnsafeRawPointer, chunk: Int) -> SIMD16<Int32> { narrow(codes, chunk: chunk) }
}
enum Codes4: CodeFormat {
    static var bits: Int { 4 }
    @inline(__always)
    static func load(_ codes: UnsafeRawPointer, chunk: Int) -> SIMD16<Int32> { narrow(codes, chunk: chunk) }
}
enum Codes5: CodeFormat {
    static var bits: Int { 5 }
    @inline(__always)
    static func load(_ codes: UnsafeRawPointer, chunk: Int) -> SIMD16<Int32> { wide(codes, chunk: chunk) }
}
enum Codes6: CodeFormat {
    static var bits: Int { 6 }
    @inline(__always)
    static func load(_ codes: UnsafeRawPointer, chunk: Int) -> SIMD16<Int32> { wide(codes, chunk: chunk) }
}
enum Codes7: CodeFormat {
    static var bits: Int { 7 }
    @inline(__always)
    static func load(_ codes: UnsafeRawPointer, chunk: Int) -> SIMD16<Int32> { wide(codes, chunk: chunk) }
}
enum Codes8: CodeFormat {
    static var bits: Int { 8 }
    @inline(__always)
    static func load(_ codes: UnsafeRawPointer, chunk: Int) -> SIMD16<Int32> {
        let bytes = (codes + chunk * 16).loadUnaligned(as: SIMD16<UInt8>.self)
        var result = SIMD16<Int32>()
        for lane in 0..<16 { result[lane] = Int32(bytes[lane]) }
        return result
    }
}
enum Codes16: CodeFormat {
    static var bits: Int { 16 }
    @inline(__always)
    static func load(_ codes: UnsafeRawPointer, chunk: Int) -> SIMD16<Int32> {
        let words = (codes + chunk * 32).loadUnaligned(as: SIMD16<UInt16>.self)
        var result = SIMD16<Int32>()
        for lane in 0..<16 { result[lane] = Int32(words[lane]) }
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
