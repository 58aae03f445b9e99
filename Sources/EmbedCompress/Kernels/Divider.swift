/// Quotients and remainders by one number, without division where numbers are small enough (Lemire, Kaser and Kurz 2019,
/// arXiv 1902.01961).
struct Divider {
    let divisor: UInt64
    /// ceil(2^64 / divisor), for numbers and divisors below 2^32; 0 where those are larger, or the divisor is 1.
    private let reciprocal: UInt64

    /// - Parameters:
    ///   - divisor: At least 1.
    ///   - limit: Numbers that are divided are below it.
    @inline(__always)
    init(_ divisor: Int, limit: Int) {
        let divisor = UInt64(divisor)
        self.divisor = divisor
        let isSmall = divisor > 1 && divisor < 1 << 32 && limit <= 1 << 32
        reciprocal = isSmall ? UInt64.max / divisor + 1 : 0
    }

    @inline(__always)
    func divide(_ number: UInt64) -> (quotient: UInt64, remainder: UInt64) {
        if reciprocal == 0 { return number.quotientAndRemainder(dividingBy: divisor) }
        let quotient = number.multipliedFullWidth(by: reciprocal).high
        return (quotient, number &- quotient &* divisor)
    }
}
