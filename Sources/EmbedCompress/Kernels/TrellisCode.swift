/// The values that the states of a trellis stand for: they are computed, not stored.
///
/// A state has `stateBits` bits. Its value is the sum of the four bytes of `state * multiplier` modulo 2^32, less 510: a whole
/// number from -510 to 510 that is near to normally distributed, with a deviation of some 148. This is the code "1MAD" of
/// Tseng et al., "QTIP", NeurIPS 2024 (arXiv 2406.11235), without its summand.
///
/// Columns of no bits of their own share their state with the next column that has some; each of them has another multiplier,
/// so that together they are a code of several columns.
struct TrellisCode: Sendable, Equatable {
    static let stateBitRange = 8...16
    /// Bits that a column may have of its own. A state has at least `leastMemory` bits more.
    static let mostColumnBits = 8
    static let leastMemory = 4
    /// Columns in a row that have no bits of their own, at most.
    static let longestShare = 3
    /// The standard deviation of values.
    static let deviation: Float = 147.8

    let stateBits: Int
    let multiplier: UInt32

    var stateCount: Int { 1 << stateBits }
    var mask: UInt32 { UInt32(truncatingIfNeeded: stateCount - 1) }

    /// The multiplier of a column after `shared` columns without bits, which have the same state.
    func multiplier(after shared: Int) -> UInt32 {
        (0..<shared).reduce(multiplier) { product, _ in product &* 0x9e37_79b1 }
    }

    /// The value of a state.
    static func value(_ state: Int, _ multiplier: UInt32) -> Float {
        let product = UInt32(truncatingIfNeeded: state) &* multiplier
        let sum = (product & 255) + ((product &>> 8) & 255) + ((product &>> 16) & 255) + (product &>> 24)
        return Float(Int32(truncatingIfNeeded: sum) - 510)
    }
}

/// How many bits each column of a row has, and where they lie.
///
/// The row's bits are a ring: the state of a column is the `stateBits` bits from the column's own first bit on, low bits
/// first, and goes on at the row's first bit after its last one. Own bits of column after column fill whole bytes.
struct TrellisColumns: Sendable {
    let code: TrellisCode
    /// Of each column; the last one has some.
    let bits: [UInt8]
    /// Bytes of a row's bits.
    let codeBytes: Int
    /// What sixteen columns after sixteen columns are decoded with.
    let chunks: [TrellisChunk]
    /// Chunks from the first one on that differ in nothing but where their bytes begin, at equal distances, as those of even bits
    /// do.
    let alikeChunks: Int
    /// What the last chunk is decoded with where all others are alike, and it differs from them in nothing but that the row's
    /// end is reached.
    let ring: TrellisRing?

    var dimension: Int { bits.count }

    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for bits that no row can have.
    init(code: TrellisCode, bits: [UInt8]) throws {
        let most = min(TrellisCode.mostColumnBits, code.stateBits - TrellisCode.leastMemory)
        var run = 0
        for (column, own) in bits.enumerated() {
            guard own <= most else {
                throw EmbedCompressError.invalidArgument(
                    "columns of a trellis of \(code.stateBits)-bit states have 0 to \(most) bits, but column \(column) "
                        + "has \(own)")
            }
            run = own == 0 ? run + 1 : 0
            guard run <= TrellisCode.longestShare else {
                throw EmbedCompressError.invalidArgument(
                    "at most \(TrellisCode.longestShare) columns in a row have 0 bits, but those up to column \(column) do"
                )
            }
        }
        let total = bits.reduce(0) { $0 + Int($1) }
        guard run == 0, total % 8 == 0, total > 0 else {
            throw EmbedCompressError.invalidArgument(
                "the bits of all columns must fill whole bytes, and the last column must have some; they are \(total)")
        }
        self.code = code
        self.bits = bits
        codeBytes = total / 8
        let chunks = Self.chunks(code, bits, codeBytes: total / 8)
        self.chunks = chunks
        let alikeChunks = chunks.indices.prefix { index in
            chunks[index].isLike(chunks[0]) && (index == 0 || chunks[index].low == index * chunks[1].low)
        }.count
        self.alikeChunks = alikeChunks
        ring =
            alikeChunks > 0 && alikeChunks == chunks.count - 1
            ? TrellisRing(chunks[alikeChunks], like: chunks[0], codeBytes: codeBytes) : nil
    }

