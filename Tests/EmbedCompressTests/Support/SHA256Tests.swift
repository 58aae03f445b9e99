import XCTest

@testable import EmbedCompress

final class SHA256Tests: XCTestCase {
    private func digest(_ bytes: [UInt8], pieces: [Int] = []) -> String {
        var digest = SHA256()
        bytes.withUnsafeBytes { bytes in
            var start = 0
            for count in pieces + [bytes.count] {
                let end = min(start + count, bytes.count)
                digest.update(UnsafeRawBufferPointer(rebasing: bytes[start..<end]))
                start = end
            }
        }
        return digest.hexadecimal()
    }

    /// From FIPS 180-4 and its examples.
    func testKnownDigests() {
        XCTAssertEqual(digest([]), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        XCTAssertEqual(
            digest(Array("abc".utf8)), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        XCTAssertEqual(
            digest(Array("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".utf8)),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1")
        XCTAssertEqual(
            digest(Array(repeating: UInt8(ascii: "a"), count: 1_000_000)),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
    }

    func testPiecesMakeNoDifference() {
        for count in [1, 55, 56, 63, 64, 65, 119, 120, 128, 300] {
            let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 * 7) }
            let whole = digest(bytes)
            for pieces in [[1], [63], [64], [1, 63, 65], Array(repeating: 3, count: 100)] {
                XCTAssertEqual(digest(bytes, pieces: pieces), whole, "\(count) bytes in pieces of \(pieces)")
            }
        }
    }
}
