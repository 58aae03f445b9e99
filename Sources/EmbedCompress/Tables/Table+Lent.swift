/// An array in memory that somebody else owns.
package struct LentArray {
    package let name: String
    package let type: ElementType
    package let shape: [Int]
    package let data: UnsafeRawPointer?

    package init(name: String, type: ElementType, shape: [Int], data: UnsafeRawPointer?) {
        self.name = name
        self.type = type
        self.shape = shape
        self.data = data
    }

    /// The array in memory that a loan keeps.
    func stored(_ loan: Loan) throws -> StoredArray {
        StoredArray(name: name, type: type, shape: shape, bytes: Bytes(loan.storage(data, count: try byteCount())))
    }

    /// The numbers of an array of one axis.
    package func numbers() throws -> [Double] {
        guard shape.count == 1, let count = shape.first else {
            throw EmbedCompressError.invalidArgument("\(name) must have one axis, not \(shape.count)")
        }
        _ = try byteCount()
        guard let data else { return [] }
        try Allocation.require(Checked.product(count, MemoryLayout<Double>.stride))
        func read<Element>(_: Element.Type, _ number: (Element) -> Double) -> [Double] {
            let size = MemoryLayout<Element>.size
            return (0..<count).map { number((data + $0 * size).loadUnaligned(as: Element.self)) }
        }
        switch type {
        case .u8: return read(UInt8.self) { Double($0) }
        case .i8: return read(Int8.self) { Double($0) }
        case .u16: return read(UInt16.self) { Double($0) }
        case .i16: return read(Int16.self) { Double($0) }
        case .f16: return read(UInt16.self) { Double(floatFromHalf($0)) }
        case .u32: return read(UInt32.self) { Double($0) }
        case .i32: return read(Int32.self) { Double($0) }
        case .f32: return read(Float.self) { Double($0) }
        case .u64: return read(UInt64.self) { Double($0) }
        case .i64: return read(Int64.self) { Double($0) }
        case .f64: return read(Double.self) { $0 }
        case .bf16, .c64, .bool, .f8e4m3, .f8e5m2, .f8e4m3fnuz, .f8e5m2fnuz, .f8e8m0:
            throw EmbedCompressError.invalidArgument("\(name) must hold numbers, not \(type.rawValue)")
        }
    }

    func byteCount() throws -> Int {
        guard !shape.contains(where: { $0 < 0 }), let count = Checked.product(of: shape + [type.byteCount]) else {
            throw EmbedCompressError.invalidArgument("array '\(name)' cannot have the shape \(shape)")
        }
        guard data != nil || count == 0 else {
            throw EmbedCompressError.invalidArgument("array '\(name)' has no memory")
        }
        return count
    }
}

/// Calls `release` when the last table on the memory that it stands for is gone, unless the table was never made.
final class Loan: @unchecked Sendable {
    private let release: () -> Void
    var isTaken = false

    init(_ release: @escaping () -> Void) { self.release = release }
    deinit { if isTaken { release() } }

    func storage(_ data: UnsafeRawPointer?, count: Int) -> ByteStorage {
        ByteStorage.lent(data ?? nothing, count: count) { [self] in _ = self }
    }
}

extension Table {
    /// A table on lent memory. `release` is called once the last table on it is gone; not if this throws.
    package init(
        dense data: UnsafeRawPointer?, element: Dense.Element, rows: Int, dimension: Int, release: @escaping () -> Void
    ) throws {
        let loan = Loan(release)
        let array = LentArray(name: "weight", type: element.type, shape: [rows, dimension], data: data)
        let bytes = Bytes(loan.storage(data, count: try array.byteCount()))
        self.init(try Dense(bytes, element: element, rows: rows, dimension: dimension))
        loan.isTaken = true
    }

    /// A table of a tree, as ``treeText`` gives it, and its arrays on lent memory.
    package init(tree: String, arrays: [LentArray], release: @escaping () -> Void) throws {
        let loan = Loan(release)
        let stored = try arrays.map { try $0.stored(loan) }
        let tree = try JSON.parse(text: tree, maximumDepth: TableFile.maximumJSONDepth)
        self.init(try MappedFile.reading(stored.map(\.bytes.storage)) { try Parts(tree: tree, arrays: stored).node() })
        loan.isTaken = true
    }

    /// The expression as JSON.
    package func treeText() throws -> String { try parts().tree.serialized() }

    /// The arrays of the expression, on this table's memory.
    package func lentArrays() -> [LentArray] {
        parts().arrays.map {
            LentArray(name: $0.name, type: $0.type, shape: $0.shape, data: $0.bytes.pointer)
        }
    }

    /// Lets others write to these arrays where they are mapped from a file, which stays as it is.
    package func allowWriting() throws {
        for storage in root.storages { try storage.mapping?.allowWriting() }
    }
}
