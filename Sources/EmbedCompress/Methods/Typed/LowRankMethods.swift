// Methods that make a table a product of smaller arrays.

extension ConfiguredMethod {
    /// SVD: rows as coordinates in the directions in which the table varies most, compressed by any method, and a matrix
    /// that leads back (Eckart and Young 1936).
    ///
    /// - Parameters:
    ///   - rank: Columns of the factor; half of the table's, or what a budget chooses, if nil.
    ///   - inner: What compresses the factor.
    ///   - element: The type of the matrix; nil is f32 if `inner` is dense, and f16 otherwise.
    ///   - center: Whether the mean row is taken out, for 4 bytes a column.
    ///   - budget: The most bytes of the result: chooses the rank, and the inner method's bits unless they are given.
    public static func svd(
        rank: Int? = nil, inner: InnerCompression = .dense, element: ScaleType? = nil, center: Bool = true,
        budget: Budget? = nil
    ) -> ConfiguredMethod {
        ConfiguredMethod(
            "svd",
            ["rank": rank, "inner": inner.name, "element": element, "center": center, "budget": budget],
            beside: inner.options)
    }

    /// MagSVD: an SVD for each group of rows of similar norm, of higher rank where norms are larger (Zhang et al., VLDB
    /// 2024, arXiv 2311.15578).
    ///
    /// - Parameters:
    ///   - groups: Groups of rows, 1 to 256.
    ///   - rank: Of the last group, whose norms are smallest; a quarter of the columns, or what a budget chooses, if nil.
    ///   - inner: What compresses the factors.
    ///   - element: The type of the matrices; nil is f32 if `inner` is dense, and f16 otherwise.
    ///   - center: Whether groups' mean rows are taken out.
    ///   - budget: The most bytes of the result: chooses ranks, and the inner method's bits unless they are given.
    public static func magsvd(
        groups: Int = 4, rank: Int? = nil, inner: InnerCompression = .dense, element: ScaleType? = nil,
        center: Bool = true, budget: Budget? = nil
    ) -> ConfiguredMethod {
        ConfiguredMethod(
            "magsvd",
            [
                "groups": groups, "rank": rank, "inner": inner.name, "element": element, "center": center,
                "budget": budget,
            ], beside: inner.options)
    }

    /// TT: the table as a tensor train of three cores, by TT-SVD (Oseledets 2011; Yin et al., MLSys 2021).
    ///
    /// - Parameters:
    ///   - rank: Of both joints, at least 1; that of a tenth of the bytes, or what a budget chooses, if nil.
    ///   - element: The type of the cores.
    ///   - budget: The most bytes of the result: chooses the rank.
    public static func tt(
        rank: Int? = nil, element: ScaleType = .float32, budget: Budget? = nil
    ) -> ConfiguredMethod {
        ConfiguredMethod("tt", ["rank": rank, "element": element, "budget": budget])
    }
}
