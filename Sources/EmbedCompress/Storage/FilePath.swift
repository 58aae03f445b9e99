#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// A path as the system has it: bytes, which need not be UTF-8.
package struct FilePath: Sendable, CustomStringConvertible {
    private let bytes: [UInt8]

    package init(_ text: String) { bytes = Array(text.utf8) }
    package init(_ text: UnsafePointer<CChar>) {
        bytes = Array(UnsafeRawBufferPointer(start: text, count: strlen(text)))
    }
    private init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// The path for people: a byte that is not UTF-8 is shown as \xff.
    package var description: String {
        var text = ""
        var rest = bytes[...]
        while !rest.isEmpty {
            let valid = rest.withUnsafeBytes { firstInvalidUTF8(in: $0) } ?? rest.count
            text += String(decoding: rest.prefix(valid), as: UTF8.self)
            rest = rest.dropFirst(valid)
            if let byte = rest.popFirst() { text += "\\x" + String(byte, radix: 16) }
        }
        return text
    }

    /// Refuses a path that the system would read only in part.
    func check() throws {
        if bytes.contains(0) { throw EmbedCompressError.invalidArgument("a path must not contain a zero byte") }
    }

    /// Hands the path to a function of the system.
    func withCString<Result>(_ body: (UnsafePointer<CChar>) throws -> Result) rethrows -> Result {
        try body(bytes.map { CChar(bitPattern: $0) } + [0])
    }

    // MARK: Parts

    private static let slash = UInt8(ascii: "/")
    private var nameStart: Int { (bytes.lastIndex(of: Self.slash) ?? -1) + 1 }

    var isEmpty: Bool { bytes.isEmpty }
    /// What stands behind the last slash; empty for a path that ends with one.
    var name: [UInt8] { Array(bytes[nameStart...]) }
    /// The folder that the name is in.
    var folder: FilePath { nameStart == 0 ? FilePath(".") : FilePath(Array(bytes[..<nameStart])) }

    /// Another name in the same folder.
    func sibling(_ name: [UInt8]) -> FilePath { FilePath(Array(bytes[..<nameStart]) + name) }

    /// Where the link at this path leads, one step; nil if there is none.
    var linkTarget: FilePath? {
        let target = withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(PATH_MAX)) { room in
            let count = room.baseAddress.map { base in withCString { readlink($0, base, room.count) } } ?? -1
            return room.prefix(max(count, 0)).map { UInt8(bitPattern: $0) }
        }
        guard let first = target.first else { return nil }
        return first == Self.slash ? FilePath(target) : sibling(target)
    }
}
