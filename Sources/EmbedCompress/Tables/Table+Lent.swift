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

    fileprivate func byteCount() throws -> Int {
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
private final class Loan: @unchecked Sendable {
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
        let stored = try arrays.map { array in
            StoredArray(
                name: array.name, type: array.type, shape: array.shape,
                bytes: Bytes(loan.storage(array.data, count: try array.byteCount())))
        }
        let tree = try JSON.parse(text: tree, maximumDepth: TableFile.maximumJSONDepth)
        self.init(try Parts(tree: tree, arrays: stored).node())
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
}
