#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// Sentences with numbers: what speaks for each result, and how far it is from the best.
struct Reasons {
    /// Best first.
    let results: [Recommender.Result]
    /// How many candidates there were.
    let tried: Int
    let judge: Judge

    func sentence(_ place: Int) -> String {
        let (result, best) = (results[place], results[0])
        let shown = shown(result)
        let share = "\(significant(100 * result.table.ratio, 3)) % of f32"
        if place == 0 {
            var text = "The least loss of \(tried) candidates: \(shown) in \(share)"
            if results.count > 1 { text += ", \(apart(best, results[1])) \(results[1].candidate)" }
            return text
                + ". It took \(significant(result.seconds, 2)) s to make, and \(nanoseconds(result)) ns a row to look up."
        }
        var gains: [String] = []
        if result.nanosecondsPerRow < 0.8 * best.nanosecondsPerRow {
            gains.append("looked up \(fixed(best.nanosecondsPerRow / result.nanosecondsPerRow, 1)) times as fast")
        }
        if result.seconds < 0.5 * best.seconds {
            gains.append("made \(fixed(best.seconds / max(result.seconds, 1e-6), 1)) times as fast")
        }
        let size = Double(result.table.storedBytes) / Double(best.table.storedBytes)
        if size < 0.98 { gains.append("\(fixed(100 * (1 - size), 0)) % smaller") }
        let behind = "\(shown) in \(share), \(behind(result, best)) the best"
        let text = behind.prefix(1).uppercased() + behind.dropFirst()
        return text + (gains.isEmpty ? "." : ", but \(gains.joined(separator: " and ")).")
    }

    private func nanoseconds(_ result: Recommender.Result) -> String { fixed(result.nanosecondsPerRow, 0) }

    private func shown(_ result: Recommender.Result) -> String {
        switch judge.metric {
        case .l2: return "normalised l2 \(significant(result.figures.normalizedL2, 4))"
        case .cosine: return "mean cosine \(fixed(result.figures.meanCosine, 5))"
        case .recall: return "recall@10 \(fixed(result.figures.recall ?? 0, 3))"
        }
    }

    private func apart(_ best: Recommender.Result, _ other: Recommender.Result) -> String {
        let (ours, theirs) = (judge.loss(of: best.figures), judge.loss(of: other.figures))
        return theirs > 0 ? "\(fixed(100 * (1 - ours / theirs), 1)) % less loss than" : "as good as"
    }

    private func behind(_ result: Recommender.Result, _ best: Recommender.Result) -> String {
        let (ours, least) = (judge.loss(of: result.figures), judge.loss(of: best.figures))
        return least > 0 ? "\(fixed(100 * (ours / least - 1), 1)) % more loss than" : "no worse than"
    }
}

/// With so many digits after the point.
private func fixed(_ value: Double, _ digits: Int32) -> String { formatted("%.*f", value, digits) }

/// With so many digits that count.
private func significant(_ value: Double, _ digits: Int32) -> String { formatted("%.*g", value, digits) }

private func formatted(_ format: String, _ value: Double, _ digits: Int32) -> String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 400) { text in
        let count = withVaList([digits, value]) { vsnprintf(text.baseAddress, text.count, format, $0) }
        return String(decoding: text.prefix(max(Int(count), 0)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
