public import CEmbedCompress.ABI
internal import EmbedCompress

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// The last failed call of a thread.
private final class Failure {
    var text: UnsafeMutablePointer<CChar>?
    var path: UnsafeMutablePointer<CChar>?
    var errno: Int32 = 0

    func set(_ text: String, path: String = "", errno: Int32 = 0) {
        clear()
        self.text = strdup(text)
        self.path = strdup(path)
        self.errno = errno
    }

    private func clear() {
        free(text)
        free(path)
        text = nil
        path = nil
    }

    deinit { clear() }
}

private let failureKey: pthread_key_t = {
    var key = pthread_key_t()
    pthread_key_create(&key) { value in
        #if canImport(Darwin)
            let address: UnsafeMutableRawPointer? = value
        #else
            let address = value
        #endif
        if let address { Unmanaged<Failure>.fromOpaque(address).release() }
    }
    return key
}()

private var lastFailure: Failure {
    if let known = pthread_getspecific(failureKey) { return Unmanaged<Failure>.fromOpaque(known).takeUnretainedValue() }
    let fresh = Failure()
    pthread_setspecific(failureKey, Unmanaged.passRetained(fresh).toOpaque())
    return fresh
}

/// Text that lives as long as the process.
func permanent(_ text: StaticString) -> UnsafePointer<CChar> {
    UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
}

/// Runs the body of an ABI function: what it throws becomes a status and a message.
func withStatus(_ body: () throws -> Void) -> ec_status {
    do {
        try body()
        return EC_OK
    } catch let error as EmbedCompressError {
        switch error {
        case .io(_, let path, let code): lastFailure.set(error.description, path: path, errno: code)
        default: lastFailure.set(error.description)
        }
        return error.status
    } catch {
        lastFailure.set("internal error: \(error)")
        return EC_INTERNAL
    }
}

extension EmbedCompressError {
    fileprivate var status: ec_status {
        switch self {
        case .invalidArgument: return EC_INVALID_ARGUMENT
        case .invalidID, .invalidFeatureID: return EC_INVALID_ID
        case .format: return EC_FORMAT
        case .budget: return EC_BUDGET
        case .io: return EC_IO
        case .cancelled: return EC_CANCELLED
        case .outOfMemory: return EC_OUT_OF_MEMORY
        }
    }
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

/// Hands text to the caller, who releases it.
func hand(_ text: String, to out: UnsafeMutablePointer<ec_string>) throws {
    guard let copy = strdup(text) else { throw EmbedCompressError.outOfMemory(bytes: text.utf8.count) }
    out.pointee = ec_string(bytes: UnsafePointer(copy), count: Int64(text.utf8.count))
}

func progressCallback(_ progress: ec_progress?, _ context: UnsafeMutableRawPointer?) -> ProgressCallback? {
    progress.map { report in { done, total in report(Int64(done), Int64(total), context) == 0 } }
}

// MARK: - Exports

@_cdecl("ec_last_error")
public func lastError() -> UnsafePointer<CChar> {
    lastFailure.text.map { UnsafePointer($0) } ?? permanent("")
}

@_cdecl("ec_last_errno")
public func lastErrno() -> Int32 { lastFailure.errno }

@_cdecl("ec_last_error_path")
public func lastErrorPath() -> UnsafePointer<CChar> {
    lastFailure.path.map { UnsafePointer($0) } ?? permanent("")
}

@_cdecl("ec_string_release")
public func stringRelease(_ text: ec_string) { free(UnsafeMutablePointer(mutating: text.bytes)) }
