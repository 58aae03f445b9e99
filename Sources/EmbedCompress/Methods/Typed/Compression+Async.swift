#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// Told of what is done and the total now and then during a long asynchronous call, from the call's own thread.
public typealias ProgressReport = @Sendable (_ done: Int, _ total: Int) -> Void

extension Table {
    /// This table, compressed on a thread of its own: neither the caller's actor nor the threads that tasks share are kept
    /// busy meanwhile. The call stops soon after its task is cancelled.
    ///
    /// - Parameters:
    ///   - method: Such as `.leastSquares(bits: 4)` or `.pq(budget: .ratio(0.05))`.
    ///   - weights: How much an error counts; see the one that is not asynchronous.
    ///   - progress: Told of rows.
    /// - Throws: `CancellationError` if the task was cancelled, as Swift's own asynchronous functions do; otherwise as the
    ///   one that is not asynchronous.
    public func compressed(
        _ method: ConfiguredMethod, weights: Table? = nil, progress: ProgressReport? = nil
    ) async throws -> Table {
        try await compressed(method.name, method.options, weights: weights, progress: progress)
    }

    /// The same for a method and options by name; see ``Method/all``.
    public func compressed(
        _ method: String, _ options: [String: OptionValue] = [:], weights: Table? = nil,
        progress: ProgressReport? = nil
    ) async throws -> Table {
        try await withOwnThread(for: method, progress: progress) { callback in
            try self.compressed(method, options, weights: weights, progress: callback)
        }
    }
}

/// Runs `body` on a new thread, with a callback that stops it when the task is cancelled.
private func withOwnThread<Success: Sendable>(
    for method: String, progress: ProgressReport?,
    _ body: @escaping @Sendable (@escaping ProgressCallback) throws -> Success
) async throws -> Success {
    try Task.checkCancellation()
    let cancelled = AtomicInt()
    return try await withTaskCancellationHandler {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Success, any Error>) in
            let isStarted = startThread {
                do {
                    let success = try body { done, total in
                        guard cancelled.value == 0 else { return false }
                        progress?(done, total)
                        return true
                    }
                    continuation.resume(returning: success)
                } catch EmbedCompressError.cancelled {
                    continuation.resume(throwing: CancellationError())
                } catch {
                    continuation.resume(throwing: error)
                }
            }
            if !isStarted {
                continuation.resume(
                    throwing: EmbedCompressError.io(operation: "start a thread for", path: method, errno: EAGAIN))
            }
        }
    } onCancel: {
        cancelled.value = 1
    }
}
