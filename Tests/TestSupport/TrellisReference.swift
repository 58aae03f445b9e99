/// What a row of trellis codes means, bit by bit: the slow way.
public enum TrellisReference {
    /// - Parameters:
    ///   - row: The row's bits and the byte of its scale.
    ///   - bits: Of each column.
    public static func values(
        row: [UInt8], bits: [UInt8], states: Int, multiplier: UInt32, scales: [Float], factors: [Float]
    ) -> [Float] {
        let ring = row.dropLast().flatMap { byte in (0..<8).map { Int(byte >> $0) & 1 } }
        let scale = scales[Int(row[row.count - 1])]
        var (position, shared) = (0, 0)
        return bits.indices.map { column in
            let state = (0..<states).reduce(0) { $0 | ring[(position + $1) % ring.count] << $1 }
            var product = UInt32(state)
            for _ in 0..<shared { product = product &* 0x9e37_79b1 }
            product = product &* multiplier
            let sum = (0..<4).reduce(0) { $0 + Int(product >> UInt32(8 * $1)) & 255 }
            position += Int(bits[column])
            shared = bits[column] == 0 ? shared + 1 : 0
            return scale * Float(sum - 510) * factors[column]
        }
    }
}
