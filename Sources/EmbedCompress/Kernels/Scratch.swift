#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// Memory that nodes and methods work in: a stack of the thread's own, which keeps its memory between lookups, so that a
/// block of a nested expression allocates nothing.
///
/// Kernels don't throw. One who is refused memory does nothing, and the thread remembers that until ``check()``, which
/// every call that can throw does before its results are used.
package enum Scratch {
    /// Bytes that may be read and written past what was asked for.
    static let slack = 64
    /// A stack keeps up to so many bytes; what a lookup needs beyond them it allocates for itself.
    static let mostKept = 16 << 20
    /// The most that a lookup may need on each thread. Tables that would need more are refused when they are made.
    static let most = 64 << 20

    /// Calls `body` with room for `count` elements of a trivial type, aligned to a cache line, of undefined content. Does
    /// not call it where memory is refused.
    static func with<Element>(
        _ count: Int, of _: Element.Type = Element.self, _ body: (UnsafeMutablePointer<Element>) throws -> Void
    ) rethrows {
        let (size, overflow) = count.multipliedReportingOverflow(by: MemoryLayout<Element>.stride)
        guard !overflow, size <= Int.max - slack - 63, let stack = Stack.current else {
            return refuse(overflow ? Int.max : size)
        }
        let bytes = (size + slack + 63) & ~63
        guard let place = stack.pointee.push(bytes) else { return refuse(bytes) }
        defer { stack.pointee.pop(place, bytes) }
        try body(place.assumingMemoryBound(to: Element.self))
    }

    /// Throws if this thread was refused scratch since it was last asked.
    static func check() throws {
        if let bytes = takeRefusal() { throw EmbedCompressError.outOfMemory(bytes: bytes) }
    }

    /// Runs `body`, and throws if this thread was refused scratch in it: that is then the reason of any other error, too.
    package static func checking(_ body: () throws -> Void) throws {
        do {
            try body()
        } catch {
            try check()
            throw error
        }
        try check()
    }

    /// The bytes that this thread was refused since it was last asked; nil if it was refused none.
    static func takeRefusal() -> Int? {
        // Most calls cost no more than this.
        if refusals.value == 0 { return nil }
        if let stack = Stack.current, stack.pointee.refused > 0 {
            defer { stack.pointee.refused = 0 }
            refusals.add(-1)
            return stack.pointee.refused
        }
        guard refusedStack.exchange(1, for: 0) else { return nil }
        refusals.add(-1)
        return MemoryLayout<Stack>.size
    }

    /// Remembers a refusal: of this thread, or of one that worked for it.
    static func refuse(_ bytes: Int) {
        guard let stack = Stack.current else {
            if refusedStack.exchange(0, for: 1) { refusals.add(1) }
            return
        }
        if stack.pointee.refused == 0 { refusals.add(1) }
        stack.pointee.refused = max(stack.pointee.refused, bytes, 1)
    }

    /// Threads that were refused scratch and have not been asked.
    private static let refusals = AtomicInt()
    /// 1 once a thread was refused even its stack, until any thread is asked.
    private static let refusedStack = AtomicInt()

    private struct Stack {
        private var base: UnsafeMutableRawPointer?
        private var capacity = 0
        /// Bytes that are in use of the stack's memory.
        private var used = 0
        /// Bytes that are in use, those beyond the stack's memory included, and the most that ever were.
        private var live = 0
        private var most = 0
        /// Bytes that were asked for and refused; 0 if none were.
        var refused = 0

        mutating func push(_ bytes: Int) -> UnsafeMutableRawPointer? {
            if live == 0, most > capacity { grow() }
            live += bytes
            most = min(max(most, live), mostKept)
            if let base, bytes <= capacity - used {
                defer { used += bytes }
                return base + used
            }
            guard let place = Allocation.heap(bytes) else {
                live -= bytes
                return nil
            }
            return place
        }

        mutating func pop(_ place: UnsafeMutableRawPointer, _ bytes: Int) {
            live -= bytes
            if let base, place >= base, place < base + capacity { used -= bytes } else { free(place) }
        }

        private mutating func grow() {
            free(base)
            base = Allocation.heap(most)
            capacity = base == nil ? 0 : most
        }

        /// This thread's; nil if there is no memory for one.
        static var current: UnsafeMutablePointer<Stack>? {
            guard let key else { return nil }
            if let stack = pthread_getspecific(key) { return stack.assumingMemoryBound(to: Stack.self) }
            guard let memory = malloc(MemoryLayout<Stack>.size) else { return nil }
            let stack = memory.bindMemory(to: Stack.self, capacity: 1)
            stack.initialize(to: Stack())
            guard pthread_setspecific(key, memory) == 0 else {
                free(memory)
                return nil
            }
            return stack
        }

        private static let key: pthread_key_t? = {
            var key = pthread_key_t()
            // Called as its thread ends. Without a key no thread has scratch.
            let status = pthread_key_create(&key) { memory in
                #if canImport(Darwin)
                    let memory: UnsafeMutableRawPointer? = memory
                #endif
                guard let memory else { return }
                free(memory.assumingMemoryBound(to: Stack.self).pointee.base)
                free(memory)
            }
            return status == 0 ? key : nil
        }()
    }
}
