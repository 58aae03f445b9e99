/// Which part each id belongs to, and its rank among the part's ids, found in the same time wherever it is.
///
/// Ids come in blocks of 512. A block is the number of ids of each part before it, `parts` UInt32, and then
/// `bits = ceil(log2(parts))` planes of 64 bytes: bit `i` of plane `p` is bit `p` of the part of the block's id `i`. So an
/// id takes `bits + parts / 16` bits. All is little-endian.
struct PartRanks: Sendable {
    static let blockIDs = 512
    static let planeBytes = 64
    /// Counts have 32 bits.
    static let maximumRows = Int(UInt32.max)

    /// For whoever is to assign each of so many rows, before there is a number for each.
    static func checkRows(_ rows: Int) throws {
        guard rows <= maximumRows else {
            throw EmbedCompressError.invalidArgument("an assignment has at most \(maximumRows) ids, not \(rows)")
        }
    }

    let bytes: Bytes
    let parts: Int
    let rows: Int
    /// Ids of the first block before the first one; other than 0 in slices.
    let offset: Int
    /// The rank of the first id in each part, or of the next one of the part.
    let firstRanks: [Int]

    static func bits(parts: Int) -> Int { parts < 2 ? 0 : PackedMap.bits(for: parts - 1) }
    static func blockBytes(parts: Int) -> Int { 4 * parts + planeBytes * bits(parts: parts) }
    /// Bytes of the blocks of so many ids; nil if they are too many to count.
    static func byteCount(ids: Int, parts: Int) -> Int? { Checked.product(blocks(ids), blockBytes(parts: parts)) }
    /// Blocks of so many ids.
    static func blocks(_ ids: Int) -> Int { ids / blockIDs + (ids % blockIDs == 0 ? 0 : 1) }

    /// `bytes` has the blocks of `offset + rows` ids, which the caller has checked.
    init(_ bytes: Bytes, parts: Int, rows: Int, offset: Int) {
        (self.bytes, self.parts, self.rows, self.offset) = (bytes, parts, rows, offset)
        let reader = Reader(base: bytes.pointer, parts: parts, offset: offset)
        firstRanks = rows == 0 ? [Int](repeating: 0, count: parts) : (0..<parts).map { reader.rank(0, part: $0) }
    }

    /// - Parameter assignment: Parts, each of `0 ..< parts`, which the caller has checked.
    init(_ assignment: Buffer<UInt16>, parts: Int) throws {
        let (bits, blockBytes) = (Self.bits(parts: parts), Self.blockBytes(parts: parts))
        guard let byteCount = Self.byteCount(ids: assignment.count, parts: parts) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        let bytes = Bytes(try ByteStorage.allocate(byteCount))
        var counts = [UInt32](repeating: 0, count: parts)
        var block = bytes.mutablePointer
        for first in stride(from: 0, to: assignment.count, by: Self.blockIDs) {
            for (part, count) in counts.enumerated() {
                block.storeBytes(of: count.littleEndian, toByteOffset: 4 * part, as: UInt32.self)
            }
            let planes = (block + 4 * parts).assumingMemoryBound(to: UInt8.self)
            for index in 0..<min(Self.blockIDs, assignment.count - first) {
                let part = Int(assignment[first + index])
                counts[part] += 1
                for bit in 0..<bits where part >> bit & 1 == 1 {
                    planes[bit * Self.planeBytes + index / 8] |= 1 << UInt8(index % 8)
                }
            }
            block += blockBytes
        }
        self.init(bytes, parts: parts, rows: assignment.count, offset: 0)
    }

    /// Ids `range` on the same memory.
    func sliced(_ range: Range<Int>) throws -> PartRanks {
        let first = offset + range.lowerBound
        let (start, end) = (first / Self.blockIDs, Self.blocks(offset + range.upperBound))
        let blockBytes = Self.blockBytes(parts: parts)
        guard let part = bytes.range(start * blockBytes, max(end - start, 0) * blockBytes) else {
            throw EmbedCompressError.invalidArgument("rows \(range) are not within the \(rows) rows of the table")
        }
        return PartRanks(part, parts: parts, rows: range.count, offset: first - start * Self.blockIDs)
    }

    /// How many ids of a part there are before `id`, which may be that after the last.
    func count(of part: Int, before id: Int) -> Int {
        let reader = Reader(base: bytes.pointer, parts: parts, offset: offset)
        if id == 0 { return 0 }
        return reader.rank(id - 1, part: part) + (reader.part(id - 1) == part ? 1 : 0) - firstRanks[part]
    }

    /// For loops over ids: no owner to count.
    struct Reader {
        let base: UnsafeRawPointer
        let parts: Int
        let bits: Int
        let blockBytes: Int
        let offset: Int

        init(base: UnsafeRawPointer, parts: Int, offset: Int) {
            (self.base, self.parts, self.offset) = (base, parts, offset)
            (bits, blockBytes) = (PartRanks.bits(parts: parts), PartRanks.blockBytes(parts: parts))
        }

        /// What the planes say: up to `2^bits - 1`, which can be `parts` or more in a bad array.
        @inline(__always)
        func part(_ id: Int) -> Int {
            let place = id &+ offset
            let index = place % PartRanks.blockIDs
            let planes = base + (place / PartRanks.blockIDs &* blockBytes &+ 4 &* parts)
            var part = 0
            for bit in 0..<bits {
                let byte = (planes + (bit &* PartRanks.planeBytes &+ index &>> 3)).load(as: UInt8.self)
                part |= Int((byte &>> UInt8(index & 7)) & 1) &<< bit
            }
            return part
        }

        /// How many ids of the part there are before this one, from the start of the array on.
        @inline(__always)
        func rank(_ id: Int, part: Int) -> Int {
            let place = id &+ offset
            let index = place % PartRanks.blockIDs
            let block = base + place / PartRanks.blockIDs &* blockBytes
            let count = UInt32(littleEndian: (block + 4 &* part).loadUnaligned(as: UInt32.self))
            let planes = block + 4 &* parts
            var rank = Int(count)
            var word = 0
            while word < index &>> 6 {
                rank &+= members(planes, word, part).nonzeroBitCount
                word &+= 1
            }
            let before = (1 &<< UInt64(index & 63)) &- 1 as UInt64
            return rank &+ (members(planes, word, part) & before).nonzeroBitCount
        }

        /// The ids of a part among 64.
        @inline(__always)
        private func members(_ planes: UnsafeRawPointer, _ word: Int, _ part: Int) -> UInt64 {
            var members = UInt64.max
            for bit in 0..<bits {
                let plane = (planes + (bit &* PartRanks.planeBytes &+ 8 &* word)).loadUnaligned(as: UInt64.self)
                members &= part &>> bit & 1 == 1 ? UInt64(littleEndian: plane) : ~UInt64(littleEndian: plane)
            }
            return members
        }
    }
}
