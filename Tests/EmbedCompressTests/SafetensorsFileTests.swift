import Foundation
import TestSupport
import XCTest

@testable import EmbedCompress

final class SafetensorsFileTests: TemporaryFolderTestCase {
    private func array(_ bytes: Bytes?) throws -> [UInt8] {
        let bytes = try XCTUnwrap(bytes)
        return withExtendedLifetime(bytes.storage) { Array(bytes.buffer) }
    }

    // MARK: Mapping and reading

    func testMappedAndReadContentsAgree() throws {
        for count in [0, 1, 4095, 4096, 4097, 5 << 20] {
            var generator = SeededGenerator(seed: UInt64(count))
            let expected = (0..<count).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
            try put(expected, "data")
            let mapped = Bytes(try .mapped(path: path("data")))
            XCTAssertEqual(try array(mapped), expected)
            XCTAssertEqual(try array(Bytes(.read(path: path("data")))), expected)
            var sum = 0
            for offset in 0..<mapped.readableCount {
                sum &+= Int(mapped.pointer.load(fromByteOffset: offset, as: UInt8.self))
            }
            XCTAssertEqual(sum, expected.reduce(0) { $0 + Int($1) }, "what lies past the end is zero")
        }
    }

    func testFilesThatCannotBeRead() throws {
        for open in [ByteStorage.mapped(path:), ByteStorage.read(path:)] {
            XCTAssertThrowsError(try open(path("none"))) {
                XCTAssertEqual($0 as? EmbedCompressError, .io(operation: "open", path: path("none"), errno: ENOENT))
            }
            XCTAssertThrowsError(try open(folder)) {
                XCTAssertEqual($0 as? EmbedCompressError, .io(operation: "open", path: folder, errno: EISDIR))
            }
            XCTAssertThrowsError(try open("/dev/zero")) {
                XCTAssertEqual($0 as? EmbedCompressError, .notRegularFile(operation: "open", path: "/dev/zero"))
            }
            XCTAssertThrowsError(try open(path("a\0b"))) { XCTAssertTrue($0 is EmbedCompressError) }
        }
        XCTAssertEqual(mkfifo(path("pipe"), 0o600), 0)
        XCTAssertThrowsError(try ByteStorage.mapped(path: path("pipe")), "returns without waiting for a writer")
    }

    // MARK: Tensors by name

    func testGoldenFile() throws {
        let header = #"{"__metadata__":{"format":"pt"},"w":{"dtype":"U16","shape":[1,2],"data_offsets":[0,4]}}"#
        try put([87, 0, 0, 0, 0, 0, 0, 0] + Array(header.utf8) + [1, 2, 3, 4], "golden.safetensors")
        for file in [
            try SafetensorsFile(path: path("golden.safetensors")),
            try SafetensorsFile(Bytes(.read(path: path("golden.safetensors")))),
        ] {
            XCTAssertEqual(file.tensor("w"), TensorInfo(name: "w", type: .u16, shape: [1, 2], range: 0..<4))
            XCTAssertEqual(file.header.metadata["format"], "pt")
            XCTAssertEqual(try array(file.bytes(of: "w")), [1, 2, 3, 4])
            XCTAssertEqual(try array(file.copy("w")), [1, 2, 3, 4])
            XCTAssertNil(file.bytes(of: "x"))
            XCTAssertNil(file.header.metadata["x"])
            assertFormatError(.missingTensor(name: "x")) { _ = try file.copy("x") }
        }
    }

    func testCopyOfAFileThatWasCutIsAnError() throws {
        let header = #"{"w":{"dtype":"U8","shape":[9000],"data_offsets":[0,9000]}}"#
        try put(safetensorsBytes(header, data: Array(repeating: 7, count: 9000)), "cut")
        let file = try SafetensorsFile(path: path("cut"))
        XCTAssertEqual(truncate(path("cut"), 5000), 0)
        XCTAssertThrowsError(try file.copy("w")) {
            XCTAssertEqual($0 as? EmbedCompressError, .io(operation: "read", path: path("cut"), errno: EIO))
        }
    }

    // MARK: Round trips

