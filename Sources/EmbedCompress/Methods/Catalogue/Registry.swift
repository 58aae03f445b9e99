/// A list that things can be added to from any thread, and that nothing is taken out of.
final class Registry<Item: Sendable>: @unchecked Sendable {
    private let lock = Lock()
    private var list: [Item]

    init(_ items: [Item]) { list = items }

    var items: [Item] { lock.withLock { list } }

    /// Adds an item, unless `check` throws when it sees those that are there.
    func add(_ item: Item, check: ([Item]) throws -> Void) throws {
        try lock.withLock {
            try check(list)
            list.append(item)
        }
    }
}
