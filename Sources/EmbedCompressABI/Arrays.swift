internal import CEmbedCompress.ABI
internal import EmbedCompress

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// The element types of the ABI, each with the core's own.
private let elementTypes: [(ec_dtype, ElementType)] = [
    (EC_U8, .u8), (EC_I8, .i8), (EC_U16, .u16), (EC_I16, .i16), (EC_F16, .f16), (EC_BF16, .bf16), (EC_U32, .u32),
    (EC_I32, .i32), (EC_F32, .f32), (EC_U64, .u64), (EC_I64, .i64), (EC_F64, .f64),
    (EC_BOOL, .bool), (EC_C64, .c64), (EC_F8_E4M3, .f8e4m3), (EC_F8_E5M2, .f8e5m2), (EC_F8_E4M3FNUZ, .f8e4m3fnuz),
    (EC_F8_E5M2FNUZ, .f8e5m2fnuz), (EC_F8_E8M0, .f8e8m0),
]

func elementType(_ type: ec_dtype) -> ElementType? { elementTypes.first { $0.0 == type }?.1 }

/// An array that a caller of the ABI describes.
private func lentArray(_ array: ec_array) throws -> LentArray {
    guard let type = elementType(array.dtype) else {
        throw invalid("there is no element type \(array.dtype.rawValue)")
    }
    let rank = try count(Int64(array.rank), "rank")
    let shape = rank == 0 ? nil : try required(array.shape, "shape")
    let sizes = try (0..<rank).compactMap { axis in try shape.map { try count($0[axis], "shape") } }
    return LentArray(name: try text(array.name, "name"), type: type, shape: sizes, data: array.data)
}

func lentArrays(_ arrays: UnsafePointer<ec_array>?, count: Int) throws -> [LentArray] {
    guard count > 0 else { return [] }
    let arrays = try required(arrays, "arrays")
    return try (0..<count).map { try lentArray(arrays[$0]) }
}

/// A table's arrays as C sees them, on memory that lives as long as this does.
final class ArrayList {
    /// Many threads may use one table, so that two may be the first to ask.
    private static let filling = Lock()
    private var filled: [ec_array]?
    private var isWritable = false
    private let table: Table
    private var allocations: [UnsafeMutableRawPointer] = []

    init(_ table: Table) { self.table = table }

    /// An array that the caller may write to.
    func lend(_ index: Int) throws -> ec_array {
        let entries = entries
        guard entries.indices.contains(index) else {
            throw invalid("array \(index) of a table of \(entries.count) arrays")
        }
        try ArrayList.filling.withLock {
            if !isWritable { try table.allowWriting() }
            isWritable = true
        }
        return entries[index]
    }

    deinit {
        for allocation in allocations { free(allocation) }
    }

    var entries: [ec_array] {
        ArrayList.filling.withLock {
            let entries = filled ?? table.lentArrays().compactMap(entry)
            filled = entries
            return entries
        }
    }

    private func entry(_ array: LentArray) -> ec_array? {
        guard let dtype = elementTypes.first(where: { $0.1 == array.type })?.0, let name = strdup(array.name) else {
            return nil
        }
        let shape = UnsafeMutablePointer<Int64>.allocate(capacity: max(array.shape.count, 1))
        for (axis, size) in array.shape.enumerated() { shape[axis] = Int64(size) }
        allocations += [UnsafeMutableRawPointer(name), UnsafeMutableRawPointer(shape)]
        return ec_array(
            name: name, dtype: dtype, rank: Int32(array.shape.count), shape: shape, data: array.data)
    }
}
