// Methods that choose ranges: a scale and a bias for each row, each group of its columns, or the table. Where no other
// paper is named: Guan et al., "Post-Training 4-bit Quantization on Embedding Tables", 2019 (arXiv 1911.02079).

extension ConfiguredMethod {
    /// TABLE: from the smallest to the largest value of the table, with one scale and bias for all of it.
    ///
    /// - Parameters:
    ///   - bits: Bits of a code, 1 to 8, or 16; 4 if neither bits nor a budget is given.
    ///   - budget: The most bytes of the result, in place of `bits`: chooses the most bits that fit.
    public static func table(bits: Int? = nil, budget: Budget? = nil) -> ConfiguredMethod {
        ConfiguredMethod("table", ["bits": bits, "budget": budget])
    }

    /// SYM: from minus to plus the largest magnitude of the row.
    ///
    /// - Parameters:
    ///   - bits: Bits of a code, 1 to 8; 4 if neither bits nor a budget is given.
    ///   - budget: The most bytes of the result, in place of `bits`: chooses the most bits that fit.
    ///   - group: Columns that share a scale and a bias, a multiple of 8; the row if nil.
    ///   - scaleType: The type of scales and biases; nil is f32 for 16 bits, where f16 costs more than a tenth of the
    ///     error, and for values beyond f16, else f16.
    ///   - fallback: Whether rows that plain min-max serves better take its range.
    ///   - rangeFactors: What the width of each row's range is multiplied by, about its middle, once it is chosen.
    ///     Rows of one value keep theirs.
    public static func sym(
        bits: Int? = nil, budget: Budget? = nil, group: Int? = nil, scaleType: ScaleType? = nil, fallback: Bool = true,
        rangeFactors: [Double]? = nil
    ) -> ConfiguredMethod {
        ConfiguredMethod(
            "sym",
            [
                "bits": bits, "budget": budget, "group": group, "scale_dtype": scaleType, "fallback": fallback,
                "range_factors": rangeFactors,
            ])
    }

    /// GSS: golden-section search of a symmetric threshold (May et al. 2019, arXiv 1909.01264).
    ///
    /// - Parameters:
    ///   - bits: Bits of a code, 1 to 8; 4 if neither bits nor a budget is given.
    ///   - budget: The most bytes of the result, in place of `bits`: chooses the most bits that fit.
    ///   - group: Columns that share a scale and a bias, a multiple of 8; the row if nil.
    ///   - scaleType: The type of scales and biases; nil is f32 for 16 bits, where f16 costs more than a tenth of the
    ///     error, and for values beyond f16, else f16.
    ///   - fallback: Whether rows that plain min-max serves better take its range.
    ///   - rangeFactors: What the width of each row's range is multiplied by, about its middle, once it is chosen.
    ///     Rows of one value keep theirs.
    ///   - p: A multiple of 0.25, 0.25 to 8: the search minimises the sum of errors to this power.
    public static func gss(
        bits: Int? = nil, budget: Budget? = nil, group: Int? = nil, scaleType: ScaleType? = nil, fallback: Bool = true,
        rangeFactors: [Double]? = nil, p: Double = 2
    ) -> ConfiguredMethod {
        ConfiguredMethod(
            "gss",
            [
                "bits": bits, "budget": budget, "group": group, "scale_dtype": scaleType, "fallback": fallback,
                "range_factors": rangeFactors, "p": p,
            ])
    }

    /// ASYM: from the smallest to the largest value of the row.
    ///
    /// - Parameters:
    ///   - bits: Bits of a code, 1 to 8, or 16; 4 if neither bits nor a budget is given.
    ///   - budget: The most bytes of the result, in place of `bits`: chooses the most bits that fit.
    ///   - group: Columns that share a scale and a bias, a multiple of 8; the row if nil.
    ///   - scaleType: The type of scales and biases; nil is f32 for 16 bits, where f16 costs more than a tenth of the
    ///     error, and for values beyond f16, else f16.
    ///   - rangeFactors: What the width of each row's range is multiplied by, about its middle, once it is chosen.
    ///     Rows of one value keep theirs.
    public static func asym(
        bits: Int? = nil, budget: Budget? = nil, group: Int? = nil, scaleType: ScaleType? = nil,
        rangeFactors: [Double]? = nil
    ) -> ConfiguredMethod {
        ConfiguredMethod(
            "asym",
            ["bits": bits, "budget": budget, "group": group, "scale_dtype": scaleType, "range_factors": rangeFactors])
    }

