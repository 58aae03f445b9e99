/// A compressed embedding table: an expression of stores and routes that rows are looked up in.
///
/// Tables are immutable values; copies and slices share memory. Any number of threads may use one.
public struct Table: Sendable, CustomStringConvertible {
    let root: any Node
    /// What a method chose for options that leave it to it, such as "auto", where this is what compressing gave; files and
    /// slices don't have it.
    public let choices: [MethodChoice]
    private let invalid = AtomicInt()

    init(_ root: any Node, choices: [MethodChoice] = []) { (self.root, self.choices) = (root, choices) }

    /// A table of one store or route.
    public init(_ dense: Dense) { self.init(dense as any Node) }
    public init(_ uniform: Uniform) { self.init(uniform as any Node) }
    public init(_ codebook: Codebook) { self.init(codebook as any Node) }
    public init(_ product: Product) { self.init(product as any Node) }
    public init(_ trellis: Trellis) { self.init(trellis as any Node) }
    public init(_ packedFloats: PackedFloats) { self.init(packedFloats as any Node) }
    public init(_ remap: Remap) { self.init(remap as any Node) }
    public init(_ tensorTrain: TensorTrain) { self.init(tensorTrain as any Node) }
    public init(_ combine: Combination) { self.init(combine as any Node) }
    public init(_ columns: Columns) { self.init(columns as any Node) }
    public init(_ partition: Partition) { self.init(partition as any Node) }
    public init(_ project: Project) { self.init(project as any Node) }
    public init(_ sparse: Sparse) { self.init(sparse as any Node) }
    public init(_ sharedArray: SharedArray) { self.init(sharedArray as any Node) }
    public init(_ hashNetwork: HashNetwork) { self.init(hashNetwork as any Node) }
    public init(_ rotate: Rotate) { self.init(rotate as any Node) }
    public init(_ normalize: Normalize) { self.init(normalize as any Node) }

    /// The expression that this table is.
    public var expression: any TableExpression { root }
    /// Ids are `0 ..< rows`.
    public var rows: Int { root.rows }
    /// Columns of a row.
    public var dimension: Int { root.dimension }
    /// Every byte of the expression: codes, scales, maps, constants. An array that several of its pieces are on, as slices
    /// of a table are, counts once.
    public var storedBytes: Int { root.storedBytes }
    /// `storedBytes` over the bytes of the same table in f32; 0 for a table without rows.
    public var ratio: Double {
        rows == 0 ? 0 : Double(storedBytes) / (Double(rows) * Double(dimension) * 4)
    }
    /// The expression as a tree, a line and its bytes for each piece.
    public var description: String {
        root.tree() + "\n= \(storedBytes.grouped) bytes, \(percent(ratio)) % of f32"
    }

    /// How many ids this table has answered with zeros under ``InvalidIDs/zero``.
    public var invalidCount: Int { invalid.value }
    func countInvalid(_ count: Int) { if count > 0 { invalid.add(count) } }

    /// Rows `range` as a table on the same memory.
    ///
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` unless `range` lies within `0 ..< rows`.
    public func slice(_ range: Range<Int>) throws -> Table {
        try checkRows(range)
        return Table(try root.sliced(range))
    }

    func checkRows(_ range: Range<Int>) throws {
        guard range.lowerBound >= 0, range.upperBound <= rows else {
            throw EmbedCompressError.invalidArgument(
                "rows \(range.lowerBound) to \(range.upperBound) are not within the table's \(rows) rows")
        }
    }
}

/// A ratio in percent with two decimals; one that no two decimals matter to, as Swift writes it.
private func percent(_ ratio: Double) -> String {
    guard let share = Int(exactly: (ratio * 10_000).rounded()) else { return "\(ratio * 100)" }
    let digits = String(share)
    let padded = String(repeating: "0", count: max(0, 3 - digits.count)) + digits
    return "\(padded.dropLast(2)).\(padded.suffix(2))"
}
