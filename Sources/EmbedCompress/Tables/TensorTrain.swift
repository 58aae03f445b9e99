/// A tensor train of three cores: row x, seen as d0 x d1 x d2 numbers, is the matrix product G0[i0] · G1[i1] · G2[i2],
/// where the digits of x are x = i0 + N0 (i1 + N1 i2).
///
/// Yin, Acun, Wu and Liu, "TT-Rec: Tensor Train Compression for Deep Learning Recommendation Models", MLSys 2021 (arXiv
/// 2101.11714). Cores are numbers in f32 or f16, or inner tables with a slice in each row, such as codes of 4 bits. Bytes:
/// those of the cores, `4 or 2 * (N0 d0 R1 + N1 R1 d1 R2 + N2 R2 d2)`, or of the inner tables. A row takes d0 d1 R2 (R1 + d2)
/// or d1 d2 R1 (R2 + d0) multiplications, whichever are fewer.
public struct TensorTrain: Node {
    public static let kind = "tensor_train"

    public let rows: Int
    let shape: TrainShape
    /// The row of the cores that is row 0: not 0 in slices.
    let offset: Int
    private let cores: Cores

    /// Where the cores' numbers are.
    private enum Cores {
        case floats((NumberArray, NumberArray, NumberArray))
        case tables((any Node, any Node, any Node))
    }

    /// The type of the cores' numbers; nil if they are those of inner tables.
    public var element: ScaleType? {
        if case .floats(let cores) = cores { cores.0.type } else { nil }
    }
    public var dimension: Int { shape.columns.0 * shape.columns.1 * shape.columns.2 }
    public var ownBytes: Int {
        guard case .floats(let cores) = cores else { return 0 }
        return cores.0.bytes.count + cores.1.bytes.count + cores.2.bytes.count
    }
    public var summary: String {
        let (n, d, r) = (shape.rows, shape.columns, shape.ranks)
        return "TensorTrain \(element.map { "\($0.rawValue), " } ?? "")\(n.0) x \(n.1) x \(n.2) rows, "
            + "\(d.0) x \(d.1) x \(d.2) columns, ranks \(r.0) and \(r.1)"
    }
    public var children: [(name: String, expression: any TableExpression)] {
        guard case .tables(let cores) = cores else { return [] }
        return [("core0", cores.0), ("core1", cores.1), ("core2", cores.2)]
    }

    /// Slices of higher ranks need more scratch than there is.
    private static let mostRank = Scratch.most / MemoryLayout<Float>.size

    init(
        _ core0: Bytes, _ core1: Bytes, _ core2: Bytes, element: ScaleType, rows: Int, shape: TrainShape
    ) throws {
        let numbers = (
            NumberArray(core0, type: element), NumberArray(core1, type: element), NumberArray(core2, type: element)
        )
        try self.init(.floats(numbers), rows: rows, shape: shape)
    }

    /// Cores with a slice in each row.
    init(_ cores: (any Node, any Node, any Node), rows: Int, shape: TrainShape) throws {
        try self.init(.tables(cores), rows: rows, shape: shape)
    }

