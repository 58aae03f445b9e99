// Recommendations as text, for callers in other languages.

extension Table {
    /// What ``recommendations(budget:counts:metric:sample:seed:progress:)`` finds, as a JSON array. An option that is the
    /// counts is null, and so is a figure that is infinite.
    package func recommendationsText(
        budget: Int, counts: [Double]?, metric: String, sample: Int, seed: Int, progress: ProgressCallback?
    ) throws -> String {
        guard let chosen = Recommendation.Metric(rawValue: metric) else {
            let names = Recommendation.Metric.allCases.map(\.rawValue).joined(separator: ", ")
            throw EmbedCompressError.invalidArgument("metric must be one of \(names), not '\(metric)'")
        }
        let found = try recommendations(
            budget: budget, counts: counts, metric: chosen, sample: sample, seed: seed, progress: progress)
        return try JSON.array(found.map(\.json)).serialized()
    }
}

extension Recommendation {
    fileprivate var json: JSON {
        [
            "method": .string(method),
            "options": .object(JSONObject(call.map { ($0.name, $0.value?.json ?? .null) })),
            "expression": .string(expression), "stored_bytes": .integer(Int64(storedBytes)), "ratio": .number(ratio),
            "normalized_l2": normalizedL2.isFinite ? .number(normalizedL2) : .null, "mean_cosine": .number(meanCosine),
            "recall_at_10": recallAt10.map { .number($0) } ?? .null, "compress_seconds": .number(compressSeconds),
            "lookup_ns_per_row": .number(lookupNanosecondsPerRow), "reason": .string(reason),
        ]
    }
}