    private static func chunks(_ code: TrellisCode, _ bits: [UInt8], codeBytes: Int) -> [TrellisChunk] {
        var (position, shared) = (0, 0)
        return stride(from: 0, to: bits.count, by: 16).map { first in
            var chunk = TrellisChunk()
            for column in first..<min(first + 16, bits.count) {
                let lane = column - first
                if lane == 0 {
                    chunk.low = position / 8
                    let end = bits[first..<min(first + 15, bits.count)].reduce(position) { $0 + Int($1) }
                    chunk.isShort = end / 8 + 2 - chunk.low < 16
                }
                if lane == 0 || lane == 8 && !chunk.isShort { chunk.high = position / 8 }
                chunk.set(
                    lane, from: position, base: lane < 8 ? chunk.low : chunk.high, codeBytes: codeBytes,
                    multiplier: code.multiplier(after: shared))
                shared = bits[column] == 0 ? shared + 1 : 0
                position += Int(bits[column])
            }
            return chunk
        }
    }

    /// The bits of so many bytes, as even as can be: columns have one more or one less, at equal distances.
    static func evenBits(dimension: Int, codeBytes: Int) -> [UInt8] {
        let total = 8 * codeBytes
        return (0..<dimension).map { column in
            UInt8((column + 1) * total / dimension - column * total / dimension)
        }
    }
}

/// What sixteen columns of a row are decoded with.
struct TrellisChunk: Sendable {
    /// For each column the places of three bytes among the sixteen at `low`, or of columns 8 and on at `high`; see
    /// `ec_trellis_words`.
    private(set) var turns = SIMD64<UInt8>(repeating: 0x80)
    /// The same for bytes that lie at the start of the row, because the row's end was reached.
    private(set) var wrappedTurns = SIMD64<UInt8>(repeating: 0x80)
    /// Where a column's state begins in its bytes, in bits.
    private(set) var shifts = SIMD16<UInt32>()
    private(set) var multipliers = SIMD16<UInt32>()
    /// Bytes from the start of the row.
    var low = 0
    var high = 0
    private(set) var isWrapped = false
    /// Whether the sixteen bytes at `low` have all; `high` is then the same.
    var isShort = false

    /// Whether all is the same but for the places in the row, of chunks that need no more than the bytes at `low`.
    func isLike(_ other: TrellisChunk) -> Bool {
        isShort && other.isShort && !isWrapped && !other.isWrapped && turns == other.turns && shifts == other.shifts
            && multipliers == other.multipliers
    }

    // Where the vectors lie in this, in bytes.
    static var turnsOffset: Int { 0 }
    static var wrappedTurnsOffset: Int { 64 }
    static var shiftsOffset: Int { 128 }
    static var multipliersOffset: Int { 192 }

    /// Whether the columns that this has lie as those of `other` do, if the row's bytes went on behind its end with the first.
    fileprivate func goesOn(like other: TrellisChunk, codeBytes: Int) -> Bool {
        guard isShort else { return false }
        return (0..<16).allSatisfy { lane in
            // A column that is not there has no byte at all.
            let bytes = (4 * lane..<4 * lane + 3)
            if bytes.allSatisfy({ turns[$0] == 0x80 && wrappedTurns[$0] == 0x80 }) { return true }
            guard shifts[lane] == other.shifts[lane], multipliers[lane] == other.multipliers[lane] else { return false }
            return bytes.allSatisfy { byte in
                let place = low + Int(other.turns[byte])
                return place < codeBytes
                    ? turns[byte] == other.turns[byte] : Int(wrappedTurns[byte]) == place % codeBytes
            }
        }
    }

    mutating func set(_ lane: Int, from position: Int, base: Int, codeBytes: Int, multiplier: UInt32) {
        shifts[lane] = UInt32(position % 8)
        multipliers[lane] = multiplier
        for byte in 0..<3 {
            // A row of few bytes may be gone round several times.
            let place = position / 8 + byte
            if place < codeBytes {
                turns[4 * lane + byte] = UInt8(place - base)
            } else {
                wrappedTurns[4 * lane + byte] = UInt8(place % codeBytes)
                isWrapped = true
            }
        }
    }
}

/// What the bytes of a row's last chunk are put together with, where its columns go on at the row's start.
struct TrellisRing: Sendable {
    /// Bytes from the start of the row to the chunk's first one.
    let low: Int
    /// 255 for the bytes from `low` on that are the row's, 0 for others.
    private(set) var kept = SIMD16<UInt8>()
    /// For the others, which of the row's first sixteen bytes comes there.
    private(set) var opening = SIMD16<UInt8>(repeating: 0x80)

    /// - Returns: nil where the columns of the chunk do not lie in these bytes as those of `other` do in theirs.
    fileprivate init?(_ chunk: TrellisChunk, like other: TrellisChunk, codeBytes: Int) {
        guard chunk.goesOn(like: other, codeBytes: codeBytes) else { return nil }
        low = chunk.low
        for index in 0..<16 {
            let place = low + index
            if place < codeBytes {
                kept[index] = 255
            } else if place % codeBytes < 16 {
                opening[index] = UInt8(place % codeBytes)
            }
        }
    }
}
