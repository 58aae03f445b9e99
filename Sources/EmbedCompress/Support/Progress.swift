/// Called now and then during a long call, from the thread that made it, with what is done and the total. Returns false
/// to stop the call, which then throws ``EmbedCompressError/cancelled``.
public typealias ProgressCallback = (_ done: Int, _ total: Int) -> Bool

/// Counts what is done, and tells the caller.
final class ProgressCounter: @unchecked Sendable {
    private let callback: ProgressCallback?
    private let total: Int
    private let done = AtomicInt()

    init(total: Int, callback: ProgressCallback?) {
        self.total = total
        self.callback = callback
    }

    /// A counter that counts nothing and asks this one's caller whether to stop, for work between what is counted.
    var watch: ProgressCounter { ProgressCounter(total: 0) { [self] _, _ in (try? report()) != nil } }

    /// From any thread.
    func advance(by count: Int) { done.add(count) }

    /// Only from the thread that made the call.
    func report() throws {
        guard let callback else { return }
        if !callback(min(done.value, total), total) { throw EmbedCompressError.cancelled }
    }
}
