internal import CEmbedCompress.Shims

/// An integer that threads share.
final class AtomicInt: @unchecked Sendable {
    private let cell: UnsafeMutablePointer<Int64>

    init(_ value: Int = 0) {
        cell = .allocate(capacity: 1)
        cell.initialize(to: Int64(value))
    }

    deinit { cell.deallocate() }

    var value: Int {
        get { Int(ec_atomic_load(cell)) }
        set { ec_atomic_store(cell, Int64(newValue)) }
    }

    /// The value before.
    @discardableResult
    func add(_ amount: Int) -> Int { Int(ec_atomic_add(cell, Int64(amount))) }

    /// Sets `next` if the value is `expected`; says whether it was.
    func exchange(_ expected: Int, for next: Int) -> Bool { ec_atomic_swap_if(cell, Int64(expected), Int64(next)) != 0 }
}
