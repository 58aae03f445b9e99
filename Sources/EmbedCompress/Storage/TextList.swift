/// Texts one after the other, in UTF-8. Very many take about as much memory as a file that spells them.
struct TextList: Sendable {
    private var bytes: [UInt8] = []
    private var ends: [UInt32] = []

    /// - Parameters:
    ///   - count: Of texts, at most, as far as is known.
    ///   - byteCount: Of all of them. Memory that is not filled is not touched.
    init(capacity count: Int, byteCount: Int) {
        ends.reserveCapacity(count)
        bytes.reserveCapacity(byteCount)
    }

    var count: Int { ends.count }

    subscript(position: Int) -> String { String(decoding: bytes[range(of: position)], as: UTF8.self) }

    mutating func append(_ text: String) {
        bytes.append(contentsOf: text.utf8)
        endText()
    }

    /// Adds a piece to a text that ``endText()`` is to end.
    mutating func add(_ piece: UnsafeRawBufferPointer) { bytes.append(contentsOf: piece) }

    mutating func endText() { ends.append(UInt32(truncatingIfNeeded: bytes.count)) }

    func withBytes<Result>(
        of position: Int, _ body: (UnsafeRawBufferPointer) throws -> Result
    ) rethrows -> Result {
        try bytes.withUnsafeBytes { try body(UnsafeRawBufferPointer(rebasing: $0[range(of: position)])) }
    }

    func isEqual(_ position: Int, to text: UnsafeRawBufferPointer) -> Bool {
        withBytes(of: position) { haveSameBytes($0, text) }
    }

    private func range(of position: Int) -> Range<Int> {
        (position == 0 ? 0 : Int(ends[position - 1]))..<Int(ends[position])
    }
}
