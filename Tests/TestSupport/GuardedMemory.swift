import Foundation

/// Bytes that end where a page without access begins: reading or writing one byte too many ends the process.
public final class GuardedMemory {
    public let base: UnsafeMutableRawPointer
    public let count: Int
    private let region: UnsafeMutableRawPointer
    private let regionBytes: Int

    public init(count: Int) throws {
        let page = Int(getpagesize())
        let dataBytes = (count + page - 1) / page * page
        regionBytes = dataBytes + page
        guard let region = mmap(nil, regionBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | mapAnonymous, -1, 0),
            UInt(bitPattern: region) != UInt.max, mprotect(region + dataBytes, page, PROT_NONE) == 0
        else { throw POSIXError(.ENOMEM) }
        self.region = region
        self.count = count
        base = region + dataBytes - count
    }

    public convenience init(_ bytes: [UInt8]) throws {
        try self.init(count: bytes.count)
        bytes.withUnsafeBytes {
            if let source = $0.baseAddress { base.copyMemory(from: source, byteCount: bytes.count) }
        }
    }

    public convenience init<Element: BitwiseCopyable>(_ elements: [Element]) throws {
        try self.init(elements.withUnsafeBytes { [UInt8]($0) })
    }

    deinit { munmap(region, regionBytes) }

    public func floats() -> [Float] {
        (0..<count / 4).map { base.loadUnaligned(fromByteOffset: 4 * $0, as: Float.self) }
    }
}

#if canImport(Darwin)
    private let mapAnonymous = MAP_ANON
#else
    private let mapAnonymous = MAP_ANONYMOUS
#endif
