internal import CEmbedCompress.Shims

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// Threads that wait for a loop to help with.
///
/// One loop has the workers at a time; whoever comes meanwhile runs alone, so concurrent callers never add up to more
/// threads than cores. Workers spin for a while after a loop before they sleep, because calls tend to come in series and
/// waking takes longer than many a lookup; they soon let anyone else who can run go first. A worker that wakes late finds
/// the loop closed and goes back to sleep; nobody waits for it.
///
/// A pool belongs to the process that made it: after `fork` the child has no workers and locks in unknown states, so it
/// makes a pool of its own. A loop whose own thread forks, in a progress callback say, goes on in both processes: workers
/// put down what is left of it before, so that the child has lost nothing.
final class ThreadPool: @unchecked Sendable {
    /// The address of the pool that was made last.
    private static let slot = AtomicInt()

    /// This process's pool.
    static var current: ThreadPool {
        while true {
            let known = slot.value
            if let address = UnsafeRawPointer(bitPattern: known) {
                let pool = Unmanaged<ThreadPool>.fromOpaque(address).takeUnretainedValue()
                if pool.owner == getpid() { return pool }
            }
            // Pools are never freed: after a fork, the parent's may still be in use by memory that the child shares.
            _ = watchesForks
            let fresh = Unmanaged.passRetained(ThreadPool())
            if slot.exchange(known, for: Int(bitPattern: fresh.toOpaque())) {
                return fresh.takeUnretainedValue()
            }
            fresh.release()
        }
    }

    private let owner = getpid()
    private let lock = Lock()
    /// 1 while a loop has the workers.
    private let busy = AtomicInt()
    /// Counts loops; spinning workers watch it without the lock.
    private let generation = AtomicInt()
    /// The processor of the last loop's caller.
    private let callerProcessor = AtomicInt(-1)
    /// The thread that has the workers; 0 if none has.
    private let caller = AtomicInt()
    /// 1 while the caller forks: workers take no more chunks.
    private let forking = AtomicInt()
    // Under the lock:
    private var job: Job?
    private var workers = 0
    private var sleepers: [Sleeper] = []
    /// Workers inside the current loop.
    private var active = 0

    private final class Job: @unchecked Sendable {
        /// Cleared by the caller when the loop is over, because it must not outlive the call; a late worker may still
        /// hold the job.
        var body: ((Int) -> Void)?
        let chunks: Int
        let maximumWorkers: Int
        /// The most bytes of scratch that a worker was refused; 0 if none was.
        let refusedScratch = AtomicInt()
        /// Whether the caller's loop is a part of a call that reads mapped files.
        private let isReading = MappedFile.isReading
        private let next = AtomicInt()

        init(body: @escaping (Int) -> Void, chunks: Int, maximumWorkers: Int) {
            self.body = body
            self.chunks = chunks
            self.maximumWorkers = maximumWorkers
        }

        /// Not inlined, so that no reference to `body` lives on when this returns.
        ///
        /// - Parameter pause: Ends the work when it becomes 1.
        @inline(never)
        func work(until pause: AtomicInt? = nil) {
            guard let body else { return }
            while pause?.value != 1 {
                let chunk = next.add(1)
                if chunk >= chunks { return }
                body(chunk)
            }
        }

        /// The same for a worker, whose caller learns of refused scratch, and which may read mapped files where the caller may.
        func help(until pause: AtomicInt) {
            if isReading { MappedFile.readingElsewhere { work(until: pause) } } else { work(until: pause) }
            if let bytes = Scratch.takeRefusal() { refusedScratch.value = bytes }
        }
    }

    /// - Parameter waiting: Called over and over while workers do the last chunks.
    func run(chunks: Int, threads: Int, waiting: () -> Void, body: @escaping (Int) -> Void) {
        guard busy.exchange(0, for: 1) else {
            for chunk in 0..<chunks { body(chunk) }
            return
        }
        let wanted = min(threads, chunks) - 1
        caller.value = Int(bitPattern: pthread_self())
        callerProcessor.value = Int(ec_current_processor())
        let job = Job(body: body, chunks: chunks, maximumWorkers: wanted)
        lock.withLock {
            while workers < wanted, startWorker() { workers += 1 }
            self.job = job
            generation.add(1)
            if !sleepers.isEmpty {
                for sleeper in sleepers { sleeper.keepOff(callerProcessor.value) }
                lock.wakeAll()
            }
        }
        job.work()
        lock.withLock { self.job = nil }
        var spins = 0
        while lock.withLock({ active }) > 0 {
            spins += 1
            if spins < 100 {
                ec_pause()
            } else {
                sched_yield()
                waiting()
            }
        }
        job.body = nil
        caller.value = 0
        if job.refusedScratch.value > 0 { Scratch.refuse(job.refusedScratch.value) }
        busy.value = 0
    }

