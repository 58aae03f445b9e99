import Foundation

/// SplitMix64: the same numbers on every machine.
public struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    public init(seed: UInt64) { state = seed }

    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }

    /// A number of the standard normal distribution (Box and Muller).
    public mutating func normal() -> Float {
        let radius = (-2 * log(Double.random(in: Double.leastNormalMagnitude..<1, using: &self))).squareRoot()
        return Float(radius * cos(2 * Double.pi * Double.random(in: 0..<1, using: &self)))
    }

    public mutating func normals(_ count: Int) -> [Float] { (0..<count).map { _ in normal() } }

    public mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }

    /// `count` integers of `range`.
    public mutating func integers(_ count: Int, in range: Range<Int>) -> [Int] {
        (0..<count).map { _ in Int.random(in: range, using: &self) }
    }
}
