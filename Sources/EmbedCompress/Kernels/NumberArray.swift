/// Numbers in f32 or f16 one after the other, such as the core of a tensor train or the weights of a layer.
struct NumberArray: Sendable {
    let bytes: Bytes
    let type: ScaleType
    /// Valid as long as this is.
    nonisolated(unsafe) let places: NumberPlaces

    init(_ bytes: Bytes, type: ScaleType) {
        self.bytes = bytes
        self.type = type
        places = NumberPlaces(
            base: bytes.pointer, readableBytes: bytes.readableCount, isHalf: type == .float16,
            isAligned: UInt(bitPattern: bytes.pointer) % UInt(MemoryLayout<Float>.alignment) == 0)
    }

    /// A copy of `values`.
    init(_ values: [Float]) throws {
        self.init(try values.withUnsafeBytes { try Bytes(copying: $0) }, type: .float32)
    }

    var count: Int { bytes.count / type.byteCount }
}

/// Where such numbers are. Kernels take this rather than the array, whose owner would be counted.
struct NumberPlaces {
    let base: UnsafeRawPointer
    let readableBytes: Int
    let isHalf: Bool
    let isAligned: Bool

    /// Numbers `start ..< start + count` as floats, after which fifteen more may be read: where they are, or in `space`,
    /// which has room for all of them rounded up to whole sixteens.
    @inline(__always)
    func floats(_ start: Int, _ count: Int, in space: UnsafeMutablePointer<Float>) -> UnsafePointer<Float> {
        if !isHalf, isAligned, (start &+ count &+ 15) &* 4 <= readableBytes {
            return (base + start &* 4).assumingMemoryBound(to: Float.self)
        }
        copy(start, count, to: space)
        return UnsafePointer(space)
    }

    /// Writes numbers `start ..< start + count`, and up to fifteen of any value after them.
    func copy(_ start: Int, _ count: Int, to target: UnsafeMutablePointer<Float>) {
        guard isHalf else {
            UnsafeMutableRawPointer(target).copyMemory(from: base + start &* 4, byteCount: count &* 4)
            return
        }
        let source = base + start &* 2
        let readable = readableBytes / 2 &- start
        var index = 0
        while index < count, index &+ 16 <= readable {
            store16(floatsFromHalves(source + index &* 2), to: target + index)
            index &+= 16
        }
        while index < count {
            target[index] = floatFromHalf((source + index &* 2).loadUnaligned(as: UInt16.self))
            index &+= 1
        }
    }

    @inline(__always)
    subscript(index: Int) -> Float {
        isHalf
            ? floatFromHalf((base + index &* 2).loadUnaligned(as: UInt16.self))
            : (base + index &* 4).loadUnaligned(as: Float.self)
    }
}
