/// Says how far a long call has come, and stops it.
public final class Progress: @unchecked Sendable {
    /// Gets what is done and the total; returns false to stop the call, which then throws ``EmbedCompressError/cancelled``.
    public typealias Callback = (_ done: Int, _ total: Int) -> Bool

    private let callback: Callback?
    private let total: Int
    private let done = AtomicInt()

    init(total: Int, callback: Callback?) {
        self.total = total
        self.callback = callback
    }

    /// From any thread.
    func advance(by count: Int) { done.add(count) }

    /// Only from the thread that made the call: that is where callers expect their callback.
    func report() throws {
        guard let callback else { return }
        if !callback(min(done.value, total), total) { throw EmbedCompressError.cancelled }
    }
}