    private init(_ cores: Cores, rows: Int, shape: TrainShape, offset: Int = 0) throws {
        let parts = [shape.rows.0, shape.rows.1, shape.rows.2, shape.columns.0, shape.columns.1, shape.columns.2]
        guard (parts + [shape.ranks.0, shape.ranks.1]).allSatisfy({ $0 > 0 }),
            let dimension = Checked.product(of: parts[3...]), dimension <= maximumDimension
        else {
            throw EmbedCompressError.invalidArgument(
                "the rows, columns and ranks of a tensor train are at least 1, and the product of the columns is at most "
                    + "\(maximumDimension)")
        }
        let end = try checkRows(rows, from: offset)
        guard Checked.product(of: parts[..<3]).map({ end <= $0 }) ?? true
        else {
            throw EmbedCompressError.invalidArgument(
                "\(parts[0]) x \(parts[1]) x \(parts[2]) slices do not make \(rows) rows from row \(offset) on")
        }
        try Self.checkScratch(shape)
        switch cores {
        case .floats(let arrays):
            for (core, count) in zip([arrays.0, arrays.1, arrays.2], shape.coreCounts)
            where count.flatMap({ Checked.product($0, core.type.byteCount) }) != core.bytes.count {
                throw EmbedCompressError.invalidArgument(
                    "a core of a tensor train has \(core.bytes.count) bytes, not those of "
                        + "\(count.map(String.init) ?? "so many") numbers of \(core.type.rawValue)")
            }
        case .tables(let tables):
            let sizes = [shape.counts.0, shape.counts.1, shape.counts.2]
            for ((node, slices), size) in zip(zip([tables.0, tables.1, tables.2], parts), sizes)
            where node.rows != slices || node.dimension != size {
                throw EmbedCompressError.invalidArgument(
                    "a core of a tensor train is a table of \(node.rows) x \(node.dimension), not of \(slices) slices "
                        + "of \(size) numbers")
            }
        }
        (self.cores, self.rows, self.shape, self.offset) = (cores, rows, shape, offset)
        try checkLimits()
    }

    /// Refuses slices that no lookup could multiply.
    static func checkScratch(_ shape: TrainShape) throws {
        guard shape.scratchBytes != nil else {
            throw EmbedCompressError.invalidArgument(
                "ranks \(shape.ranks.0) and \(shape.ranks.1) are too high: " + tooMuchScratch("more"))
        }
    }

    var ownScratchBytes: Int {
        let own = blockScratchBytes + tileBytes(dimension: dimension) + (shape.scratchBytes ?? Scratch.most)
        guard case .tables = cores else { return own }
        return own + TrainRows<TableCore>.aheadBytes
    }

    /// Copies of three cores, row after row: of N0 x d0 x R1, N1 x R1 x d1 x R2 and N2 x R2 x d2 numbers.
    ///
    /// - Parameters:
    ///   - slices: N0, N1 and N2; their product is at least `rows`.
    ///   - columns: d0, d1 and d2; their product is the dimension.
    public init(
        _ core0: [Float], _ core1: [Float], _ core2: [Float], rows: Int, slices: (Int, Int, Int),
        columns: (Int, Int, Int), ranks: (Int, Int)
    ) throws {
        func bytes(_ values: [Float]) throws -> Bytes { try values.withUnsafeBytes { try Bytes(copying: $0) } }
        try self.init(
            bytes(core0), bytes(core1), bytes(core2), element: .float32, rows: rows,
            shape: TrainShape(rows: slices, columns: columns, ranks: ranks))
    }

    /// - Parameters:
    ///   - core0: N0 rows of d0 R1 numbers: a slice in each, as the other cores have.
    ///   - rows: At most N0 N1 N2.
    ///   - columns: d0, d1 and d2; their product is the dimension.
    public init(
        _ core0: Table, _ core1: Table, _ core2: Table, rows: Int, columns: (Int, Int, Int), ranks: (Int, Int)
    ) throws {
        try self.init(
            (core0.root, core1.root, core2.root), rows: rows,
            shape: TrainShape(rows: (core0.rows, core1.rows, core2.rows), columns: columns, ranks: ranks))
    }

