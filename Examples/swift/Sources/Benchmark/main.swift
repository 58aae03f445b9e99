// What a lookup costs here: nanoseconds a row of random ids, 4-bit codes of 64 columns, one thread. The median of 21 runs.
import EmbedCompress

let (rows, dimension, count) = (10_000, 64, 4_000)
// Anything that is no constant will do: the time does not depend on the values.
let values = (0..<rows * dimension).map { Float($0 &* 2_654_435_761 % 1_009) / 1_009 - 0.5 }
let table = try Table(try Dense(values, rows: rows, dimension: dimension)).compressed("asym", ["bits": 4])
var random = SystemRandomNumberGenerator()
/// As many rows to compress as there are to look up.
let source = Table(try Dense(Array(values.prefix(count * dimension)), rows: count, dimension: dimension))
let ids = (0..<count).map { _ in Int.random(in: 0..<rows, using: &random) }
let offsets = Array(stride(from: 0, to: count, by: 50))
let output = UnsafeMutableBufferPointer<Float>.allocate(capacity: count * dimension)
defer { output.deallocate() }
Parallel.threadCount = 1

/// Nanoseconds for each of `count` rows.
func time(_ body: () throws -> Void) rethrows -> Double {
    let clock = ContinuousClock()
    // Long enough for the clock, short enough for a build without optimisation.
    let calls = max(1, Int(0.02 / max(try clock.measure(body) / .seconds(1), 1e-6)))
    let times = try (0..<21).map { _ in try clock.measure { for _ in 0..<calls { try body() } } / .nanoseconds(1) }
    return times.sorted()[10] / Double(calls * count)
}

let sums = UnsafeMutableBufferPointer(rebasing: output.prefix(offsets.count * dimension))
print("kernels for", Library.instructionSet)
print("lookup", try time { try table.lookup(ids, into: output) }, "ns a row")
print("lookup, array", try time { _ = try table.lookup(ids) }, "ns a row")
print("sums of 50", try time { try table.bag(ids, offsets: offsets, into: sums) }, "ns a row")
print("least squares, 4 bits", try time { _ = try source.compressed("least_squares", ["bits": 4]) }, "ns a row")