    /// Set up once in a process and its children.
    private static let watchesForks = pthread_atfork(
        { ThreadPool.ofCaller?.rest() }, { ThreadPool.ofCaller?.goOn() }, { ThreadPool.ofCaller?.goOn() })

    /// The pool whose workers the calling thread has; in a child that it has just forked, the parent's.
    private static var ofCaller: ThreadPool? {
        guard let address = UnsafeRawPointer(bitPattern: slot.value) else { return nil }
        let pool = Unmanaged<ThreadPool>.fromOpaque(address).takeUnretainedValue()
        return pool.caller.value == Int(bitPattern: pthread_self()) ? pool : nil
    }

    /// Waits until no worker has a chunk, and holds the lock.
    private func rest() {
        forking.value = 1
        while true {
            lock.lock()
            if active == 0 { return }
            lock.unlock()
            sched_yield()
        }
    }

    /// Calls the workers back, which a child lacks.
    private func goOn() {
        forking.value = 0
        generation.add(1)
        if owner == getpid(), !sleepers.isEmpty { lock.wakeAll() }
        lock.unlock()
    }

    /// False when the system refuses another thread; the loop then has fewer.
    private func startWorker() -> Bool { startThread { [self] in serve() } }

    /// Returns when there is another loop, or after a millisecond.
    private func waitForNext(after seen: Int, _ worker: Sleeper) {
        let start = nanoseconds()
        var waited = 0
        while generation.value == seen, waited < Self.longestSpin {
            for _ in 0..<64 where generation.value == seen { ec_pause() }
            waited = nanoseconds() - start
            leaveCaller(worker)
            if waited > Self.selfishSpin { sched_yield() }
        }
    }

    /// Goes to another processor than the caller's.
    private func leaveCaller(_ worker: Sleeper) {
        let processor = Int(ec_current_processor())
        guard processor >= 0, processor == callerProcessor.value else { return }
        worker.keepOff(processor)
        worker.letRun()
    }

    /// How long a worker spins, in nanoseconds, and for how much of it without offering its processor to others.
    private static let (longestSpin, selfishSpin) = (1_000_000, 50_000)

    private func serve() {
        let worker = Sleeper()
        var seen = 0
        while true {
            waitForNext(after: seen, worker)
            let job: Job? = lock.withLock {
                if generation.value == seen {
                    sleepers.append(worker)
                    while generation.value == seen { lock.wait() }
                    sleepers.removeAll { $0 === worker }
                }
                seen = generation.value
                guard let job = self.job, active < job.maximumWorkers else { return nil }
                active += 1
                return job
            }
            worker.letRun()
            if let job {
                leaveCaller(worker)
                job.help(until: forking)
                lock.withLock { active -= 1 }
            }
        }
    }
}

/// A worker that may be asleep, and where it may run.
///
/// The system tends to wake a thread on the processor of the one that wakes it, even while others are idle, and to leave
/// it waiting there for milliseconds: longer than most loops take. So it is kept off that processor until it runs.
private final class Sleeper: @unchecked Sendable {
    private let thread = ec_current_thread()
    private let processors = UnsafeMutablePointer<UInt64>.allocate(capacity: Int(EC_PROCESSOR_WORDS))
    /// Of the set of processors; 0 while the thread may run everywhere that it could before.
    private var bytes: Int64 = 0

    deinit { processors.deallocate() }

    func keepOff(_ processor: Int) {
        if bytes == 0 { bytes = ec_keep_off(thread, Int64(processor), processors) }
    }

    func letRun() {
        if bytes > 0 { ec_let_run(thread, processors, bytes) }
        bytes = 0
    }
}
