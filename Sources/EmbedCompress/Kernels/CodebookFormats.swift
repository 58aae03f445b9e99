internal import CEmbedCompress.Codebooks
internal import CEmbedCompress.Shims

/// The entries of a codebook in memory.
protocol EntryFormat {
    /// Significant bits of an entry.
    static var precision: Int { get }
    /// The first sixteen; may read `rowOverread` bytes past the last entry.
    static func first(_ place: UnsafeRawPointer) -> Floats16
    /// The entries of sixteen codes, eight in each word.
    static func entries(_ low: CodeWord, _ high: CodeWord, _ place: UnsafeRawPointer) -> Floats16
}

enum HalfEntries: EntryFormat {
    static var precision: Int { 11 }

    @inline(__always)
    static func first(_ place: UnsafeRawPointer) -> Floats16 { floatsFromHalves(place) }

    @inline(__always)
    static func entries(_ low: CodeWord, _ high: CodeWord, _ place: UnsafeRawPointer) -> Floats16 {
        var (low, high) = (low, high)
        var halves = SIMD16<UInt16>()
        for lane in 0..<8 { halves[lane] = (place + 2 &* low.next()).loadUnaligned(as: UInt16.self) }
        for lane in 0..<8 { halves[lane &+ 8] = (place + 2 &* high.next()).loadUnaligned(as: UInt16.self) }
        return ec_halves_to_floats(halves)
    }
}

enum FloatEntries: EntryFormat {
    static var precision: Int { 24 }

    @inline(__always)
    static func first(_ place: UnsafeRawPointer) -> Floats16 { load16(place) }

    @inline(__always)
    static func entries(_ low: CodeWord, _ high: CodeWord, _ place: UnsafeRawPointer) -> Floats16 {
        var (low, high) = (low, high)
        var result = Floats16()
        for lane in 0..<8 { result[lane] = (place + 4 &* low.next()).loadUnaligned(as: Float.self) }
        for lane in 0..<8 { result[lane &+ 8] = (place + 4 &* high.next()).loadUnaligned(as: Float.self) }
        return result
    }
}

/// Eight codes, the first one in the low bits.
struct CodeWord {
    private var word: UInt64
    private let bits: UInt64

    /// Reads eight bytes, whatever the width.
    @inline(__always)
    init(_ codes: UnsafeRawPointer, bits: Int) {
        word = UInt64(littleEndian: codes.loadUnaligned(as: UInt64.self))
        self.bits = UInt64(truncatingIfNeeded: bits)
    }

    /// Takes the first code, which is below `2^bits`.
    @inline(__always)
    mutating func next() -> Int {
        let code = word & (1 &<< bits &- 1)
        word &>>= bits
        return Int(truncatingIfNeeded: code)
    }
}

/// Codes of 1 to 4 bits: the codebook is held in a register, or two or four, and a permute decodes.
enum RegisterBook<Codes: CodeFormat, Entries: EntryFormat>: RowFormat {
    static var precision: Int { Entries.precision }
    static func chunkBytes(bits _: Int) -> Int { 2 * Codes.bits }

    @inline(__always)
    static func book(_ place: UnsafeRawPointer, bits _: Int) -> Floats16 {
        ec_book(Entries.first(place), Int32(truncatingIfNeeded: Codes.bits))
    }

    @inline(__always)
    static func floats(_ row: UnsafeRawPointer, chunk: Int, _ book: Floats16) -> Floats16 {
        ec_codes_to_entries(
            (row + chunk &* (2 &* Codes.bits)).assumingMemoryBound(to: UInt8.self),
            Int32(truncatingIfNeeded: Codes.bits), book)
    }

    /// In the order of the tiles of `Codes`.
    @inline(__always)
    static func tile(_ row: UnsafeRawPointer, chunk: Int, _ book: Floats16) -> Tile {
        let bytes = (row + chunk &* (2 &* Codes.bits)).assumingMemoryBound(to: UInt8.self)
        switch Codes.bits {
        case 4:
            return Tile(
                chunk0: ec_bytes_to_entries(bytes, 0, 4, book), chunk1: ec_bytes_to_entries(bytes, 4, 4, book),
                chunk2: ec_bytes_to_entries(bytes + 16, 0, 4, book),
                chunk3: ec_bytes_to_entries(bytes + 16, 4, 4, book))
        case 2:
            return Tile(
                chunk0: ec_bytes_to_entries(bytes, 0, 2, book), chunk1: ec_bytes_to_entries(bytes, 2, 2, book),
                chunk2: ec_bytes_to_entries(bytes, 4, 2, book), chunk3: ec_bytes_to_entries(bytes, 6, 2, book))
        default:
            return Tile(
                chunk0: floats(row, chunk: chunk, book), chunk1: floats(row, chunk: chunk &+ 1, book),
                chunk2: floats(row, chunk: chunk &+ 2, book), chunk3: floats(row, chunk: chunk &+ 3, book))
        }
    }

    @inline(__always)
    static func ordered(_ tile: Tile) -> Tile { Codes.ordered(tile) }
}

/// Codes of 5 to 8 bits: entries are read from memory, which takes so long that one kernel does for all widths. Codes are
/// below `2^bits` whatever the row's bytes are.
enum MemoryBook<Entries: EntryFormat>: RowFormat {
    static var precision: Int { Entries.precision }
    static func chunkBytes(bits: Int) -> Int { 2 * bits }

    struct Book {
        let place: UnsafeRawPointer
        let bits: Int
    }

    @inline(__always)
    static func book(_ place: UnsafeRawPointer, bits: Int) -> Book { Book(place: place, bits: bits) }

    @inline(__always)
    static func floats(_ row: UnsafeRawPointer, chunk: Int, _ book: Book) -> Floats16 {
        let codes = row + chunk &* (2 &* book.bits)
        return Entries.entries(
            CodeWord(codes, bits: book.bits), CodeWord(codes + book.bits, bits: book.bits), book.place)
    }
}
