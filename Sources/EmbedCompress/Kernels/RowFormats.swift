internal import CEmbedCompress.Shims

/// Sixteen columns of a row as floats: codes, or dense elements.
protocol RowFormat {
    /// Significant bits of an element.
    static var precision: Int { get }
    /// Columns `16 * chunk ..< 16 * chunk + 16` of the row at `row`. May read up to `rowOverread` bytes past the last
    /// column.
    static func floats(_ row: UnsafeRawPointer, chunk: Int) -> Floats16
    /// Four chunks from `chunk` on, in an order that is cheap to make and that `ordered` undoes. Sums are ordered once
    /// for all rows.
    static func tile(_ row: UnsafeRawPointer, chunk: Int) -> Tile
    static func ordered(_ tile: Tile) -> Tile
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
    static func tile(_ row: UnsafeRawPointer, chunk: Int) -> Tile {
        Tile(
            chunk0: floats(row, chunk: chunk), chunk1: floats(row, chunk: chunk &+ 1),
            chunk2: floats(row, chunk: chunk &+ 2), chunk3: floats(row, chunk: chunk &+ 3))
    }

    @inline(__always)
    static func ordered(_ tile: Tile) -> Tile { tile }
}

enum FloatRows: RowFormat {
    static var precision: Int { 24 }
    @inline(__always)
    static func floats(_ row: UnsafeRawPointer, chunk: Int) -> Floats16 { load16(row + chunk &* 64) }
}
enum HalfRows: RowFormat {
    static var precision: Int { 11 }
    @inline(__always)
    static func floats(_ row: UnsafeRawPointer, chunk: Int) -> Floats16 { floatsFromHalves(row + chunk &* 32) }
}
enum BrainFloatRows: RowFormat {
    static var precision: Int { 8 }
    @inline(__always)
    static func floats(_ row: UnsafeRawPointer, chunk: Int) -> Floats16 { floatsFromBrainFloats(row + chunk &* 32) }
}

/// How a row's columns are scaled: `scale * x + bias`, both stored beside the columns.
protocol RowScaling {
    /// Whether there is anything to do.
    static var isScaled: Bool { get }
    /// Significant bits of a scale.
    static var precision: Int { get }
    /// Scale and bias in the first two lanes.
    static func parameters(_ place: UnsafeRawPointer) -> SIMD4<Float>
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

/// The type of stored scales and biases.
public enum ScaleType: String, Sendable, CaseIterable {
    case float16 = "f16"
    case float32 = "f32"

    /// Bytes of one scale.
    var byteCount: Int { self == .float16 ? 2 : 4 }
}

/// The columns of a row that share a scale and a bias.
struct ColumnGroup {
    let firstColumn: Int
    let columns: Int
    /// Bytes from the start of the row to the group's first column.
    let offset: Int
    /// Bytes from the start of the row to the group's scale; the bias follows it. Not used for unscaled rows.
    let scaleOffset: Int
}
