// Methods that choose codebooks of vectors.

extension ConfiguredMethod {
    /// PQ: rows in sub-vectors, and a codebook for each by k-means (Jégou, Douze and Schmid 2011, IEEE TPAMI 33 (1)).
    ///
    /// - Parameters:
    ///   - parts: Sub-vectors of a row, at most the dimension; if nil, what a budget chooses, or as many as have 4
    ///     columns.
    ///   - bits: Bits of a code, 1 to 16; 8, or what a budget chooses, if nil.
    ///   - budget: The most bytes of the result: chooses parts, and bits unless they are given.
    ///   - entryType: The type of a codebook's entries; nil is f16 unless that loses more than a 64th of the rows' norm.
    ///   - rounds: The most rounds of k-means, 1 to 100,000.
    ///   - seed: Of the rows that are learned from.
    public static func pq(
        parts: Int? = nil, bits: Int? = nil, budget: Budget? = nil, entryType: ScaleType? = nil,
        rounds: Int = 25, seed: Int = 0
    ) -> ConfiguredMethod {
        ConfiguredMethod(
            "pq",
            [
                "parts": parts, "bits": bits, "budget": budget, "entry_dtype": entryType, "rounds": rounds,
                "seed": seed,
            ])
    }

    /// RQ: each row a sum of an entry of each level's codebook, found by beam search (Chen, Guan and Wang 2010, Sensors
    /// 10 (12)).
    ///
    /// - Parameters:
    ///   - parts: Levels of codebooks; 8, or what a budget chooses, if nil.
    ///   - bits: Bits of a code, 1 to 16; 8, or what a budget chooses, if nil.
    ///   - budget: The most bytes of the result: chooses parts, up to 2 bits a column, and bits unless they are given.
    ///   - entryType: The type of a codebook's entries; nil is f16 unless that loses more than a 64th of the rows' norm.
    ///   - beam: Sums that encoding keeps of each row, 1 to 256.
    ///   - rounds: The most rounds of k-means of a level, 1 to 100,000.
    ///   - refits: Times that codebooks are fitted to codes, 0 to 1,000.
    ///   - seed: Of the rows that are learned from.
    public static func rq(
        parts: Int? = nil, bits: Int? = nil, budget: Budget? = nil, entryType: ScaleType? = nil, beam: Int = 5,
        rounds: Int = 20, refits: Int = 3, seed: Int = 0
    ) -> ConfiguredMethod {
        ConfiguredMethod(
            "rq",
            [
                "parts": parts, "bits": bits, "budget": budget, "entry_dtype": entryType, "beam": beam,
                "rounds": rounds, "refits": refits, "seed": seed,
            ])
    }

    /// OPQ: product codes of rows that a learned matrix rotates (Ge, He, Ke and Sun 2013, IEEE TPAMI 36 (4)).
    ///
    /// - Parameters:
    ///   - parts: Sub-vectors of a row; if nil, what a budget chooses, or as many as have 4 columns.
    ///   - bits: Bits of a code, 1 to 16; 8, or what a budget chooses, if nil.
    ///   - budget: The most bytes of the result: chooses parts, and bits unless they are given.
    ///   - entryType: The type of a codebook's entries; nil is f16 unless that loses more than a 64th of the rows' norm.
    ///   - matrixType: The type of the matrix.
    ///   - turns: Fits of the rotation, 0 to 1,000.
    ///   - rounds: The most rounds of k-means of the last codes, 1 to 100,000.
    ///   - seed: Of the rows that are learned from, and the first rotation.
    public static func opq(
        parts: Int? = nil, bits: Int? = nil, budget: Budget? = nil, entryType: ScaleType? = nil,
        matrixType: ScaleType = .float16, turns: Int = 12, rounds: Int = 25, seed: Int = 0
    ) -> ConfiguredMethod {
        ConfiguredMethod(
            "opq",
            [
                "parts": parts, "bits": bits, "budget": budget, "entry_dtype": entryType, "matrix_dtype": matrixType,
                "turns": turns, "rounds": rounds, "seed": seed,
            ])
    }

    /// MagPQ: product codes for each group of rows of similar norm, of more bits where norms are larger (Zhang et al.,
    /// VLDB 2024, arXiv 2311.15578).
    ///
    /// - Parameters:
    ///   - groups: Groups of rows, 1 to 64; with a budget, the most of them.
    ///   - parts: Sub-vectors of a row; if nil, what a budget chooses, or as many as have 4 columns.
    ///   - bits: Bits of a code where norms are largest; 8, or what a budget chooses, if nil. Each next group has one
    ///     less.
    ///   - budget: The most bytes of the result: chooses each group's parts and bits.
    ///   - entryType: The type of a codebook's entries; nil is f16 unless that loses more than a 64th of the rows' norm.
    ///   - rounds: The most rounds of k-means, 1 to 100,000.
    ///   - seed: Of the rows that are learned from.
    public static func magpq(
        groups: Int = 4, parts: Int? = nil, bits: Int? = nil, budget: Budget? = nil,
        entryType: ScaleType? = nil, rounds: Int = 25, seed: Int = 0
    ) -> ConfiguredMethod {
        ConfiguredMethod(
            "magpq",
            [
                "groups": groups, "parts": parts, "bits": bits, "budget": budget, "entry_dtype": entryType,
                "rounds": rounds, "seed": seed,
            ])
    }
}
