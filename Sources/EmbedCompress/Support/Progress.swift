#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// Called now and then during a long call, from the thread that made it, with what is done and the total. Returns false
/// to stop the call, which then throws ``EmbedCompressError/cancelled``.
public typealias ProgressCallback = (_ done: Int, _ total: Int) -> Bool

/// Counts what is done, and tells the caller. To be made on the thread that called.
final class ProgressCounter: @unchecked Sendable {
    private let callback: ProgressCallback?
    private let total: Int
    private let done = AtomicInt()
    private let caller = pthread_self()
    /// 1 once the caller has asked to stop.
    private let stopped = AtomicInt()

    init(total: Int, callback: ProgressCallback?) {
        self.total = total
        self.callback = callback
    }

    /// A counter that counts nothing and asks this one's caller whether to stop, for work between what is counted.
    var watch: ProgressCounter { ProgressCounter(total: 0) { [self] _, _ in (try? report()) != nil } }

    /// From any thread.
    func advance(by count: Int) { done.add(count) }

    /// Throws if the caller wants to stop. The thread that called asks, others learn what it was told.
    func report() throws {
        guard let callback else { return }
        if pthread_equal(caller, pthread_self()) != 0, stopped.value == 0 {
            stopped.value = callback(min(done.value, total), total) ? 0 : 1
        }
        if stopped.value != 0 { throw EmbedCompressError.cancelled }
    }
}
