// Methods that leave values out.

extension ConfiguredMethod {
    /// Prune: the values of the largest magnitude, and zeros for all others (Deng et al. 2021, arXiv 2002.06987).
    ///
    /// - Parameters:
    ///   - density: The share of values that stay, 0 to 1; 0.1 if neither density nor a budget is given.
    ///   - budget: The most bytes of the result, in place of `density`: chooses how many stay.
    ///   - valueType: The type of values; nil is f16 unless a value is too large for it, or that loses more than a 64th
    ///     of the rows' norm.
    public static func prune(
        density: Double? = nil, budget: Budget? = nil, valueType: ScaleType? = nil
    ) -> ConfiguredMethod {
        ConfiguredMethod("prune", ["density": density, "budget": budget, "value_dtype": valueType])
    }

    /// Dedup: one of the blocks of values that are alike stands for all of them (Zhou et al. 2022, PVLDB 15).
    ///
    /// - Parameters:
    ///   - blockRows: Rows of a block, 1 to 2^31 - 1.
    ///   - blockColumns: Columns of a block.
    ///   - similarity: The least share of equal values of a block that is dropped, 0 to 1; 0.7 if neither similarity nor a
    ///     budget is given.
    ///   - budget: The most bytes of the result, in place of `similarity`: chooses how many blocks are dropped.
    ///   - tolerance: How far equal values may be apart, in standard deviations of the table.
    ///   - projections: Random directions along which blocks that are alike are looked for, 1 to 1,000.
    ///   - seed: Of the projections.
    public static func dedup(
        blockRows: Int = 1, blockColumns: Int = 4, similarity: Double? = nil, budget: Budget? = nil,
        tolerance: Double = 0.5, projections: Int = 8, seed: Int = 0
    ) -> ConfiguredMethod {
        ConfiguredMethod(
            "dedup",
            [
                "block_rows": blockRows, "block_columns": blockColumns, "similarity": similarity, "budget": budget,
                "tolerance": tolerance, "projections": projections, "seed": seed,
            ])
    }
}
