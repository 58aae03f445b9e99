/// Rows as whole multiples of a step, rounded up or down at random: `floor(v / step + U)` with `U` in `[0, 1)`.
struct StochasticRows {
    let bits: Int
    let step: Float
    let seed: Int
    let dimension: Int

    /// Writes the codes of a row of the table: whole numbers from `-2^(bits - 1)` on, less that, 8 or 16 bits each.
    ///
    /// - Parameter index: The row's. With the column it selects the random number, so that no other row plays a part.
    func encode(_ values: UnsafePointer<Float>, row index: Int, to target: UnsafeMutableRawPointer) {
        var random = SeededRandom(seed: seed)
        // Rows have sequences of their own.
        random = SeededRandom(seed: Int(truncatingIfNeeded: random.next() &+ 0xD1B5_4A32_D192_ED03 &* UInt64(index)))
        let low = -Double(1 << (bits - 1))
        let inverse = 1 / Double(step)
        for column in 0..<dimension {
            let chance = Double(random.next() >> 11) * 0x1p-53
            let place = (Double(values[column]) * inverse + chance).rounded(.down)
            let code = UInt16(max(min(place, -low - 1), low) - low)
            if bits == 8 {
                target.storeBytes(of: UInt8(truncatingIfNeeded: code), toByteOffset: column, as: UInt8.self)
            } else {
                target.storeBytes(of: code.littleEndian, toByteOffset: 2 &* column, as: UInt16.self)
            }
        }
    }
}
