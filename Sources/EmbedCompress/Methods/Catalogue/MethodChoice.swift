/// What a method has chosen by itself for an option that was "auto", and what it went by.
public struct MethodChoice: Sendable {
    /// A value of the option that was tried.
    public struct Candidate: Sendable {
        public let value: String
        /// What was found of it, by name, such as "normalized_l2" and "lookup_ns_per_row".
        public let figures: [(name: String, value: Double)]
    }

    /// The option's name, such as "rotation".
    public let option: String
    /// What was taken.
    public let value: String
    /// Without those that the bytes have no room for.
    public let candidates: [Candidate]
}

extension MethodChoice {
    private var json: JSON {
        [
            "option": .string(option), "value": .string(value),
            "candidates": .array(
                candidates.map { candidate in
                    .object(
                        JSONObject(
                            [("value", .string(candidate.value))]
                                + candidate.figures.map { ($0.name, $0.value.isFinite ? .number($0.value) : .null) }))
                }),
        ]
    }

    /// Choices as a JSON array, for callers in other languages.
    package static func text(_ choices: [MethodChoice]) throws -> String {
        try JSON.array(choices.map(\.json)).serialized()
    }
}
