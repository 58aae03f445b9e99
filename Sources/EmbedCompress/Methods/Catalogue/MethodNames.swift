// Names of methods, in any spelling: those of the papers ("KMEANS-CLS", "TT-Rec") and those of this library.

extension Method {
    /// The method of that name, in any spelling that the catalogue has.
    ///
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)``, which says what is near the name, or that the method of
    ///   that name is trained.
    public static func named(_ name: String) throws -> Method {
        let methods = all
        return methods[try MethodEntry.index(of: name, among: methods.map(\.entry), stage: .afterTraining)]
    }
}

extension MethodEntry {
    /// The method of that name and stage, in any spelling that the catalogue has.
    ///
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)``, which says what is near the name, or that the method of
    ///   that name belongs to the other stage.
    public static func named(_ name: String, stage: Stage) throws -> MethodEntry {
        let entries = all(stage)
        return entries[try index(of: name, among: entries, stage: stage)]
    }

    fileprivate static func index(of name: String, among entries: [MethodEntry], stage: Stage) throws -> Int {
        if let index = find(name, among: entries) { return index }
        let others = Stage.allCases.filter { $0 != stage }.flatMap { all($0) }
        if let index = find(name, among: others) { throw EmbedCompressError.invalidArgument(others[index].belongs) }
        let near = nearest(to: name, among: entries)
        let question = near.isEmpty ? "" : " (is it \(near.joined(separator: " or "))?)"
        let purpose = stage == .whileTraining ? " to train" : ""
        let names = entries.map(\.name).joined(separator: ", ")
        throw EmbedCompressError.invalidArgument(
            "there is no method '\(name)'\(purpose)\(question); the methods are \(names)")
    }

    /// Where the method is that has the name, or whose name or title differs from it in case and separators only.
    private static func find(_ name: String, among entries: [MethodEntry]) -> Int? {
        if let index = entries.firstIndex(where: { $0.name == name }) { return index }
        let spelling = spelling(name)
        return entries.firstIndex { !spelling.isEmpty && $0.spellings.contains(spelling) }
    }

    /// What name and title are, but for case and separators.
    var spellings: Set<String> { [Self.spelling(name), Self.spelling(title)] }

    private static func spelling(_ text: String) -> String {
        text.lowercased().filter { !"-_ ".contains($0) }
    }

    /// What to do with a method that was asked for in the wrong stage.
    private var belongs: String {
        switch stage {
        case .whileTraining:
            return "\(title) works while training, not on a table that is there: "
                + "embedcompress.training.embedding(\"\(name)\", ...) in Python makes a module to train"
        case .afterTraining:
            return "\(title) works after training, on a table that is there: "
                + "embedcompress.compress(weight, \"\(name)\") in Python, table.compressed(\"\(name)\") in Swift"
        }
    }

    /// At most three names, of the least edits away from what was asked for; none that share too little with it.
    private static func nearest(to name: String, among entries: [MethodEntry]) -> [String] {
        // Names are short: what is much longer is none that was mistyped.
        let asked = Array(spelling(String(name.prefix(64))))
        let distances = entries.map { entry in
            (name: entry.name, edits: entry.spellings.map { edits(from: asked, to: Array($0)) }.min() ?? Int.max)
        }
        let most = (asked.count + 1) / 3
        return distances.filter { $0.edits <= most }.sorted { ($0.edits, $0.name) < ($1.edits, $1.name) }
            .prefix(3).map(\.name)
    }

    /// The Levenshtein distance: insertions, deletions and replacements that make one of the other.
    private static func edits(from first: [Character], to second: [Character]) -> Int {
        var row = Array(0...second.count)
        for (position, character) in first.enumerated() {
            var diagonal = row[0]
            row[0] = position + 1
            for (column, other) in second.enumerated() {
                let replaced = diagonal + (character == other ? 0 : 1)
                diagonal = row[column + 1]
                row[column + 1] = min(replaced, diagonal + 1, row[column] + 1)
            }
        }
        return row[second.count]
    }
}