    private func randomTensors(_ generator: inout SeededGenerator) -> [(
        tensor: SafetensorsWriter.Tensor, data: [UInt8]
    )] {
        (0..<Int.random(in: 0...7, using: &generator)).map { index in
            let type = ElementType.allCases.randomElement(using: &generator) ?? .u8
            let axes = Int.random(in: 0...3, using: &generator)
            let shape = (0..<axes).map { _ in Int.random(in: 0...9, using: &generator) }
            let count = shape.reduce(1, *) * type.byteCount
            return (
                (["a", "é\"", "😀", ""][index % 4] + "\(index)", type, shape),
                (0..<count).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
            )
        }
    }

    func testRandomFilesRoundTrip() throws {
        var generator = SeededGenerator(seed: 3)
        for _ in 0..<200 {
            let tensors = randomTensors(&generator)
            let metadata = Bool.random(using: &generator) ? [("k\n", "v\"\\"), ("tree", "{\"a\":[1]}")] : []
            let writer = try SafetensorsWriter(path: path("f"), tensors: tensors.map(\.tensor), metadata: metadata)
            let all = tensors.flatMap(\.data)
            var start = 0
            while start < all.count {
                let end = min(start + Int.random(in: 1...500, using: &generator), all.count)
                try all[start..<end].withUnsafeBytes { try writer.write($0) }
                start = end
            }
            try writer.finish()

            let file = try SafetensorsFile(path: path("f"))
            XCTAssertEqual(file.header.dataStart % 64, 0)
            XCTAssertEqual((0..<file.header.metadata.count).map { file.header.metadata[$0].key }, metadata.map(\.0))
            for (key, value) in metadata { XCTAssertEqual(file.header.metadata[key], value) }
            XCTAssertEqual(file.header.tensors.count, tensors.count)
            for (tensor, data) in tensors {
                let info = try XCTUnwrap(file.tensor(tensor.name))
                XCTAssertEqual(info.type, tensor.type)
                XCTAssertEqual(info.shape, tensor.shape)
                XCTAssertEqual((file.header.dataStart + info.range.lowerBound) % tensor.type.byteCount, 0)
                XCTAssertEqual(try array(file.bytes(of: tensor.name)), data)
                XCTAssertEqual(try array(file.copy(tensor.name)), data)
            }
        }
        XCTAssertEqual(try files(), ["f"])
    }

    func testMutatedFilesThrowOrOpen() throws {
        var generator = SeededGenerator(seed: 4)
        let tokens = ["{", "}", "[", "]", ",", ":", "\"", "-1", "9223372036854775807", "1e999", "null", "\\uD800", "0"]
        var opened = 0
        for round in 0..<100 {
            let tensors = randomTensors(&generator)
            let writer = try SafetensorsWriter(path: path("f"), tensors: tensors.map(\.tensor), metadata: [("k", "v")])
            try tensors.flatMap(\.data).withUnsafeBytes { try writer.write($0) }
            try writer.finish()
            let valid = try contents("f")
            let headerEnd = 8 + Int(valid[0]) + Int(valid[1]) << 8
            for _ in 0..<50 {
                var bytes = valid
                for _ in 0..<Int.random(in: 1...4, using: &generator) where !bytes.isEmpty {
                    let position = Int.random(in: 0..<min(bytes.count, headerEnd), using: &generator)
                    switch Int.random(in: 0..<6, using: &generator) {
                    case 0: bytes[position] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
                    case 1: bytes[position] = .random(in: 0...255, using: &generator)
                    case 2: bytes.remove(at: position)
                    case 3: bytes.insert(contentsOf: (tokens.randomElement(using: &generator) ?? "").utf8, at: position)
                    case 4: bytes.removeLast(Int.random(in: 0...min(bytes.count, 40), using: &generator))
                    default: bytes.append(0)
                    }
                }
                // The length is made to fit half of the time, so that mutations reach the layers behind it.
                if Bool.random(using: &generator), bytes.count >= headerEnd {
                    bytes.replaceSubrange(0..<8, with: valid[0..<8])
                }
                do {
                    let file = try SafetensorsFile(bytes.withUnsafeBytes { try Bytes(copying: $0) })
                    opened += 1
                    for tensor in file.header.tensors {
                        XCTAssertEqual(try array(file.bytes(of: tensor.name)).count, tensor.byteCount)
                    }
                } catch {
                    XCTAssertTrue(error is EmbedCompressError, "round \(round): \(error)")
                }
            }
        }
        XCTAssertGreaterThan(opened, 0)
    }
}
