internal import CEmbedCompress.Parts

/// Up to sixteen numbers of a codebook's entry, as floats: one type for each width that is a register, and three for those
/// between, which read and write exactly as many numbers as there are.
protocol PartEntry {
    associatedtype Value
    /// Bytes of an entry, where it is as wide as the type; 0 where the width is not the type's.
    static var bytes: Int { get }
    static func load(_ source: UnsafeRawPointer, _ width: Int) -> Value
    static func store(_ value: Value, to target: UnsafeMutablePointer<Float>, _ width: Int)
    static var zero: Value { get }
    static func sum(_ a: Value, _ b: Value) -> Value
    /// `sum + weight * value`, with the product rounded.
    static func sum(_ sum: Value, _ value: Value, weight: Float) -> Value
    /// What is at `target`.
    static func current(_ target: UnsafeMutablePointer<Float>, _ width: Int) -> Value
}

protocol PartValue1: PartEntry where Value == Float {}
protocol PartValue2: PartEntry where Value == SIMD2<Float> {}
protocol PartValue4: PartEntry where Value == SIMD4<Float> {}
protocol PartValue8: PartEntry where Value == SIMD8<Float> {}
protocol PartValue16: PartEntry where Value == SIMD16<Float> {}

extension PartValue1 {
    @inline(__always) static var zero: Float { 0 }
    @inline(__always) static func sum(_ a: Float, _ b: Float) -> Float { a + b }
    @inline(__always) static func sum(_ sum: Float, _ value: Float, weight: Float) -> Float { sum + weight * value }
    @inline(__always) static func store(_ value: Float, to target: UnsafeMutablePointer<Float>, _ width: Int) {
        target[0] = value
    }
    @inline(__always) static func current(_ target: UnsafeMutablePointer<Float>, _ width: Int) -> Float { target[0] }
}

extension PartValue2 {
    @inline(__always) static var zero: SIMD2<Float> { SIMD2() }
    @inline(__always) static func sum(_ a: SIMD2<Float>, _ b: SIMD2<Float>) -> SIMD2<Float> { a + b }
    @inline(__always)
    static func sum(_ sum: SIMD2<Float>, _ value: SIMD2<Float>, weight: Float) -> SIMD2<Float> {
        sum + SIMD2(repeating: weight) * value
    }
    @inline(__always) static func store(_ value: SIMD2<Float>, to target: UnsafeMutablePointer<Float>, _ width: Int) {
        UnsafeMutableRawPointer(target).storeBytes(of: value, as: SIMD2<Float>.self)
    }
    @inline(__always) static func current(_ target: UnsafeMutablePointer<Float>, _ width: Int) -> SIMD2<Float> {
        UnsafeRawPointer(target).loadUnaligned(as: SIMD2<Float>.self)
    }
}

extension PartValue4 {
    @inline(__always) static var zero: SIMD4<Float> { SIMD4() }
    @inline(__always) static func sum(_ a: SIMD4<Float>, _ b: SIMD4<Float>) -> SIMD4<Float> { a + b }
    @inline(__always)
    static func sum(_ sum: SIMD4<Float>, _ value: SIMD4<Float>, weight: Float) -> SIMD4<Float> {
        sum + SIMD4(repeating: weight) * value
    }
    @inline(__always) static func store(_ value: SIMD4<Float>, to target: UnsafeMutablePointer<Float>, _ width: Int) {
        if bytes == 0 { return ec_store4(value, target, Int64(width)) }
        UnsafeMutableRawPointer(target).storeBytes(of: value, as: SIMD4<Float>.self)
    }
    @inline(__always) static func current(_ target: UnsafeMutablePointer<Float>, _ width: Int) -> SIMD4<Float> {
        ec_load4(target, bytes == 0 ? Int64(width) : 4)
    }
}

extension PartValue8 {
    @inline(__always) static var zero: SIMD8<Float> { SIMD8() }
    @inline(__always) static func sum(_ a: SIMD8<Float>, _ b: SIMD8<Float>) -> SIMD8<Float> { a + b }
    @inline(__always)
    static func sum(_ sum: SIMD8<Float>, _ value: SIMD8<Float>, weight: Float) -> SIMD8<Float> {
        sum + SIMD8(repeating: weight) * value
    }
    @inline(__always) static func store(_ value: SIMD8<Float>, to target: UnsafeMutablePointer<Float>, _ width: Int) {
        if bytes == 0 { return ec_store8(value, target, Int64(width)) }
        UnsafeMutableRawPointer(target).storeBytes(of: value, as: SIMD8<Float>.self)
    }
    @inline(__always) static func current(_ target: UnsafeMutablePointer<Float>, _ width: Int) -> SIMD8<Float> {
        ec_load8(target, bytes == 0 ? Int64(width) : 8)
    }
}

