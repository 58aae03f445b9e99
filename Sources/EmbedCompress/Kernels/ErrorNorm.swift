/// How an error counts in a search for ranges: its magnitude to the power `p`, other than 2. What a search then minimises
/// is the p-th power of the L_p norm of a row's error.
///
/// `p` is a number of quarters, so that powers are products and square roots, which every instruction set rounds alike.
struct ErrorNorm: Sendable {
    private let whole: Int
    private let quarters: Int

    static let range = 0.25...8.0

    /// nil for p = 2: squares need no power.
    ///
    /// - Throws: `p` is not a multiple of a quarter in ``range``.
    init?(p: Double, method: String) throws {
        guard Self.range.contains(p), (p * 4).rounded() == p * 4 else {
            throw EmbedCompressError.invalidArgument("\(method): p must be a multiple of 0.25, not \(p)")
        }
        if p == 2 { return nil }
        (whole, quarters) = Int(p * 4).quotientAndRemainder(dividingBy: 4)
    }

    @inline(__always)
    func power(_ errors: Floats16) -> Floats16 {
        let magnitudes = errors.replacing(with: -errors, where: errors .< 0)
        var result = Floats16(repeating: 1)
        for _ in 0..<whole { result *= magnitudes }
        if quarters == 0 { return result }
        let root = magnitudes.squareRoot()
        if quarters & 2 != 0 { result *= root }
        if quarters & 1 != 0 { result *= root.squareRoot() }
        return result
    }
}
