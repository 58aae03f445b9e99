// Methods that lose nothing.

extension ConfiguredMethod {
    /// Exact: every bit of every value comes back, with exponents in few bits, as f16 or bf16 where all values are.
    ///
    /// - Parameter budget: The most bytes of the result, which has one size: smaller ones are refused.
    public static func exact(budget: Budget? = nil) -> ConfiguredMethod {
        ConfiguredMethod("exact", ["budget": budget])
    }
}
