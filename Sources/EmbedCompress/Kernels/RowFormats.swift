internal import CEmbedCompress.Shims

/// Sixteen columns of a row as floats: codes, dense elements, or entries of a codebook.
protocol RowFormat {
    /// What columns are decoded with beside the row itself: nothing, or a codebook in registers.
    associatedtype Book
    /// Significant bits of an element.
    static var precision: Int { get }
    /// Bytes of sixteen columns, of `bits` bits each if the format doesn't say.
    static func chunkBytes(bits: Int) -> Int
    /// The book of a row whose parameters are at `place`. May read up to `rowOverread` bytes past them.
    static func book(_ place: UnsafeRawPointer, bits: Int) -> Book
    /// Columns `16 * chunk ..< 16 * chunk + 16` of the row at `row`. May read up to `rowOverread` bytes past the last
    /// column.
    static func floats(_ row: UnsafeRawPointer, chunk: Int, _ book: Book) -> Floats16
    /// Four chunks from `chunk` on, in an order that is cheap to make and that `ordered` undoes. Sums are ordered once
    /// for all rows.
    static func tile(_ row: UnsafeRawPointer, chunk: Int, _ book: Book) -> Tile
    static func ordered(_ tile: Tile) -> Tile
}

/// A format whose columns need nothing beside the row.
protocol PlainRowFormat: RowFormat where Book == Void {
    static func floats(_ row: UnsafeRawPointer, chunk: Int) -> Floats16
    static func tile(_ row: UnsafeRawPointer, chunk: Int) -> Tile
}

/// Four chunks of columns.
struct Tile {
    var chunk0: Floats16
    var chunk1: Floats16
    var chunk2: Floats16
    var chunk3: Floats16
}

extension RowFormat {
    @inline(__always)
    static func tile(_ row: UnsafeRawPointer, chunk: Int, _ book: Book) -> Tile {
        Tile(
            chunk0: floats(row, chunk: chunk, book), chunk1: floats(row, chunk: chunk &+ 1, book),
            chunk2: floats(row, chunk: chunk &+ 2, book), chunk3: floats(row, chunk: chunk &+ 3, book))
    }

    @inline(__always)
    static func ordered(_ tile: Tile) -> Tile { tile }
}

extension PlainRowFormat {
    @inline(__always)
    static func book(_ place: UnsafeRawPointer, bits: Int) {}

    @inline(__always)
    static func floats(_ row: UnsafeRawPointer, chunk: Int, _ book: Void) -> Floats16 { floats(row, chunk: chunk) }

    @inline(__always)
    static func tile(_ row: UnsafeRawPointer, chunk: Int, _ book: Void) -> Tile { tile(row, chunk: chunk) }

    @inline(__always)
    static func tile(_ row: UnsafeRawPointer, chunk: Int) -> Tile {
        Tile(
            chunk0: floats(row, chunk: chunk), chunk1: floats(row, chunk: chunk &+ 1),
            chunk2: floats(row, chunk: chunk &+ 2), chunk3: floats(row, chunk: chunk &+ 3))
    }
}

enum FloatRows: PlainRowFormat {
    static var precision: Int { 24 }
    static func chunkBytes(bits: Int) -> Int { 64 }
    @inline(__always)
    static func floats(_ row: UnsafeRawPointer, chunk: Int) -> Floats16 { load16(row + chunk &* 64) }
}
enum HalfRows: PlainRowFormat {
    static var precision: Int { 11 }
    static func chunkBytes(bits: Int) -> Int { 32 }
    @inline(__always)
    static func floats(_ row: UnsafeRawPointer, chunk: Int) -> Floats16 { floatsFromHalves(row + chunk &* 32) }
}
enum BrainFloatRows: PlainRowFormat {
    static var precision: Int { 8 }
    static func chunkBytes(bits: Int) -> Int { 32 }
    @inline(__always)
    static func floats(_ row: UnsafeRawPointer, chunk: Int) -> Floats16 { floatsFromBrainFloats(row + chunk &* 32) }
}

/// How a row's columns are scaled: `scale * x + bias`, both at the place of the row's parameters.
protocol RowScaling {
    /// Whether there is anything to do.
    static var isScaled: Bool { get }
    /// Significant bits of a scale.
    static var precision: Int { get }
    /// Whether rows hold their scale, though what they are decoded with lies elsewhere.
    static var isInRow: Bool { get }
    /// Scale and bias in the first two lanes.
    static func parameters(_ place: UnsafeRawPointer) -> SIMD4<Float>
}

extension RowScaling {
    static var isInRow: Bool { false }
}

enum Unscaled: RowScaling {
    static var isScaled: Bool { false }
    static var precision: Int { 0 }
    @inline(__always)
    static func parameters(_ place: UnsafeRawPointer) -> SIMD4<Float> { SIMD4(1, 0, 0, 0) }
}
enum HalfScaled: RowScaling {
    static var isScaled: Bool { true }
    static var precision: Int { 11 }
    @inline(__always)
    static func parameters(_ place: UnsafeRawPointer) -> SIMD4<Float> { ec_two_halves(place) }
}
enum FloatScaled: RowScaling {
    static var isScaled: Bool { true }
    static var precision: Int { 24 }
    @inline(__always)
    static func parameters(_ place: UnsafeRawPointer) -> SIMD4<Float> {
        SIMD4(lowHalf: place.loadUnaligned(as: SIMD2<Float>.self), highHalf: SIMD2())
    }
}

/// A scale in each row, for the codebook of the table.
enum HalfRowScaled: RowScaling {
    static var isScaled: Bool { true }
    static var isInRow: Bool { true }
    static var precision: Int { 11 }
    @inline(__always)
    static func parameters(_ place: UnsafeRawPointer) -> SIMD4<Float> {
        SIMD4(floatFromHalf(place.loadUnaligned(as: UInt16.self)), 0, 0, 0)
    }
}
enum FloatRowScaled: RowScaling {
    static var isScaled: Bool { true }
    static var isInRow: Bool { true }
    static var precision: Int { 24 }
    @inline(__always)
    static func parameters(_ place: UnsafeRawPointer) -> SIMD4<Float> {
        SIMD4(place.loadUnaligned(as: Float.self), 0, 0, 0)
    }
}

/// The type of stored parameters: scales and biases, or the entries of codebooks.
public enum ScaleType: String, Sendable, CaseIterable {
    case float16 = "f16"
    case float32 = "f32"

    /// Bytes of one parameter.
    var byteCount: Int { self == .float16 ? 2 : 4 }
    /// The type of an array of them.
    var elementType: ElementType { self == .float16 ? .f16 : .f32 }
}

/// The columns of a row that share parameters: a scale and a bias, or a codebook.
struct ColumnGroup: Sendable {
    let firstColumn: Int
    let columns: Int
    /// Bytes from the start of the row to the group's first column.
    let offset: Int
    /// Bytes to the group's parameters, from the start of the row or of what the row shares with others. Not used for
    /// dense rows.
    let parameterOffset: Int
    /// Of a code, for formats that are not of one width.
    var bits = 0
    /// Bytes from the start of the row to its scale, for scalings that are in the row.
    var scaleOffset = 0
}
