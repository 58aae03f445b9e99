extension MethodEntry {
    /// Lists a method that is trained, wherever it is: another package's, say.
    ///
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` if the entry is not complete, or its name or title is taken.
    package static func register(_ entry: MethodEntry) throws {
        guard entry.stage == .whileTraining else {
            throw EmbedCompressError.invalidArgument(
                "\(entry.name): what is trained has the stage '\(Stage.whileTraining.rawValue)', "
                    + "not '\(entry.stage.rawValue)'")
        }
        try entry.validate()
        try whileTraining.add(entry) { try entry.checkIsFree(among: $0) }
    }

    /// Checks what every entry has.
    func validate() throws {
        func fail(_ text: String) -> EmbedCompressError { .invalidArgument("method '\(name)': \(text)") }
        let isIdentifier =
            name.utf8.first.map { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) } ?? false
            && name.utf8.allSatisfy {
                (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0)
                    || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || $0 == UInt8(ascii: "_")
            }
        guard isIdentifier else { throw fail("a name is lower-case letters, digits and _, and begins with a letter") }
        for (field, text) in [
            ("title", title), ("paper", paper), ("summary", summary), ("bytes per row", bytesPerRow), ("cost", cost),
        ] where text.isEmpty {
            throw fail("\(field) is empty")
        }
        guard Set(options.map(\.name)).count == options.count else { throw fail("two options have one name") }
        for option in options {
            guard option.defaultValue == .null || option.kind.accepts(option.defaultValue) else {
                throw fail("the default of \(option.name) must be \(option.kind.description)")
            }
        }
    }

    /// Refuses what name or title would stand for two methods of a stage.
    func checkIsFree(among entries: [MethodEntry]) throws {
        guard let other = entries.first(where: { !$0.spellings.isDisjoint(with: spellings) }) else { return }
        throw EmbedCompressError.invalidArgument(
            "method '\(name)': name or title is taken by '\(other.name)' (\(other.title))")
    }
}

extension Method {
    /// Makes a method from outside this module known by its name, to ``named(_:)`` and everything that takes a name.
    ///
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` if the entry is not complete, or its name or title is taken.
    @_spi(Extension)
    public static func register(_ method: Method) throws {
        let entry = method.entry
        try entry.validate()
        try registered.add(method) { others in try entry.checkIsFree(among: builtIn.map(\.entry) + others.map(\.entry))
        }
    }

    /// A method that makes a table of a whole one.
    ///
    /// - Parameters:
    ///   - options: Those that it takes, with a budget if it has one.
    ///   - compress: Returns the compressed table. Values are complete and as the options declare them; where one
    ///     of them is a method, those of that method are among them.
    @_spi(Extension)
    public init(
        name: String, title: String, family: Family, paper: String, summary: String, bytesPerRow: String,
        cost: String, options: [Option] = [],
        compress: @escaping @Sendable (_ source: Table, _ options: [String: OptionValue]) throws -> Table
    ) {
        self.init(
            name: name, title: title, family: family, paper: paper, summary: summary, bytesPerRow: bytesPerRow,
            cost: cost, options: options, takesWeights: false, passes: 1
        ) { input, values, progress in
            let table = try compress(Table(input.source), values.all.merging(values.inner) { own, _ in own })
            guard table.rows == input.source.rows, table.dimension == input.source.dimension else {
                throw EmbedCompressError.invalidArgument(
                    "\(name) made a table of \(table.rows) x \(table.dimension) "
                        + "of one of \(input.source.rows) x \(input.source.dimension)")
            }
            return FinishedTable(node: table.root)
        }
    }
}
