#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// Pieces of memory that were made before a loop, for its threads to work in: none is refused any once it has begun.
final class WorkerSlots: @unchecked Sendable {
    private let base: UnsafeMutablePointer<Float>
    private let stride: Int
    private let lock = Lock()
    private var free: [Int]

    /// - Parameters:
    ///   - base: `count * stride` floats.
    ///   - count: At least 1.
    init(_ base: UnsafeMutablePointer<Float>, count: Int, stride: Int) {
        (self.base, self.stride, free) = (base, stride, Array(0..<count))
    }

    /// Calls `body` with a piece that nobody else has; waits for one if there are more threads than pieces.
    func with(_ body: (UnsafeMutablePointer<Float>) -> Void) {
        while true {
            if let slot = lock.withLock({ free.popLast() }) {
                body(base + slot * stride)
                lock.withLock { free.append(slot) }
                return
            }
            sched_yield()
        }
    }
}
