public import CEmbedCompress.ABI
internal import EmbedCompress

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

@_cdecl("ec_version")
public func version() -> UnsafePointer<CChar> { permanent(Library.version) }

nonisolated(unsafe) private let instructionSet: UnsafePointer<CChar> =
    strdup(Library.instructionSet).map { UnsafePointer($0) } ?? permanent("")

@_cdecl("ec_isa")
public func isa() -> UnsafePointer<CChar> { instructionSet }

@_cdecl("ec_set_num_threads")
public func setThreads(threads: Int64) -> ec_status {
    withStatus {
        let threads = try count(threads, "count")
        guard (1...Parallel.maximumThreads).contains(threads) else {
            throw invalid("the number of threads must be from 1 to \(Parallel.maximumThreads), not \(threads)")
        }
        Parallel.threadCount = threads
    }
}

@_cdecl("ec_get_num_threads")
public func getThreads() -> Int64 { Int64(Parallel.threadCount) }

@_cdecl("ec_refuse_allocation")
public func refuseAllocation(count: Int64) -> Int64 { Int64(Allocation.refuse(after: Int(count))) }
