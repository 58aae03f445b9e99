#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// Memory that nodes work in during a lookup: a stack of the thread's own, which keeps its memory between lookups, so
/// that a block of a nested expression allocates nothing.
enum Scratch {
    /// Bytes that may be read and written past what was asked for.
    static let slack = 64
    /// A stack keeps up to so many bytes; what a lookup needs beyond them it allocates for itself.
    static let mostKept = 16 << 20

    /// Calls `body` with room for `count` elements of a trivial type, aligned to a cache line, of undefined content.
    static func with<Element, Result>(
        _ count: Int, of _: Element.Type = Element.self, _ body: (UnsafeMutablePointer<Element>) throws -> Result
    ) rethrows -> Result {
        let bytes = (count * MemoryLayout<Element>.stride + slack + 63) & ~63
        guard let stack = Stack.current, let place = stack.pointee.push(bytes) else {
            return try withUnsafeTemporaryAllocation(byteCount: bytes, alignment: 64) { memory in
                let place = memory.baseAddress ?? UnsafeMutableRawPointer(mutating: nothing)
                return try body(place.assumingMemoryBound(to: Element.self))
            }
        }
        defer { stack.pointee.pop(place, bytes) }
        return try body(place.assumingMemoryBound(to: Element.self))
    }

    private struct Stack {
        private var base: UnsafeMutableRawPointer?
        private var capacity = 0
        /// Bytes that are in use of the stack's memory.
        private var used = 0
        /// Bytes that are in use, those beyond the stack's memory included, and the most that ever were.
        private var live = 0
        private var most = 0

        mutating func push(_ bytes: Int) -> UnsafeMutableRawPointer? {
            if live == 0, most > capacity { grow() }
            live += bytes
            most = min(max(most, live), mostKept)
            if let base, bytes <= capacity - used {
                defer { used += bytes }
                return base + used
            }
            guard let place = aligned_alloc(64, bytes) else {
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
            base = aligned_alloc(64, most)
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
            // Called as its thread ends. Without a key every lookup allocates for itself.
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