    /// ACIQ: clips where a Gaussian or Laplace distribution should be (Banner et al. 2019, arXiv 1810.05723).
    ///
    /// - Parameters:
    ///   - bits: Bits of a code, 1 to 8; 4 if neither bits nor a budget is given.
    ///   - budget: The most bytes of the result, in place of `bits`: chooses the most bits that fit.
    ///   - group: Columns that share a scale and a bias, a multiple of 8; the row if nil.
    ///   - scaleType: The type of scales and biases; nil is f32 for 16 bits, where f16 costs more than a tenth of the
    ///     error, and for values beyond f16, else f16.
    ///   - fallback: Whether rows that plain min-max serves better take its range.
    ///   - rangeFactors: What the width of each row's range is multiplied by, about its middle, once it is chosen.
    ///     Rows of one value keep theirs.
    public static func aciq(
        bits: Int? = nil, budget: Budget? = nil, group: Int? = nil, scaleType: ScaleType? = nil, fallback: Bool = true,
        rangeFactors: [Double]? = nil
    ) -> ConfiguredMethod {
        ConfiguredMethod(
            "aciq",
            [
                "bits": bits, "budget": budget, "group": group, "scale_dtype": scaleType, "fallback": fallback,
                "range_factors": rangeFactors,
            ])
    }

    /// HIST-APPRX: shrinks a histogram of the row while its estimate of the error falls.
    ///
    /// - Parameters:
    ///   - bits: Bits of a code, 1 to 8; 4 if neither bits nor a budget is given.
    ///   - budget: The most bytes of the result, in place of `bits`: chooses the most bits that fit.
    ///   - group: Columns that share a scale and a bias, a multiple of 8; the row if nil.
    ///   - scaleType: The type of scales and biases; nil is f32 for 16 bits, where f16 costs more than a tenth of the
    ///     error, and for values beyond f16, else f16.
    ///   - fallback: Whether rows that plain min-max serves better take its range.
    ///   - b: Bins of a row's histogram, 2 to 2,000.
    ///   - rangeFactors: What the width of each row's range is multiplied by, about its middle, once it is chosen.
    ///     Rows of one value keep theirs.
    public static func histApprox(
        bits: Int? = nil, budget: Budget? = nil, group: Int? = nil, scaleType: ScaleType? = nil, fallback: Bool = true,
        b: Int = 200,
        rangeFactors: [Double]? = nil
    ) -> ConfiguredMethod {
        ConfiguredMethod(
            "hist_apprx",
            [
                "bits": bits, "budget": budget, "group": group, "scale_dtype": scaleType, "fallback": fallback, "b": b,
                "range_factors": rangeFactors,
            ])
    }

    /// HIST-BRUTE: tries every range of a histogram of the row.
    ///
    /// - Parameters:
    ///   - bits: Bits of a code, 1 to 8; 4 if neither bits nor a budget is given.
    ///   - budget: The most bytes of the result, in place of `bits`: chooses the most bits that fit.
    ///   - group: Columns that share a scale and a bias, a multiple of 8; the row if nil.
    ///   - scaleType: The type of scales and biases; nil is f32 for 16 bits, where f16 costs more than a tenth of the
    ///     error, and for values beyond f16, else f16.
    ///   - fallback: Whether rows that plain min-max serves better take its range.
    ///   - b: Bins of a row's histogram, 2 to 2,000.
    ///   - rangeFactors: What the width of each row's range is multiplied by, about its middle, once it is chosen.
    ///     Rows of one value keep theirs.
    public static func histBrute(
        bits: Int? = nil, budget: Budget? = nil, group: Int? = nil, scaleType: ScaleType? = nil, fallback: Bool = true,
        b: Int = 200,
        rangeFactors: [Double]? = nil
    ) -> ConfiguredMethod {
        ConfiguredMethod(
            "hist_brute",
            [
                "bits": bits, "budget": budget, "group": group, "scale_dtype": scaleType, "fallback": fallback, "b": b,
                "range_factors": rangeFactors,
            ])
    }

    /// GREEDY: shrinks the range step by step from the end that costs less.
    ///
    /// - Parameters:
    ///   - bits: Bits of a code, 1 to 8, or 16; 4 if neither bits nor a budget is given.
    ///   - budget: The most bytes of the result, in place of `bits`: chooses the most bits that fit.
    ///   - group: Columns that share a scale and a bias, a multiple of 8; the row if nil.
    ///   - scaleType: The type of scales and biases; nil is f32 for 16 bits, where f16 costs more than a tenth of the
    ///     error, and for values beyond f16, else f16.
    ///   - b: Steps that the first range is divided into, 1 to 100,000.
    ///   - r: The share of the first range that the search may give up, 0 to 1.
    ///   - rangeFactors: What the width of each row's range is multiplied by, about its middle, once it is chosen.
    ///     Rows of one value keep theirs.
    ///   - p: A multiple of 0.25, 0.25 to 8: the search minimises the sum of errors to this power.
    public static func greedy(
        bits: Int? = nil, budget: Budget? = nil, group: Int? = nil, scaleType: ScaleType? = nil, b: Int = 200,
        r: Double = 0.16,
        rangeFactors: [Double]? = nil, p: Double = 2
    ) -> ConfiguredMethod {
        ConfiguredMethod(
            "greedy",
            [
                "bits": bits, "budget": budget, "group": group, "scale_dtype": scaleType, "b": b, "r": r,
                "range_factors": rangeFactors, "p": p,
            ])
    }

