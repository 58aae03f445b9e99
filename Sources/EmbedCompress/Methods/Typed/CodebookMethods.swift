// Methods that choose codebooks of numbers.

extension ConfiguredMethod {
    /// How k-means of a row's values is solved.
    public enum Solver: String, Sendable, CaseIterable, OptionConvertible {
        /// With the least error that there is.
        case exact
        /// The paper's way: Lloyd's algorithm from the grid of ASYM.
        case lloyd
    }

    /// What EDEN's scale of a row is chosen for.
    public enum EdenScale: String, Sendable, CaseIterable, OptionConvertible {
        /// The least squared error.
        case leastError = "mse"
        /// Scalar products that are right on average.
        case unbiased
    }

    /// How many states the search of trellis codes goes through.
    public enum TrellisEffort: String, Sendable, CaseIterable, OptionConvertible {
        /// 1,024, or 4,096 where a column has more than 6 bits.
        case fast
        /// 4,096.
        case `default`
        /// 65,536, and three scales for each row.
        case best
    }

    /// How rows are turned before they become trellis codes.
    public enum TrellisRotation: String, Sendable, CaseIterable, OptionConvertible {
        case none
        /// None, at random or partial: the next one where it saves 1.5 dB.
        case auto
        /// A quarter of the principal directions are turned out.
        case partial
        /// All of them are.
        case full
        /// At random.
        case hadamard
    }

    /// What comes before trellis codes.
    public enum TrellisFirstStage: String, Sendable, CaseIterable, OptionConvertible {
        case none
        /// The nearest of 256 vectors, for a byte of each row.
        case vectors
        /// Vectors where a sample of rows has less error with them in the same bytes.
        case auto
    }

    /// What is taken from rows before they become trellis codes, and added again to what is decoded.
    public enum TrellisCenter: String, Sendable, CaseIterable, OptionConvertible {
        /// What saves more bits than it takes.
        case auto
        case none
        /// The mean row of the table.
        case table
        /// The mean of each row's columns.
        case rows
        /// The mean row, and then that of each row's columns.
        case both
    }

    /// KMEANS: a codebook for each row, by k-means of its values (Guan et al. 2019, arXiv 1911.02079).
    ///
    /// - Parameters:
    ///   - bits: Bits of a code, 1 to 8; 4 if neither bits nor a budget is given.
    ///   - budget: The most bytes of the result, in place of `bits`: chooses the most bits that fit.
    ///   - entryType: The type of a codebook's entries; nil is f16 unless that costs more than a tenth of the error,
    ///     or values are beyond it.
    ///   - rounds: The most rounds of the solver `.lloyd`, 1 to 100,000.
    public static func kmeans(
        bits: Int? = nil, budget: Budget? = nil, entryType: ScaleType? = nil, solver: Solver = .exact,
        rounds: Int = 300
    ) -> ConfiguredMethod {
        ConfiguredMethod(
            "kmeans",
            ["bits": bits, "budget": budget, "entry_dtype": entryType, "solver": solver, "rounds": rounds])
    }

    /// KMEANS-CLS: clusters of rows by k-means, and a codebook for each cluster by k-means of its values (Guan et al.
    /// 2019, arXiv 1911.02079).
    ///
    /// - Parameters:
    ///   - bits: Bits of a code, 1 to 8; 4, or what a budget chooses, if nil.
    ///   - clusters: Clusters of rows; if nil, what a budget chooses, or as many as the bytes of the methods that choose
    ///     ranges have room for, at most 65,536.
    ///   - budget: The most bytes of the result: chooses clusters, and bits unless they are given.
    ///   - entryType: The type of a codebook's entries; nil is f16 unless that costs more than a tenth of the error,
    ///     or values are beyond it.
    ///   - rounds: The most rounds of k-means of rows, 1 to 100,000.
    ///   - seed: Of the rows that k-means starts from.
    public static func kmeansClusters(
        bits: Int? = nil, clusters: Int? = nil, budget: Budget? = nil, entryType: ScaleType? = nil,
        rounds: Int = 10, seed: Int = 0
    ) -> ConfiguredMethod {
        ConfiguredMethod(
            "kmeans_cls",
            [
                "bits": bits, "clusters": clusters, "budget": budget, "entry_dtype": entryType, "rounds": rounds,
                "seed": seed,
            ])
    }

    /// EDEN: a random rotation, then the levels of Lloyd and Max for normal values at a scale of the row's own
    /// (Vargaftik et al. 2022, arXiv 2108.08842).
    ///
    /// - Parameters:
    ///   - bits: Bits of a code, 1 to 8; 4 if neither bits nor a budget is given.
    ///   - budget: The most bytes of the result, in place of `bits`: chooses the most bits that fit.
    ///   - seed: Of the rotation.
    ///   - scaleType: The type of a row's scale and of the levels; nil is f16 unless that costs more than a tenth of the
    ///     error, or values are beyond it.
    ///   - center: Whether the mean row is kept apart, in 4 bytes a column.
    ///   - search: Scales that are tried for each row, 0 to 1,024.
    public static func eden(
        bits: Int? = nil, budget: Budget? = nil, seed: Int = 0, scaleType: ScaleType? = nil,
        scale: EdenScale = .leastError, center: Bool = true, search: Int = 16
    ) -> ConfiguredMethod {
        ConfiguredMethod(
            "eden",
            [
                "bits": bits, "budget": budget, "seed": seed, "scale_dtype": scaleType, "scale": scale,
                "center": center, "search": search,
            ])
    }

    /// Trellis codes: the bits of a row by Viterbi's algorithm (Marcellin and Fischer 1990; QTIP 2024, arXiv 2406.11235).
    ///
    /// - Parameters:
    ///   - bits: Bits of a column on average, 0.25 to 8; 4 if neither bits nor a budget is given.
    ///   - budget: The most bytes of the result, in place of `bits`.
    ///   - firstStage: What codes are added to.
    ///   - seed: Of the rotation at random, and of the vectors of a first stage.
    ///   - center: What is kept apart of rows.
    ///   - normalize: Whether rows, which must have the norm 1, are decoded to the norm 1, but for rounding in f32.
    ///   - fallback: Whether rows that least squares serves better in no more bytes a row have its codes; they have if nil,
    ///     but not inside another method.
    public static func trellis(
        bits: Double? = nil, budget: Budget? = nil, effort: TrellisEffort = .default,
        rotation: TrellisRotation = .none, firstStage: TrellisFirstStage = .none, seed: Int = 0,
        center: TrellisCenter = .auto, normalize: Bool = false, fallback: Bool? = nil
    ) -> ConfiguredMethod {
        ConfiguredMethod(
            "trellis",
            [
                "bits": bits, "budget": budget, "effort": effort, "rotation": rotation, "first_stage": firstStage,
                "seed": seed, "center": center, "normalize": normalize, "fallback": fallback,
            ])
    }
}
