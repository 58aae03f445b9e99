public import CEmbedCompress.ABI
internal import EmbedCompress

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// Text that lives as long as the process.
func permanent(_ text: StaticString) -> UnsafePointer<CChar> {
    UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
}

func invalid(_ text: String) -> EmbedCompressError { .invalidArgument(text) }

// MARK: - Arguments

/// A pointer that the header says is never null.
func required<Pointer>(_ pointer: Pointer?, _ name: StaticString) throws -> Pointer {
    guard let pointer else { throw invalid("\(name) must not be null") }
    return pointer
}

func text(_ pointer: UnsafePointer<CChar>?, _ name: StaticString) throws -> String {
    guard let text = String(validatingCString: try required(pointer, name)) else {
        throw invalid("\(name) must be UTF-8")
    }
    return text
}

func count(_ value: Int64, _ name: StaticString) throws -> Int {
    guard value >= 0, let count = Int(exactly: value) else {
        throw invalid("\(name) must not be negative, not \(value)")
    }
    return count
}

/// Refuses an array that no memory can hold, whose size in bytes would not be a number.
func requireMemory(_ name: StaticString, _ sizes: Int...) throws {
    var bytes = MemoryLayout<Int64>.size
    for size in sizes {
        let (product, overflow) = bytes.multipliedReportingOverflow(by: size)
        guard !overflow else { throw invalid("\(name) cannot be that large") }
        bytes = product
    }
}

/// Hands text to the caller, who releases it.
func hand(_ text: String, to out: UnsafeMutablePointer<ec_string>) throws {
    guard let copy = strdup(text) else { throw EmbedCompressError.outOfMemory(bytes: text.utf8.count) }
    out.pointee = ec_string(bytes: UnsafePointer(copy), count: Int64(text.utf8.count))
}

func progressCallback(_ progress: ec_progress?, _ context: UnsafeMutableRawPointer?) -> ProgressCallback? {
    progress.map { report in { done, total in report(Int64(done), Int64(total), context) == 0 } }
}

// MARK: - Exports

@_cdecl("ec_string_release")
public func stringRelease(_ text: ec_string) { free(UnsafeMutablePointer(mutating: text.bytes)) }
