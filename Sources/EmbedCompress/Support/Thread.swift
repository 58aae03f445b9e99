#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

private final class ThreadBody {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}

/// Bytes of a thread's stack: what the core's own frames need many times over, on every system. Left to the system it would
/// be from 128 KB (musl) to 8 MB (glibc), which 64 threads would take half a gigabyte of addresses for.
let threadStackBytes = 1 << 20

/// Runs `body` on a new thread, which ends with it and gets no signals: those are for the program's own threads.
/// But for SIGBUS, which a thread brings about itself when it reads a mapped file that is gone (``MappedFile``).
///
/// - Returns: False when the system refuses another thread, or has no memory left for one.
func startThread(_ body: @escaping @Sendable () -> Void) -> Bool {
    guard Allocation.hasRoomForThread else { return false }
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    defer { pthread_attr_destroy(&attributes) }
    pthread_attr_setstacksize(&attributes, threadStackBytes)
    pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
    var all = sigset_t()
    var before = sigset_t()
    sigfillset(&all)
    sigdelset(&all, SIGBUS)
    pthread_sigmask(SIG_SETMASK, &all, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    #if canImport(Darwin)
        var thread: pthread_t?
    #else
        var thread = pthread_t()
    #endif
    let context = Unmanaged.passRetained(ThreadBody(body))
    let isStarted =
        pthread_create(
            &thread, &attributes,
            { context in
                #if canImport(Darwin)
                    let address: UnsafeMutableRawPointer? = context
                #else
                    let address = context
                #endif
                if let address { Unmanaged<ThreadBody>.fromOpaque(address).takeRetainedValue().run() }
                return nil
            }, context.toOpaque()) == 0
    if !isStarted { context.release() }
    return isStarted
}
