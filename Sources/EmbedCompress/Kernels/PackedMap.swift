/// An array of unsigned integers of `bits` bits, packed from the low bits of the first byte on: entry `i` takes bits
/// `shift + i * bits` and those after it.
struct PackedMap: Sendable {
    /// An entry and the seven bits before it fit in a word.
    static let bitWidths = 1...57

    let bytes: Bytes
    let bits: Int
    /// Bits before the first entry, 0 to 7; other than 0 in slices.
    let shift: Int
    let count: Int

    /// nil if `bits`, `shift` or `count` is out of range.
    static func byteCount(bits: Int, shift: Int, count: Int) -> Int? {
        guard bitWidths.contains(bits), (0...7).contains(shift), count >= 0 else { return nil }
        return Checked.product(count, bits).flatMap { Checked.sum($0, shift, 7) }.map { $0 / 8 }
    }

    /// The fewest bits that hold numbers from 0 to `largest`, at least 1.
    static func bits(for largest: Int) -> Int { max(Int.bitWidth - max(largest, 0).leadingZeroBitCount, 1) }

    init(_ bytes: Bytes, bits: Int, shift: Int, count: Int) throws {
        guard let byteCount = Self.byteCount(bits: bits, shift: shift, count: count), bytes.count == byteCount else {
            throw EmbedCompressError.invalidArgument(
                "a map of \(bytes.count) bytes does not have \(count) entries of \(bits) bits")
        }
        (self.bytes, self.bits, self.shift, self.count) = (bytes, bits, shift, count)
    }

    /// Packs `count` numbers of up to `bits` bits.
    init(count: Int, bits: Int, _ entry: (Int) -> UInt64) throws {
        guard let byteCount = Self.byteCount(bits: bits, shift: 0, count: count) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        let bytes = Bytes(try ByteStorage.allocate(byteCount))
        var target = bytes.mutablePointer.assumingMemoryBound(to: UInt8.self)
        // Bits that no whole byte has been made of yet: at most 7 before an entry is added.
        var (pending, pendingBits): (UInt64, Int) = (0, 0)
        for index in 0..<count {
            pending |= entry(index) &<< UInt64(pendingBits)
            pendingBits += bits
            while pendingBits >= 8 {
                target.pointee = UInt8(truncatingIfNeeded: pending)
                target += 1
                pending &>>= 8
                pendingBits -= 8
            }
        }
        if pendingBits > 0 { target.pointee = UInt8(truncatingIfNeeded: pending) }
        try self.init(bytes, bits: bits, shift: 0, count: count)
    }

    /// Entries `range` on the same memory; the range lies within this map.
    func sliced(_ range: Range<Int>) throws -> PackedMap {
        let first = shift + range.lowerBound * bits
        let shift = first & 7
        guard let length = Self.byteCount(bits: bits, shift: shift, count: range.count),
            let part = bytes.range(first >> 3, length)
        else {
            throw EmbedCompressError.invalidArgument("entries \(range) are not within the \(count) of the map")
        }
        return try PackedMap(part, bits: bits, shift: shift, count: range.count)
    }

    /// For loops over entries: no owner to count.
    var reader: Reader {
        Reader(
            base: bytes.pointer, bits: bits, shift: shift, lastWord: bytes.readableCount - 8, byteCount: bytes.count)
    }

    struct Reader {
        let base: UnsafeRawPointer
        let bits: Int
        let shift: Int
        /// The last byte that a word may be read from; negative if there is none.
        let lastWord: Int
        let byteCount: Int

        /// The entry at an index of the map.
        @inline(__always)
        subscript(_ index: Int) -> UInt64 {
            let bit = shift &+ index &* bits
            let byte = bit &>> 3
            let word =
                byte <= lastWord
                ? UInt64(littleEndian: (base + byte).loadUnaligned(as: UInt64.self)) : wordAtEnd(byte)
            return (word &>> UInt64(bit & 7)) & ((1 &<< UInt64(bits)) &- 1)
        }

        @inline(never)
        private func wordAtEnd(_ byte: Int) -> UInt64 {
            var word: UInt64 = 0
            for index in byte..<max(byteCount, byte) {
                word |= UInt64((base + index).load(as: UInt8.self)) &<< UInt64(8 &* (index &- byte))
            }
            return word
        }
    }
}
