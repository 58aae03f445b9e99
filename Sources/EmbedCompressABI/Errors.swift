public import CEmbedCompress.ABI
internal import EmbedCompress

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// The last failed call of a thread, laid out for C.
private final class Failure {
    let error = UnsafeMutablePointer<ec_error>.allocate(capacity: 1)
    private var texts: [UnsafeMutablePointer<CChar>] = []

    init() { error.initialize(to: none) }

    deinit {
        for text in texts { free(text) }
        error.deallocate()
    }

    func set(_ status: ec_status, _ message: String) {
        for text in texts { free(text) }
        texts = []
        error.pointee = none
        error.pointee.status = status
        error.pointee.message = copy(message)
    }

    /// The error's message and fields.
    func set(_ failure: EmbedCompressError) {
        set(failure.status, failure.description)
        switch failure {
        case .invalidArgument, .cancelled, .outOfMemory: break
        case .invalidID(let position, let id, let rows):
            setID(id, position: position, rows: rows)
        case .invalidFeatureID(let feature, let position, let id, let rows):
            setID(id, position: position, rows: rows)
            error.pointee.feature = Int64(feature)
        case .format(let broken, let path):
            error.pointee.rule = copy(broken.rule)
            if let path { error.pointee.path = copy(path) }
        case .budget(let method, let budgetBytes, let floorBytes):
            error.pointee.method = copy(method)
            error.pointee.budget_bytes = Int64(budgetBytes)
            error.pointee.floor_bytes = Int64(floorBytes)
        case .io(_, let path, let code):
            error.pointee.path = copy(path)
            error.pointee.system_errno = code
        case .notRegularFile(_, let path):
            error.pointee.path = copy(path)
            error.pointee.system_errno = EINVAL
        }
    }

    private func setID(_ id: Int64, position: Int, rows: Int) {
        error.pointee.id = id
        error.pointee.position = Int64(position)
        error.pointee.rows = Int64(rows)
    }

    private func copy(_ text: String) -> UnsafePointer<CChar> {
        guard let copy = strdup(text) else { return permanent("") }
        texts.append(copy)
        return UnsafePointer(copy)
    }
}

/// No error: what a thread has whose calls have all succeeded.
private var none: ec_error {
    ec_error(
        status: EC_OK, message: permanent(""), id: 0, position: 0, feature: -1, rows: 0, method: permanent(""),
        budget_bytes: 0, floor_bytes: 0, path: permanent(""), rule: permanent(""), system_errno: 0)
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

/// Runs the body of an ABI function: what it throws becomes a status and this thread's last error.
func withStatus(_ body: () throws -> Void) -> ec_status {
    do {
        try Scratch.checking(body)
        return EC_OK
    } catch let error as EmbedCompressError {
        lastFailure.set(error)
        return error.status
    } catch {
        lastFailure.set(EC_INTERNAL, "internal error: \(error)")
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
        case .io, .notRegularFile: return EC_IO
        case .cancelled: return EC_CANCELLED
        case .outOfMemory: return EC_OUT_OF_MEMORY
        }
    }
}

@_cdecl("ec_last_error")
public func lastError() -> UnsafePointer<ec_error> { UnsafePointer(lastFailure.error) }
