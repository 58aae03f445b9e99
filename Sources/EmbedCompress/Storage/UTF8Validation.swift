/// The offset of the first byte that cannot stand where it does in UTF-8 text (RFC 3629), or nil.
func firstInvalidUTF8(in bytes: UnsafeRawBufferPointer) -> Int? {
    var position = 0
    while position < bytes.count {
        while bytes.count - position >= 8,
            bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self) & 0x8080_8080_8080_8080 == 0
        {
            position += 8
        }
        guard position < bytes.count else { return nil }
        let lead = bytes[position]
        if lead < 0x80 {
            position += 1
            continue
        }
        // The second byte's range excludes overlong forms, surrogates and values above U+10FFFF.
        let length: Int
        let second: ClosedRange<UInt8>
        switch lead {
        case 0xC2...0xDF: (length, second) = (2, 0x80...0xBF)
        case 0xE0: (length, second) = (3, 0xA0...0xBF)
        case 0xED: (length, second) = (3, 0x80...0x9F)
        case 0xE1...0xEF: (length, second) = (3, 0x80...0xBF)
        case 0xF0: (length, second) = (4, 0x90...0xBF)
        case 0xF1...0xF3: (length, second) = (4, 0x80...0xBF)
        case 0xF4: (length, second) = (4, 0x80...0x8F)
        default: return position
        }
        guard bytes.count - position >= length, second.contains(bytes[position + 1]) else { return position }
        for offset in 2..<max(length, 2) where bytes[position + offset] & 0xC0 != 0x80 { return position }
        position += length
    }
    return nil
}
