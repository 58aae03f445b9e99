#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// Called now and then during a long call, from the thread that made it, with what is done and the total. Returns false
/// to stop the call, which then throws ``EmbedCompressError/cancelled``. May fork: the call goes on in both processes.
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

/// Shares a counter among the steps of a method, each of which counts what it likes. To be used on the thread that called.
final class ProgressSteps {
    private let whole: ProgressCounter
    private let units: Int
    /// The share of the units that is done after each step.
    private let ends: [Double]
    private var step = 0
    /// Of a mapped file, in memory at a time.
    private static let keptBytes = 32 << 20
    /// Units that the steps so far have told the whole of.
    private var told = 0

    /// - Parameters:
    ///   - units: What the steps count together of `whole`.
    ///   - shares: Of the time, for each step.
    init(_ whole: ProgressCounter, units: Int, shares: [Double]) {
        self.whole = whole
        self.units = units
        let total = max(shares.reduce(0, +), .leastNormalMagnitude)
        var sum = 0.0
        ends = shares.map {
            sum += $0
            return sum / total
        }
    }

    /// The counter of the next step, which counts to `total`.
    ///
    /// - Parameter source: A table of which the step counts rows that it has read: as they are counted, what they have
    ///   brought of a mapped file into memory is let go of.
    func next(total: Int, reading source: (any Node)? = nil) -> ProgressCounter {
        let start = step == 0 ? 0 : ends[step - 1]
        let end = step < ends.count ? ends[step] : 1
        step += 1
        tell(start)
        let keptRows = source.map { max(Self.keptBytes / min(max($0.storedBytes / max($0.rows, 1), 1), 1 << 16), 1) }
        var released = 0
        return ProgressCounter(total: total) { [self] done, total in
            if let source, let keptRows, done - released >= keptRows {
                source.discardPages()
                released = done
            }
            tell(start + (end - start) * Double(done) / Double(max(total, 1)))
            return (try? whole.report()) != nil
        }
    }

    /// The units that are still missing.
    func finish() throws {
        tell(1)
        try whole.report()
    }

    private func tell(_ share: Double) {
        let reached = Int(Double(units) * share)
        whole.advance(by: max(reached - told, 0))
        told = max(told, reached)
    }
}
