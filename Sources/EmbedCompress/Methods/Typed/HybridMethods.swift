// Methods that compress parts of a table by other methods.

/// What compresses a part of a table inside another method: the factor of an SVD, or the hot rows of a table.
public enum InnerCompression: Sendable, Equatable {
    /// Values as they are, in f32, f16 or bf16.
    case dense, float16, bfloat16
    /// Any method after training, with its options but for a budget.
    case method(ConfiguredMethod)

    var name: String {
        switch self {
        case .dense: return "dense"
        case .float16: return "f16"
        case .bfloat16: return "bf16"
        case .method(let method): return method.name
        }
    }

    var options: [String: OptionValue] {
        if case .method(let method) = self { return method.options }
        return [:]
    }
}

extension ConfiguredMethod {
    /// Hot and cold: the rows that count most by one method, and all others by another (frequency-grouped precision, as in
    /// SHARK, Zhang et al., CIKM 2023, arXiv 2308.09395).
    ///
    /// - Parameters:
    ///   - counts: How often each row is used, `rows` numbers of at least 0; squared norms if nil.
    ///   - hot: What compresses the rows that count most.
    ///   - cold: What compresses the others.
    ///   - hotBits: Bits of `hot`; 8, or what a budget chooses, if nil.
    ///   - coldBits: Bits of `cold`; 2, or what a budget chooses, if nil.
    ///   - share: The share of rows that are hot, 0 to 1; a tenth, or what a budget chooses, if nil.
    ///   - budget: The most bytes of the result: chooses what is not given.
    public static func hotCold(
        counts: [Double]? = nil, hot: InnerCompression = .method(.leastSquares()),
        cold: InnerCompression = .method(.leastSquares()), hotBits: Int? = nil, coldBits: Int? = nil,
        share: Double? = nil, budget: Budget? = nil
    ) -> ConfiguredMethod {
        var inner: [String: OptionValue] = [:]
        for (part, method) in [("hot", hot), ("cold", cold)] {
            for (option, value) in method.options { inner["\(part)_\(option)"] = value }
        }
        return ConfiguredMethod(
            "hot_cold",
            [
                "counts": counts, "hot": hot.name, "cold": cold.name, "hot_bits": hotBits, "cold_bits": coldBits,
                "share": share, "budget": budget,
            ], beside: inner)
    }

    /// Tiers: rows in classes by how often they are used and how large they are, with bits of their own for each class.
    ///
    /// - Parameters:
    ///   - counts: How often each row is used, `rows` numbers of at least 0; all alike if nil.
    ///   - inner: What compresses every tier: a method whose rows have bits of their own, which are not given.
    ///   - tiers: The most classes, 1 to 16.
    ///   - bits: The result has no more bytes than `inner` with so many bits; 4 if nil and no budget is given.
    ///   - budget: The most bytes of the result, in place of bits.
    public static func tiers(
        counts: [Double]? = nil, inner: ConfiguredMethod = .trellis(), tiers: Int = 4, bits: Double? = nil,
        budget: Budget? = nil
    ) -> ConfiguredMethod {
        ConfiguredMethod(
            "tiers",
            ["counts": counts, "inner": inner.name, "tiers": tiers, "bits": bits, "budget": budget],
            beside: inner.options)
    }
}
