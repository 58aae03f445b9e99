internal import CEmbedCompress.Shims

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// Loops over all cores. The work of an index never depends on which thread runs it, so results don't depend on the
/// number of threads.
public enum Parallel {
    /// The most threads that one call uses. Initially `OMP_NUM_THREADS` if that is a positive number, else the number
    /// of processors that this process may run on.
    public static var threadCount: Int {
        get { configuredThreads.value }
        set { configuredThreads.value = min(max(newValue, 1), maximumThreads) }
    }

    /// More threads than this are never started.
    public static let maximumThreads = 256

    /// Calls `body` with ranges that cover `0 ..< count`, each of at most `grain` indices, on up to `threadCount`
    /// threads, and returns when all are done. Ranges start at multiples of `grain`. Inside another parallel loop, or
    /// while another thread's loop has the workers, or for fewer than `leastChunks` ranges, everything runs on the
    /// calling thread.
    ///
    /// - Parameter waiting: Called over and over while other threads do the last ranges.
    static func forEach(
        count: Int, grain: Int, leastChunks: Int = 2, waiting: () -> Void = {}, _ body: (Range<Int>) -> Void
    ) {
        let chunks = (count + grain - 1) / grain
        func run(_ chunk: Int) {
            let start = chunk * grain
            body(start..<min(start + grain, count))
        }
        if chunks >= leastChunks, threadCount > 1 {
            withoutActuallyEscaping(run) {
                ThreadPool.current.run(chunks: chunks, threads: threadCount, waiting: waiting, body: $0)
            }
        } else {
            for chunk in 0..<chunks { run(chunk) }
        }
    }

    /// Like `forEach`, for work that takes long: stops early when `body` throws or progress asks to stop, and then
    /// throws. Of several errors, the one with the smallest index is thrown, whatever the number of threads.
    static func forEach(count: Int, grain: Int, progress: ProgressCounter, _ body: (Range<Int>) throws -> Void) throws {
        let failures = FirstFailure()
        func ask() {
            do { try progress.report() } catch { failures.cancel() }
        }
        // Batches, so that what is left of very many ranges is not gone through only to be skipped.
        let batch = min(Checked.product(grain, batchRanges) ?? count, max(count, 1))
        for first in stride(from: 0, to: count, by: batch) {
            if failures.isCancelled || failures.error != nil { break }
            runBatch(first..<min(first + batch, count), grain: grain, progress, failures, waiting: ask, body)
        }
        if failures.isCancelled { throw EmbedCompressError.cancelled }
        if let error = failures.error { throw error }
        try Scratch.check()
        try progress.report()
    }

    /// Between two batches of so many ranges a loop can be stopped.
    private static let batchRanges = 4096

    private static func runBatch(
        _ batch: Range<Int>, grain: Int, _ progress: ProgressCounter, _ failures: FirstFailure, waiting: () -> Void,
        _ body: (Range<Int>) throws -> Void
    ) {
        forEach(count: batch.count, grain: grain, waiting: waiting) { part in
            let range = batch.lowerBound + part.lowerBound..<batch.lowerBound + part.upperBound
            // A range before the first failure still runs, because its own failure would be the one to report.
            if failures.isCancelled || range.lowerBound > failures.position { return }
            do {
                try Scratch.checking { try body(range) }
                progress.advance(by: range.count)
                try progress.report()
            } catch EmbedCompressError.cancelled {
                failures.cancel()
            } catch {
                failures.record(error, at: range.lowerBound)
            }
        }
    }

    private static let configuredThreads = AtomicInt(initialThreads())

    private static func initialThreads() -> Int {
        if let text = getenv("OMP_NUM_THREADS"), let count = Int(String(cString: text)), count > 0 {
            return min(count, maximumThreads)
        }
        return min(max(Int(ec_processor_count()), 1), maximumThreads)
    }
}

/// The failure with the smallest position among those of a parallel loop.
private final class FirstFailure: @unchecked Sendable {
    private let lock = Lock()
    private var first: (position: Int, error: any Error)?
    private var cancelled = false

    var isCancelled: Bool { lock.withLock { cancelled } }
    var position: Int { lock.withLock { first?.position ?? Int.max } }
    var error: (any Error)? { lock.withLock { first?.error } }

    func cancel() { lock.withLock { cancelled = true } }

    func record(_ error: any Error, at position: Int) {
        lock.withLock {
            if position < first?.position ?? Int.max { first = (position, error) }
        }
    }
}
