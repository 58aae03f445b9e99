#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// A name that a file spells: of a member, a tensor, a kind, a choice. It is the same as another if their UTF-8 bytes are.
///
/// Swift's strings are the same if their normal forms are. Two names of a file would then be one, and to find the normal
/// form of a long run of combining marks takes time in the square of its length.
struct Key: Hashable, Sendable, ExpressibleByStringLiteral {
    let text: String

    init(_ text: String) { self.text = text }
    init(stringLiteral text: String) { self.text = text }

    static func == (left: Key, right: Key) -> Bool {
        left.text.utf8.count == right.text.utf8.count
            && left.withBytes { left in
                right.withBytes { haveSameBytes(UnsafeRawBufferPointer(left), UnsafeRawBufferPointer($0)) }
            }
    }

    static func == (left: Key, right: String) -> Bool { left == Key(right) }

    func hash(into hasher: inout Hasher) {
        withBytes { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    }

    private func withBytes<Result>(_ body: (UnsafeBufferPointer<UInt8>) -> Result) -> Result {
        if let result = text.utf8.withContiguousStorageIfAvailable(body) { return result }
        return Array(text.utf8).withUnsafeBufferPointer(body)
    }
}

func haveSameBytes(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Bool {
    guard left.count == right.count else { return false }
    guard let left = left.baseAddress, let start = right.baseAddress else { return true }
    return memcmp(left, start, right.count) == 0
}

extension Key: Comparable {
    static func < (left: Key, right: Key) -> Bool { left.text.utf8.lexicographicallyPrecedes(right.text.utf8) }
}

extension RawRepresentable where Self: CaseIterable, RawValue == String {
    /// The case that a file spells so, or nil.
    init?(spelled text: String) {
        let key = Key(text)
        guard let match = Self.allCases.first(where: { key == $0.rawValue }) else { return nil }
        self = match
    }
}
