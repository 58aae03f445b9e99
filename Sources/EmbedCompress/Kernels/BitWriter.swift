/// Writes numbers of a few bits one after the other, low bits first.
struct BitWriter {
    private var target: UnsafeMutableRawPointer
    /// Bits that no whole byte has been made of yet, at most 7 between two numbers.
    private var pending: UInt32 = 0
    private var count = 0

    init(target: UnsafeMutableRawPointer) { self.target = target }

    /// - Parameters:
    ///   - value: Has no bits above the first `bits`.
    ///   - bits: 0 to 16.
    @inline(__always)
    mutating func write(_ value: UInt32, bits: Int) {
        pending |= value &<< UInt32(count)
        count &+= bits
        while count >= 8 {
            target.storeBytes(of: UInt8(truncatingIfNeeded: pending), as: UInt8.self)
            target += 1
            pending &>>= 8
            count &-= 8
        }
    }
}
