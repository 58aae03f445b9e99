import TestSupport
import XCTest

@testable import EmbedCompress

final class HotSketchTests: XCTestCase {
    override func tearDown() { Parallel.threadCount = 2 }

    /// The sketch by its definition, an id after the other.
    private struct Reference {
        var keys: [Int64]
        var scores: [Float]
        var places: [Int32]
        let buckets: Int
        let seed: UInt64

        init(buckets: Int, seed: UInt64) {
            (self.buckets, self.seed) = (buckets, seed)
            keys = [Int64](repeating: -1, count: 4 * buckets)
            scores = [Float](repeating: 0, count: 4 * buckets)
            places = [Int32](repeating: -1, count: 4 * buckets)
        }

        func slots(_ id: Int64) -> Range<Int> {
            let bucket = Int(Remap.hash(UInt64(id), seed: seed, rows: UInt64(buckets)))
            return 4 * bucket..<4 * bucket + 4
        }

        func place(_ id: Int64) -> Int64 { slots(id).first { keys[$0] == id }.map { Int64(places[$0]) } ?? -1 }

        mutating func add(_ ids: [Int64], _ norms: [Float]) {
            var sums: [Int64: Float] = [:]
            for (id, norm) in zip(ids, norms) { sums[id, default: 0] += norm }
            var new: [Range<Int>: [Int64]] = [:]
            for id in sums.keys.sorted() {
                let sum = sums[id] ?? 0
                if let slot = slots(id).first(where: { keys[$0] == id }) {
                    scores[slot] += sum
                } else if sum > 0 {
                    new[slots(id), default: []].append(id)
                }
            }
            for (slots, ids) in new {
                let falling = ids.enumerated().sorted {
                    let (a, b) = (sums[$0.element] ?? 0, sums[$1.element] ?? 0)
                    return a == b ? $0.offset < $1.offset : a > b
                }
                for (_, id) in falling.prefix(4).reversed() {
                    let costs = slots.map { keys[$0] < 0 ? -1 : scores[$0] * (places[$0] >= 0 ? 1.25 : 1) }
                    let slot = slots.lowerBound + (costs.firstIndex(of: costs.min() ?? 0) ?? 0)
                    (keys[slot], places[slot]) = (id, -1)
                    scores[slot] += sums[id] ?? 0
                }
            }
        }
    }

    func testItIsThatOfItsDefinition() throws {
        for (buckets, most) in [(1, 30), (5, 40), (64, 1000)] {
            for threads in [1, 3] {
                Parallel.threadCount = threads
                try check(buckets: buckets, most: most)
            }
        }
    }

    private func check(buckets: Int, most: Int) throws {
        var random = SeededGenerator(seed: UInt64(buckets))
        var expected = Reference(buckets: buckets, seed: 9)
        var (keys, scores, places) = (expected.keys, expected.scores, expected.places)
        for turn in 0..<8 {
            let ids = random.integers(turn * 40, in: 0..<most).map(Int64.init)
            let norms = ids.map { _ in Float(Int.random(in: 0..<4, using: &random)) * 0.3 }
            expected.add(ids, norms)
            var found = [Int64](repeating: 0, count: most)
            let every = (0..<most).map(Int64.init)
            try keys.withUnsafeMutableBufferPointer { keys in
                try scores.withUnsafeMutableBufferPointer { scores in
                    try places.withUnsafeMutableBufferPointer { places in
                        let sketch = try HotSketch(
                            keys: XCTUnwrap(keys.baseAddress), scores: XCTUnwrap(scores.baseAddress),
                            places: XCTUnwrap(places.baseAddress), buckets: buckets, seed: 9)
                        try ids.withUnsafeBytes {
                            try sketch.add(IDs(base: $0.baseAddress, count: ids.count, width: 8), norms)
                        }
                        every.withUnsafeBytes {
                            sketch.places(IDs(base: $0.baseAddress, count: most, width: 8), into: &found)
                        }
                    }
                }
            }
            XCTAssertEqual(keys, expected.keys)
            XCTAssertEqual(scores, expected.scores)
            XCTAssertEqual(places, expected.places)
            XCTAssertEqual(found, every.map(expected.place))
            // Some get rows of their own.
            for slot in places.indices where keys[slot] >= 0 && (slot + turn) % 3 == 0 { places[slot] = Int32(slot) }
            expected.places = places
        }
    }
}
