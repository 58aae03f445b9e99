internal import CEmbedCompress.ABI
internal import EmbedCompress

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

private let elementTypes: [(ec_dtype, ElementType)] = [
    (EC_U8, .u8), (EC_I8, .i8), (EC_U16, .u16), (EC_I16, .i16), (EC_F16, .f16), (EC_BF16, .bf16), (EC_U32, .u32),
    (EC_I32, .i32), (EC_F32, .f32), (EC_U64, .u64), (EC_I64, .i64), (EC_F64, .f64),
]

func denseElement(_ type: ec_dtype) -> Dense.Element? {
    switch type {
    case EC_F32: return .float32
    case EC_F16: return .float16
    case EC_BF16: return .bfloat16
    default: return nil
    }
}

/// An array that a caller of the ABI describes.
func lentArray(_ array: ec_array) throws -> LentArray {
    guard let type = elementTypes.first(where: { $0.0 == array.dtype })?.1 else {
        throw invalid("there is no element type \(array.dtype.rawValue)")
    }
    let rank = try count(Int64(array.rank), "rank")
    let shape = rank == 0 ? nil : try required(array.shape, "shape")
    let sizes = try (0..<rank).compactMap { axis in try shape.map { try count($0[axis], "shape") } }
    return LentArray(name: try text(array.name, "name"), type: type, shape: sizes, data: array.data)
}

/// A table's arrays as C sees them, on memory that lives as long as this does.
final class ArrayList {
    private(set) lazy var entries: [ec_array] = table.lentArrays().compactMap(entry)
    private let table: Table
    private var allocations: [UnsafeMutableRawPointer] = []

    init(_ table: Table) { self.table = table }
    deinit {
        for allocation in allocations { free(allocation) }
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
