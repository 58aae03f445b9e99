/// Integers of any width in an array, which need not be aligned.
struct IntegerArray: @unchecked Sendable {
    private let base: UnsafeRawPointer
    private let type: ElementType
    /// Keeps the memory; nil where the caller does.
    private let owner: Bytes?
    let count: Int

    /// nil unless the elements are integers.
    init?(_ array: StoredArray) {
        switch array.type {
        case .u8, .i8, .u16, .i16, .u32, .i32, .u64, .i64: break
        default: return nil
        }
        (base, type, owner, count) = (array.bytes.pointer, array.type, array.bytes, array.count)
    }

    /// On memory that the caller keeps.
    init(_ values: UnsafeBufferPointer<Int>) {
        base = values.baseAddress.map { UnsafeRawPointer($0) } ?? nothing
        (type, owner, count) = (.i64, nil, values.count)
    }

    /// Unsigned integers above `Int.max` are `Int.max`: too large for any use of them.
    @inline(__always)
    subscript(index: Int) -> Int {
        switch type {
        case .u8: return Int((base + index).load(as: UInt8.self))
        case .i8: return Int((base + index).load(as: Int8.self))
        case .u16: return Int((base + 2 &* index).loadUnaligned(as: UInt16.self))
        case .i16: return Int((base + 2 &* index).loadUnaligned(as: Int16.self))
        case .u32: return Int((base + 4 &* index).loadUnaligned(as: UInt32.self))
        case .i32: return Int((base + 4 &* index).loadUnaligned(as: Int32.self))
        case .u64: return Int(clamping: (base + 8 &* index).loadUnaligned(as: UInt64.self))
        default: return (base + 8 &* index).loadUnaligned(as: Int.self)
        }
    }

    /// The integers as I64, where they lie if they are such.
    func wide() throws -> Bytes {
        if type == .i64, let owner { return owner }
        guard let size = Checked.product(count, 8) else { throw EmbedCompressError.outOfMemory(bytes: Int.max) }
        let target = Bytes(try ByteStorage.allocate(size))
        for index in 0..<count {
            target.mutablePointer.storeBytes(of: Int64(self[index]), toByteOffset: 8 * index, as: Int64.self)
        }
        return target
    }
}

/// Numbers of any type in an array, which need not be aligned.
struct FloatArray: @unchecked Sendable {
    private let base: UnsafeRawPointer
    private let type: ElementType
    private let owner: Bytes
    private let integers: IntegerArray?
    let count: Int

    /// nil unless the elements are numbers.
    init?(_ array: StoredArray) {
        integers = IntegerArray(array)
        switch array.type {
        case .f32, .f16, .f64: break
        default: if integers == nil { return nil }
        }
        (base, type, owner, count) = (array.bytes.pointer, array.type, array.bytes, array.count)
    }

    @inline(__always)
    subscript(index: Int) -> Float {
        switch type {
        case .f32: return (base + 4 &* index).loadUnaligned(as: Float.self)
        case .f16: return floatFromHalf((base + 2 &* index).loadUnaligned(as: UInt16.self))
        case .f64: return Float((base + 8 &* index).loadUnaligned(as: Double.self))
        default: return Float(integers?[index] ?? 0)
        }
    }

    /// The first finite f64 number that is infinite as f32; nil if there is none.
    var firstOverflow: (index: Int, number: Double)? {
        guard type == .f64 else { return nil }
        for index in 0..<count {
            let number = (base + 8 &* index).loadUnaligned(as: Double.self)
            if number.isFinite, !Float(number).isFinite { return (index, number) }
        }
        return nil
    }

    /// Whether no number is NaN or infinite, as f32.
    var allFinite: Bool { (0..<count).allSatisfy { self[$0].isFinite } }

    /// Writes the numbers as that type. False if a finite one is too large for it.
    func copy(to target: UnsafeMutableRawPointer, as element: ScaleType) -> Bool {
        var fits = true
        for index in 0..<count { fits = store(self[index], element, to: target + index * element.byteCount) && fits }
        return fits
    }
}

/// Writes a number. False if it is finite and the type can't hold it.
@inline(__always)
func store(_ value: Float, _ element: ScaleType, to target: UnsafeMutableRawPointer) -> Bool {
    switch element {
    case .float32:
        target.storeBytes(of: value, as: Float.self)
        return true
    case .float16:
        let half = halfFromFloat(value)
        target.storeBytes(of: half, as: UInt16.self)
        return floatFromHalf(half).isFinite || !value.isFinite
    }
}