    /// A node has either `element` and the tensors `core0`, `core1` and `core2`, or three children of these names.
    init(from decoder: inout NodeDecoder) throws {
        let n = (
            try decoder.integer("rows0", 1...Int.max), try decoder.integer("rows1", 1...Int.max),
            try decoder.integer("rows2", 1...Int.max)
        )
        let limit = 1...maximumDimension
        let d = (
            try decoder.integer("columns0", limit), try decoder.integer("columns1", limit),
            try decoder.integer("columns2", limit)
        )
        let ranks = (
            try decoder.integer("rank1", 1...Self.mostRank), try decoder.integer("rank2", 1...Self.mostRank)
        )
        let element = try decoder.optionalChoice("element", ScaleType.self)
        let offset = try decoder.integer("offset", 0...maximumRows)
        guard Checked.product(d.0, d.1, d.2) == decoder.dimension else {
            throw EmbedCompressError.format(
                .invalidField(
                    node: Self.kind, field: "dimension", expected: "the product of columns0, columns1 and columns2"))
        }
        let shape = TrainShape(rows: n, columns: d, ranks: ranks)
        let cores: Cores
        if let element {
            let type = element.elementType
            cores = .floats(
                (
                    NumberArray(try decoder.tensor("core0", type: type, shape: [n.0, d.0, ranks.0]), type: element),
                    NumberArray(
                        try decoder.tensor("core1", type: type, shape: [n.1, ranks.0, d.1, ranks.1]), type: element),
                    NumberArray(try decoder.tensor("core2", type: type, shape: [n.2, ranks.1, d.2]), type: element)
                ))
        } else {
            cores = .tables((try decoder.child("core0"), try decoder.child("core1"), try decoder.child("core2")))
        }
        let rows = decoder.rows
        self = try decoder.checking(element == nil ? "children" : "rows") {
            try TensorTrain(cores, rows: rows, shape: shape, offset: offset)
        }
    }

    func encode(into encoder: inout NodeEncoder) {
        let (n, d, r) = (shape.rows, shape.columns, shape.ranks)
        encoder.set("rows0", n.0)
        encoder.set("rows1", n.1)
        encoder.set("rows2", n.2)
        encoder.set("columns0", d.0)
        encoder.set("columns1", d.1)
        encoder.set("columns2", d.2)
        encoder.set("rank1", r.0)
        encoder.set("rank2", r.1)
        if let element { encoder.set("element", element.rawValue) }
        encoder.set("offset", offset)
        switch cores {
        case .floats(let cores):
            let type = cores.0.type.elementType
            encoder.add("core0", type: type, shape: [n.0, d.0, r.0], bytes: cores.0.bytes)
            encoder.add("core1", type: type, shape: [n.1, r.0, d.1, r.1], bytes: cores.1.bytes)
            encoder.add("core2", type: type, shape: [n.2, r.1, d.2], bytes: cores.2.bytes)
        case .tables(let cores):
            encoder.add("core0", cores.0)
            encoder.add("core1", cores.1)
            encoder.add("core2", cores.2)
        }
    }

    func sliced(_ range: Range<Int>) throws -> any Node {
        try TensorTrain(cores, rows: range.count, shape: shape, offset: offset + range.lowerBound)
    }

    func aligned(to rowAlignment: Int, progress: ProgressCounter) throws -> any Node {
        guard case .tables(let tables) = cores else { return self }
        func aligned(_ node: any Node) throws -> any Node { try node.aligned(to: rowAlignment, progress: progress) }
        return try TensorTrain(
            .tables((try aligned(tables.0), try aligned(tables.1), try aligned(tables.2))), rows: rows, shape: shape,
            offset: offset)
    }

    func discardPages() {
        switch cores {
        case .floats(let cores): for core in [cores.0, cores.1, cores.2] { core.bytes.discardPages() }
        case .tables(let cores): for core in [cores.0, cores.1, cores.2] { core.discardPages() }
        }
    }

    func gather(_ ids: IDBlock, into output: RowBlock, context: LookupContext) {
        switch cores {
        case .floats(let cores):
            TrainRows(shape: shape, cores: (cores.0.places, cores.1.places, cores.2.places))
                .gather(ids, offset: offset, into: output)
        case .tables(let cores):
            TrainRows(
                shape: shape,
                cores: (
                    TableCore(table: cores.0, context: context), TableCore(table: cores.1, context: context),
                    TableCore(table: cores.2, context: context)
                )
            ).gather(ids, offset: offset, into: output)
        }
    }

    func accumulate(_ block: BagBlock, context: LookupContext) { accumulateGathered(block, context: context) }
}
