/// What is worth trying: every method that takes a budget, and hybrids of some of them.
struct CandidateList {
    let rows: Int
    let dimension: Int
    /// Bytes.
    let budget: Int
    /// Whether it is known how often rows are used.
    let hasUses: Bool

    /// Methods that choose ranges of rows for the format of least_squares, whose error is not larger in any of the measured
    /// tables.
    static let sameFormat: Set<String> = ["sym", "gss", "asym", "aciq", "hist_apprx", "hist_brute", "greedy"]
    private static let lossyInner = ["least_squares", "eden"]
    private static let groups = [16, 32, 64, 128]
    /// Of pq, each with another number of bits. A rotation helps only sub-vectors of several columns, and takes long to
    /// learn: of opq, one layout is tried, of sub-vectors of 2 columns or more.
    private static let layoutsTried = 3
    /// Of rq, whose time grows with levels.
    private static let (residualBits, residualLevels) = (8, 24)

    /// Methods whose bytes a budget chooses.
    static var budgeted: [Method] { Method.all.filter { method in method.options.contains { $0.name == "budget" } } }

    func all() -> [Candidate] {
        var found: [Candidate] = []
        for method in Self.budgeted where !Self.sameFormat.contains(method.name) {
            let options = Set(method.options.map(\.name))
            if options.isSuperset(of: ["parts", "bits"]) {
                found += productCodes(method)
            } else if !options.contains("counts") {
                found.append(Candidate(method: method))
            }
        }
        found += Self.groups.filter { $0 < dimension }.flatMap { call("least_squares", [("group", .integer($0))]) }
        // Of tables whose columns hang together; turned rows take longer to look up.
        found += call("trellis", [("rotation", "partial")])
        let inners = Self.lossyInner.filter(Self.isKnown)
        for outer in ["svd", "magsvd"] {
            found += (["f16"] + inners).flatMap { call(outer, [("inner", .string($0))]) }
        }
        let uses: [(String, OptionValue?)] = hasUses ? [("counts", nil)] : []
        for inner in inners + [Method.trellis.name] {
            found += call("hot_cold", uses + [("hot", .string(inner)), ("cold", .string(inner))])
        }
        found += call("tiers", uses)
        if hasUses {
            found += call("hot_cold", uses + [("hot", "f16")])
            if Self.isKnown("pq") { found += call("hot_cold", uses + [("cold", "pq")]) }
            found += found.filter { ["kmeans_cls", "pq", "rq"].contains($0.method.name) }.map { candidate in
                var weighted = candidate
                weighted.isWeighted = true
                return weighted
            }
        }
        return found
    }

    private static func isKnown(_ name: String) -> Bool { Method.all.contains { $0.name == name } }

    /// A call of a method with options, if there is such a method.
    private func call(_ name: String, _ options: [(String, OptionValue?)]) -> [Candidate] {
        Method.all.filter { $0.name == name }.map { method in
            Candidate(method: method, options: options.map { Candidate.Option(name: $0.0, value: $0.1) })
        }
    }

    /// A method of product codes with the layouts that are expected to do best.
    private func productCodes(_ method: Method) -> [Candidate] {
        func candidate(bits: Int, parts: Int) -> Candidate {
            Candidate(
                method: method, options: [Candidate.Option(name: "bits", value: .integer(bits))], parts: parts)
        }
        switch method.name {
        case "rq":
            // A level's entries are as wide as a row, and a budget buys no more than 2 bits a column of it.
            guard let level = Checked.sum(rows, 2 * dimension << Self.residualBits) else { return [] }
            let levels = budget / level
            let most = min(Self.residualLevels, max(2 * dimension / Self.residualBits, 1))
            return (1...most).contains(levels) ? [candidate(bits: Self.residualBits, parts: levels)] : []
        case "magpq":
            return [Candidate(method: method, follows: "pq")]
        default:
            let isRotated = method.name == "opq"
            let room = budget - (isRotated ? 2 * dimension * dimension : 0)
            let choices = ProductChoices(rows: rows, dimension: dimension, element: .float16).all(within: room)
            let byBits = Dictionary(grouping: choices, by: \.bits)
            let best = byBits.values.compactMap { $0.min { ($0.error, $0.parts) < ($1.error, $1.parts) } }
            return best.sorted { ($0.error, $0.bits) < ($1.error, $1.bits) }
                .prefix(isRotated ? 1 : Self.layoutsTried)
                .filter { !isRotated || 2 * $0.parts <= dimension }
                .map { candidate(bits: $0.bits, parts: $0.parts) }
        }
    }
}