extension PartValue16 {
    @inline(__always) static var zero: Floats16 { Floats16() }
    @inline(__always) static func sum(_ a: Floats16, _ b: Floats16) -> Floats16 { a + b }
    @inline(__always)
    static func sum(_ sum: Floats16, _ value: Floats16, weight: Float) -> Floats16 {
        sum + Floats16(repeating: weight) * value
    }
    @inline(__always) static func store(_ value: Floats16, to target: UnsafeMutablePointer<Float>, _ width: Int) {
        if bytes == 0 { return ec_store16(value, target, Int64(width)) }
        store16(value, to: target)
    }
    @inline(__always) static func current(_ target: UnsafeMutablePointer<Float>, _ width: Int) -> Floats16 {
        bytes == 0 ? ec_load16(target, Int64(width)) : load16(target)
    }
}

// MARK: - f32 entries

enum Float1: PartValue1 {
    static var bytes: Int { 4 }
    @inline(__always) static func load(_ source: UnsafeRawPointer, _ width: Int) -> Float {
        source.loadUnaligned(as: Float.self)
    }
}
enum Float2: PartValue2 {
    static var bytes: Int { 8 }
    @inline(__always) static func load(_ source: UnsafeRawPointer, _ width: Int) -> SIMD2<Float> {
        source.loadUnaligned(as: SIMD2<Float>.self)
    }
}
enum Float4: PartValue4 {
    static var bytes: Int { 16 }
    @inline(__always) static func load(_ source: UnsafeRawPointer, _ width: Int) -> SIMD4<Float> {
        source.loadUnaligned(as: SIMD4<Float>.self)
    }
}
enum Float8: PartValue8 {
    static var bytes: Int { 32 }
    @inline(__always) static func load(_ source: UnsafeRawPointer, _ width: Int) -> SIMD8<Float> {
        source.loadUnaligned(as: SIMD8<Float>.self)
    }
}
enum FloatWhole16: PartValue16 {
    static var bytes: Int { 64 }
    @inline(__always) static func load(_ source: UnsafeRawPointer, _ width: Int) -> Floats16 { load16(source) }
}
/// 3 numbers.
enum FloatUpTo4: PartValue4 {
    static var bytes: Int { 0 }
    @inline(__always) static func load(_ source: UnsafeRawPointer, _ width: Int) -> SIMD4<Float> {
        ec_load4(source, Int64(width))
    }
}
/// 5 to 7 numbers.
enum FloatUpTo8: PartValue8 {
    static var bytes: Int { 0 }
    @inline(__always) static func load(_ source: UnsafeRawPointer, _ width: Int) -> SIMD8<Float> {
        ec_load8(source, Int64(width))
    }
}
/// 9 to 15 numbers.
enum FloatUpTo16: PartValue16 {
    static var bytes: Int { 0 }
    @inline(__always) static func load(_ source: UnsafeRawPointer, _ width: Int) -> Floats16 {
        ec_load16(source, Int64(width))
    }
}

// MARK: - f16 entries

enum Half1: PartValue1 {
    static var bytes: Int { 2 }
    @inline(__always) static func load(_ source: UnsafeRawPointer, _ width: Int) -> Float {
        floatFromHalf(source.loadUnaligned(as: UInt16.self))
    }
}
enum Half2: PartValue2 {
    static var bytes: Int { 4 }
    @inline(__always) static func load(_ source: UnsafeRawPointer, _ width: Int) -> SIMD2<Float> {
        ec_two_halves(source).lowHalf
    }
}
enum Half4: PartValue4 {
    static var bytes: Int { 8 }
    @inline(__always) static func load(_ source: UnsafeRawPointer, _ width: Int) -> SIMD4<Float> {
        ec_four_halves(source)
    }
}
enum Half8: PartValue8 {
    static var bytes: Int { 16 }
    @inline(__always) static func load(_ source: UnsafeRawPointer, _ width: Int) -> SIMD8<Float> {
        ec_eight_halves(source)
    }
}
enum HalfWhole16: PartValue16 {
    static var bytes: Int { 32 }
    @inline(__always) static func load(_ source: UnsafeRawPointer, _ width: Int) -> Floats16 {
        floatsFromHalves(source)
    }
}
enum HalfUpTo4: PartValue4 {
    static var bytes: Int { 0 }
    @inline(__always) static func load(_ source: UnsafeRawPointer, _ width: Int) -> SIMD4<Float> {
        ec_load_halves4(source, Int64(width))
    }
}
enum HalfUpTo8: PartValue8 {
    static var bytes: Int { 0 }
    @inline(__always) static func load(_ source: UnsafeRawPointer, _ width: Int) -> SIMD8<Float> {
        ec_load_halves8(source, Int64(width))
    }
}
enum HalfUpTo16: PartValue16 {
    static var bytes: Int { 0 }
    @inline(__always) static func load(_ source: UnsafeRawPointer, _ width: Int) -> Floats16 {
        ec_load_halves16(source, Int64(width))
    }
}
