/// What the catalogue says of a method. A name may stand in both stages; name and stage together say which it is.
public struct MethodEntry: Sendable {
    /// The identifier, such as "greedy".
    public let name: String
    /// The field's spelling, such as "GREEDY".
    public let title: String
    public let family: Family
    public let stage: Stage
    public let paper: String
    /// One line on what it does.
    public let summary: String
    /// A formula of bytes per row.
    public let bytesPerRow: String
    /// What compressing or training costs, in words.
    public let cost: String
    public let options: [Option]

    /// Every method of both stages: those after training first.
    public static var all: [MethodEntry] { Method.all.map(\.entry) + whileTraining.items }

    /// The methods that learn a table. This library trains them in Python; the catalogue is the same for all languages.
    static let whileTraining = Registry(TrainedMethods.all)

    /// The methods of a stage.
    static func all(_ stage: Stage) -> [MethodEntry] {
        switch stage {
        case .afterTraining: return Method.all.map(\.entry)
        case .whileTraining: return whileTraining.items
        }
    }
}

extension Method {
    /// What the catalogue says of this method.
    public var entry: MethodEntry {
        MethodEntry(
            name: name, title: title, family: family, stage: stage, paper: paper, summary: summary,
            bytesPerRow: bytesPerRow, cost: cost, options: options)
    }
}

extension OptionValues {
    init(_ given: [String: OptionValue], for method: Method) throws { try self.init(given, for: method.entry) }
}
