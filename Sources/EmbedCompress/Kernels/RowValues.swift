internal import CEmbedCompress.Shims

/// A group of columns of one row, as floats: what needs no search.
struct RowValues {
    /// At least `count` rounded up to 16 floats are readable.
    let base: UnsafePointer<Float>
    let count: Int

    private var full: Int { count &>> 4 }

    @inline(__always)
    private func chunk(_ index: Int) -> Floats16 { load16(base + index &* 16) }

    /// The last, partial chunk; the lanes past the row repeat its first value.
    @inline(__always)
    private var rest: Floats16 {
        ec_first_lanes(chunk(full), Floats16(repeating: base[0]), Int32(truncatingIfNeeded: count & 15))
    }

    /// The smallest and largest values of each of sixteen lanes.
    @inline(__always)
    var extremes: Extremes {
        var even = Extremes(base[0])
        var odd = even
        // Two of each, because every step waits for the one before it.
        for pair in 0..<full &>> 1 {
            even.add(chunk(2 &* pair))
            odd.add(chunk(2 &* pair &+ 1))
        }
        if full & 1 != 0 { even.add(chunk(full &- 1)) }
        if count & 15 != 0 { odd.add(rest) }
        even.add(odd)
        return even
    }

    /// A copy of a row that may change, in room for whole chunks. Short stores: a long copy would wait for memory alone,
    /// where these do while the row before is worked with.
    @inline(__always)
    func copied(to target: UnsafeMutablePointer<Float>) -> RowValues {
        let bytes = UnsafeMutableRawPointer(target)
        for index in 0..<(count &+ 15) &>> 4 {
            bytes.storeBytes(of: chunk(index), toByteOffset: 64 &* index, as: Floats16.self)
        }
        return RowValues(base: UnsafePointer(target), count: count)
    }

    /// Smallest and largest value; nil if one is NaN or infinite.
    func extent() -> (minimum: Float, maximum: Float)? {
        let extremes = extremes
        return isZero(extremes.strange) ? (ec_least16(extremes.low), -ec_least16(-extremes.high)) : nil
    }

    /// The nearest codes of the row under a range, packed to the bit. The group starts at a byte; its last byte may be
    /// shared with nothing.
    @inline(__always)
    func encode<Format: CodeFormat>(
        _ ranges: Ranges, _ format: RangeFormat, as _: Format.Type, to target: UnsafeMutableRawPointer
    ) {
        pack(as: Format.self, to: target) { format.places($0, ranges) }
    }

    /// The nearest entries of a codebook, as codes packed to the bit.
    @inline(__always)
    func encode<Format: CodeFormat>(_ book: SortedBook, as _: Format.Type, to target: UnsafeMutableRawPointer) {
        pack(as: Format.self, to: target) { book.codes($0) }
    }

    /// The codes that `codes` gives for sixteen values at a time, packed to the bit.
    @inline(__always)
    func pack<Format: CodeFormat>(
        as _: Format.Type, to target: UnsafeMutableRawPointer, codes: (Floats16) -> Floats16
    ) {
        var output = target
        for index in 0..<full {
            Format.pack(codes(chunk(index)), to: output)
            output += 2 &* Format.bits
        }
        guard count & 15 != 0 else { return }
        // Sixteen codes of 16 bits at most.
        withUnsafeTemporaryAllocation(byteCount: 32, alignment: 8) { last in
            guard let last = last.baseAddress else { return }
            Format.pack(codes(rest), to: last)
            let bits = (count & 15) &* Format.bits
            let bytes = (bits &+ 7) &>> 3
            // Bits past the row are zeros, so that equal rows have equal bytes.
            if bits & 7 != 0 {
                let mask = UInt8(truncatingIfNeeded: (1 << (bits & 7)) - 1)
                let place = last + (bytes &- 1)
                place.storeBytes(of: place.load(as: UInt8.self) & mask, as: UInt8.self)
            }
            output.copyMemory(from: last, byteCount: bytes)
        }
    }
}

/// Whether every lane is 0, which NaN is not.
@inline(__always)
func isZero(_ lanes: Floats16) -> Bool { all(lanes .== 0) }

@inline(__always)
func total(_ lanes: Floats16) -> Float {
    let eight = lanes.lowHalf + lanes.highHalf
    let four = eight.lowHalf + eight.highHalf
    let two = four.lowHalf + four.highHalf
    return two[0] + two[1]
}

/// The smallest and largest values of each lane, and what is not 0 if one was NaN or infinite.
struct Extremes {
    var low: Floats16
    var high: Floats16
    var strange = Floats16()

    @inline(__always)
    init(_ value: Float) {
        low = Floats16(repeating: value)
        high = low
    }

    @inline(__always)
    mutating func add(_ values: Floats16) {
        low = leastOf(values, low)
        high = mostOf(values, high)
        // Only what is not finite is not 0 when multiplied by it.
        strange = multiplyAdd(values, Floats16(), strange, isExact: true)
    }

    @inline(__always)
    mutating func add(_ other: Extremes) {
        low = leastOf(low, other.low)
        high = mostOf(high, other.high)
        strange += other.strange
    }
}
