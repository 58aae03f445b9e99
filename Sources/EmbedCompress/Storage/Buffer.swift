/// Memory for elements of a trivial type whose number others decide; copies share it. Where memory is refused this throws,
/// unlike an array, which ends the process.
struct Buffer<Element>: @unchecked Sendable {
    let count: Int
    private let storage: ByteStorage

    /// Of undefined content, for one who writes all of it.
    init(count: Int) throws {
        guard let bytes = Checked.product(count, MemoryLayout<Element>.stride) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        self.count = count
        storage = try ByteStorage.allocate(bytes, zeroed: false)
    }

    init(repeating element: Element, count: Int) throws {
        try self.init(count: count)
        base.initialize(repeating: element, count: count)
    }

    /// Valid as long as this value is; see ``keep()``.
    var base: UnsafeMutablePointer<Element> { storage.base.assumingMemoryBound(to: Element.self) }

    var indices: Range<Int> { 0..<count }

    subscript(index: Int) -> Element {
        get { base[index] }
        nonmutating set { base[index] = newValue }
    }

    /// Keeps the memory until here, for one who uses its address.
    func keep() { withExtendedLifetime(storage) {} }
}
