/// Random bits of a row's columns, which a seed, a step, the row and the column decide, and nothing else: no order of rows
/// and no number of threads plays a part.
///
/// With `a = mixed(mixed(seed) + step * mixStep)` and `k = mixed(a + (row + 1) * mixStep)`, a column's bits are those of
/// `column * 0x9E3779B9 + low half of k` after the multiplications and shifts of Wellons' `lowbias32`, with the high half
/// of `k` added to them, without carries, in the middle.
struct RandomBits {
    private let low: SIMD16<UInt32>
    private let high: SIMD16<UInt32>

    /// What all rows of a step share.
    static func stepKey(seed: Int, step: Int) -> UInt64 {
        mixed(mixed(UInt64(bitPattern: Int64(seed))) &+ UInt64(bitPattern: Int64(step)) &* mixStep)
    }

    @inline(__always)
    init(stepKey: UInt64, row: Int) {
        let key = mixed(stepKey &+ UInt64(truncatingIfNeeded: row &+ 1) &* mixStep)
        low = SIMD16(repeating: UInt32(truncatingIfNeeded: key))
        high = SIMD16(repeating: UInt32(truncatingIfNeeded: key &>> 32))
    }

    /// 32 bits for each of the columns `column ..< column + 16`.
    @inline(__always)
    func bits(from column: Int) -> SIMD16<UInt32> {
        let first = SIMD16<UInt32>(repeating: UInt32(truncatingIfNeeded: column))
        var number = (first &+ SIMD16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)) &* 0x9E37_79B9 &+ low
        number ^= number &>> 16
        number = number &* 0x7FEB_352D
        number ^= number &>> 15
        number ^= high
        number = number &* 0x846C_A68B
        number ^= number &>> 16
        return number
    }
}