    /// Least squares: alternates nearest codes and the scale and bias that fit them best, from the best clipped start. The
    /// best of the methods that choose ranges.
    ///
    /// - Parameters:
    ///   - bits: Bits of a code, 1 to 8, or 16; 4 if neither bits nor a budget is given.
    ///   - budget: The most bytes of the result, in place of `bits`: chooses the most bits that fit.
    ///   - group: Columns that share a scale and a bias, a multiple of 8; the row if nil.
    ///   - scaleType: The type of scales and biases; nil is f32 for 16 bits, where f16 costs more than a tenth of the
    ///     error, and for values beyond f16, else f16.
    ///   - bins: Steps that the first range is divided into, up to 4 bits; 2 to 10,000.
    ///   - fits: The most fits from the first start, 0 to 1,000.
    ///   - rangeFactors: What the width of each row's range is multiplied by, about its middle, once it is chosen.
    ///     Rows of one value keep theirs.
    public static func leastSquares(
        bits: Int? = nil, budget: Budget? = nil, group: Int? = nil, scaleType: ScaleType? = nil, bins: Int = 28,
        fits: Int = 3,
        rangeFactors: [Double]? = nil
    ) -> ConfiguredMethod {
        ConfiguredMethod(
            "least_squares",
            [
                "bits": bits, "budget": budget, "group": group, "scale_dtype": scaleType, "bins": bins, "fits": fits,
                "range_factors": rangeFactors,
            ])
    }

    /// Multipoint: a sum of rows of few bits, of more of them where they take more error away (Liu et al. 2021, arXiv
    /// 2002.09049).
    ///
    /// - Parameters:
    ///   - bits: Bits of a point's codes, 1 to 8.
    ///   - points: The most points of a row, 1 to 16.
    ///   - threshold: A row has the fewest points with which its error is at most so much of its norm, 0 to 1; 0.1 if
    ///     neither threshold nor a budget is given.
    ///   - scaleType: The type of scales and biases; nil is f16, or f32 where f16 costs more than a tenth of the error and
    ///     for values beyond it.
    ///   - budget: The most bytes of the result, in place of `threshold`: spent on the points that take most error away.
    public static func multipoint(
        bits: Int = 2, points: Int = 4, threshold: Double? = nil, scaleType: ScaleType? = nil, budget: Budget? = nil
    ) -> ConfiguredMethod {
        ConfiguredMethod(
            "multipoint",
            ["bits": bits, "points": points, "threshold": threshold, "scale_dtype": scaleType, "budget": budget])
    }

    /// INT8: 8-bit whole numbers, at a scale of each row, or of the table with stochastic rounding (Zhang et al. 2024, arXiv
    /// 2311.15578).
    ///
    /// - Parameters:
    ///   - scale: `.row` has a range for each row; `.table` has one step, and rounds up or down at random.
    ///   - scaleType: The type of scales and biases of rows; nil is f16, or f32 where f16 costs more than a tenth of the error
    ///     and for values beyond it.
    ///   - step: Of the scale `.table`; the largest magnitude over the largest code if nil.
    ///   - seed: Of the scale `.table`'s rounding; 0 if nil.
    ///   - budget: The most bytes of the result, which chooses nothing: it is met or an error.
    public static func int8(
        scale: Uniform.Scope = .row, scaleType: ScaleType? = nil, step: Double? = nil, seed: Int? = nil,
        budget: Budget? = nil
    ) -> ConfiguredMethod {
        ConfiguredMethod(
            "int8", ["scale": scale, "scale_dtype": scaleType, "step": step, "seed": seed, "budget": budget])
    }

    /// INT16: 16-bit whole numbers, at a scale of each row, or of the table with stochastic rounding (Zhang et al. 2024, arXiv
    /// 2311.15578).
    ///
    /// - Parameters:
    ///   - scale: `.row` has a range for each row; `.table` has one step, and rounds up or down at random.
    ///   - scaleType: The type of scales and biases of rows; nil is f32.
    ///   - step: Of the scale `.table`; the largest magnitude over the largest code if nil.
    ///   - seed: Of the scale `.table`'s rounding; 0 if nil.
    ///   - budget: The most bytes of the result, which chooses nothing: it is met or an error.
    public static func int16(
        scale: Uniform.Scope = .row, scaleType: ScaleType? = nil, step: Double? = nil, seed: Int? = nil,
        budget: Budget? = nil
    ) -> ConfiguredMethod {
        ConfiguredMethod(
            "int16", ["scale": scale, "scale_dtype": scaleType, "step": step, "seed": seed, "budget": budget])
    }
}
