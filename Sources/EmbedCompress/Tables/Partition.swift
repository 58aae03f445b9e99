/// Each id belongs to one of several inner tables, of the same dimension: by ranges of ids, or by assignment.
///
/// By ranges, each table has the next ids, as many as its rows, and nothing is stored. By assignment, an id's row in its
/// table is its rank among the table's ids; own bytes: `ceil(log2(tables))` bits for each id, and 1/16 bit for each id and
/// table (see ``PartRanks``). Hot rows at more bits than the tail, MGQE (Kang et al. 2020, arXiv 2002.08530) and MagPQ are
/// partitions. A block of ids is sorted by table, so that each is called once.
public struct Partition: Node {
    public static let kind = "partition"
    /// Work and memory of a block grow with the tables.
    static let maximumParts = 4096

    enum Basis: String, CaseIterable {
        case ranges, assignment
    }

    let parts: [any Node]
    let ranks: PartRanks?
    /// Where each part's ids begin, and the last one's end, if parts are ranges.
    private let starts: [Int64]
    public let rows: Int
    public let dimension: Int

    public var ownBytes: Int { ranks?.bytes.count ?? 0 }
    public var summary: String {
        "Partition in \(parts.count) by \(ranks == nil ? "ranges of ids" : "assignment")"
    }
    public var children: [(name: String, expression: any TableExpression)] {
        parts.enumerated().map { (String($0), $1) }
    }

    /// Tables of consecutive ids.
    ///
    /// - Parameter tables: One to 4096, of the same dimension.
    public init(_ tables: [Table]) throws { try self.init(tables.map(\.root), ranks: nil) }

    /// - Parameter assignment: For each id, which table it is a row of: the next one that no id before it has.
    public init(_ tables: [Table], assignment: [Int]) throws {
        self = try assignment.withUnsafeBufferPointer {
            try Partition(tables.map(\.root), assignment: IntegerArray($0))
        }
    }

    /// The assignment is copied before it is used, so that nobody changes what has been checked.

    init(_ parts: [any Node], assignment: IntegerArray) throws {
        try Self.checkCount(parts.count)
        try PartRanks.checkRows(assignment.count)
        let checked = try Buffer<UInt16>(count: assignment.count)
        var counts = [Int](repeating: 0, count: parts.count)
        for id in 0..<assignment.count {
            let part = assignment[id]
            guard parts.indices.contains(part) else {
                throw EmbedCompressError.invalidArgument(
                    "id \(id) is assigned to table \(part), but there are \(parts.count) tables")
            }
            counts[part] += 1
            checked[id] = UInt16(part)
        }
        for (index, table) in parts.enumerated() where counts[index] != table.rows {
            throw EmbedCompressError.invalidArgument(
                "\(counts[index]) ids are assigned to table \(index), which has \(table.rows) rows")
        }
        try self.init(parts, ranks: PartRanks(checked, parts: parts.count))
    }

    static func checkCount(_ count: Int) throws {
        guard (1...maximumParts).contains(count) else {
            throw EmbedCompressError.invalidArgument("a partition has 1 to \(maximumParts) tables, not \(count)")
        }
    }

    init(_ parts: [any Node], ranks: PartRanks?) throws {
        try Self.checkCount(parts.count)
        dimension = parts.first?.dimension ?? 0
        for (index, part) in parts.enumerated() where part.dimension != dimension {
            throw EmbedCompressError.invalidArgument(
                "table \(index) has \(part.dimension) columns, but the first one has \(dimension)")
        }
        var (starts, end): ([Int64], Int) = ([0], 0)
        for part in parts {
            end += part.rows
            starts.append(Int64(end))
        }
        if let ranks, ranks.rows != end {
            throw EmbedCompressError.invalidArgument(
                "\(ranks.rows) ids are assigned to tables that have \(end) rows together")
        }
        rows = end
        (self.parts, self.ranks, self.starts) = (parts, ranks, starts)
        try checkLimits()
    }

    init(from decoder: inout NodeDecoder) throws {
        let basis = try decoder.choice("by", Basis.self)
        let parts = try decoder.numberedChildren()
        var ranks: PartRanks?
        if basis == .assignment {
            let offset = try decoder.integer("offset", 0...PartRanks.blockIDs - 1)
            guard parts.count <= Self.maximumParts, decoder.rows <= PartRanks.maximumRows else {
                throw EmbedCompressError.format(
                    .invalidField(
                        node: Self.kind, field: "children",
                        expected: "at most \(Self.maximumParts), and rows at most \(PartRanks.maximumRows)"))
            }
            let bytes = try decoder.tensor(
                "ranks", type: .u8,
                shape: [PartRanks.blocks(offset + decoder.rows), PartRanks.blockBytes(parts: parts.count)])
            ranks = PartRanks(bytes, parts: parts.count, rows: decoder.rows, offset: offset)
        }
        self = try decoder.checked { try Partition(parts, ranks: ranks) }
    }

    func encode(into encoder: inout NodeEncoder) {
        encoder.set("by", (ranks == nil ? Basis.ranges : .assignment).rawValue)
        if let ranks {
            encoder.set("offset", ranks.offset)
            encoder.add(
                "ranks", type: .u8,
                shape: [PartRanks.blocks(ranks.offset + rows), PartRanks.blockBytes(parts: parts.count)],
                bytes: ranks.bytes)
        }
        for (index, part) in parts.enumerated() { encoder.add(String(index), part) }
    }

    func sliced(_ range: Range<Int>) throws -> any Node {
        if let ranks {
            let last = max(range.upperBound - 1, 0)
            let sliced = try parts.enumerated().map { index, part in
                let first = ranks.count(of: index, before: range.lowerBound)
                let end = range.isEmpty ? first : ranks.count(of: index, before: range.upperBound)
                guard first >= 0, first <= end, end <= part.rows else {
                    throw EmbedCompressError.format(.badRank(row: last, rank: end, rows: part.rows))
                }
                return try part.sliced(first..<end)
            }
            // Counts that are wrong may still rise from block to block.
            let count = sliced.reduce(0) { $0 + $1.rows }
            guard count == range.count else {
                let reason = "\(range.count) ids are assigned to \(count) rows of a partition's tables"
                throw EmbedCompressError.format(.invalidParts(kind: Self.kind, reason: reason))
            }
            return try Partition(sliced, ranks: try ranks.sliced(range))
        }
        var kept: [any Node] = []
        for (index, part) in parts.enumerated() {
            let start = Int(starts[index])
            let overlap = range.clamped(to: start..<start + part.rows)
            if !overlap.isEmpty {
                kept.append(try part.sliced(overlap.lowerBound - start..<overlap.upperBound - start))
            }
        }
        if kept.isEmpty, let first = parts.first { kept.append(try first.sliced(0..<0)) }
        return try Partition(kept, ranks: nil)
    }

    func aligned(to rowAlignment: Int, progress: ProgressCounter) throws -> any Node {
        try Partition(try parts.map { try $0.aligned(to: rowAlignment, progress: progress) }, ranks: ranks)
    }

    var ownScratchBytes: Int {
        blockScratchBytes + tileBytes(dimension: dimension) + parts.count * MemoryLayout<Int32>.size
    }

    func gather(_ ids: IDBlock, into output: RowBlock, context: LookupContext) {
        withPartedIDs(ids, context) { $0.gather(from: parts, into: output, columns: dimension, context: context) }
    }

    func accumulate(_ block: BagBlock, context: LookupContext) {
        withPartedIDs(block.ids, context) {
            $0.accumulate(block, from: parts, columns: dimension, context: context)
        }
    }

    private func withPartedIDs(_ ids: IDBlock, _ context: LookupContext, _ body: (PartedIDs) -> Void) {
        PartedIDs.with(ids.count, partCount: parts.count) { parted in
            if let ranks { assign(ids, to: parted, ranks, context) } else { divide(ids, to: parted) }
            parted.sort()
            body(parted)
        }
    }

    private func divide(_ ids: IDBlock, to parted: PartedIDs) {
        starts.withUnsafeBufferPointer { starts in
            for index in 0..<ids.count {
                let id = ids.ids[index]
                parted.parts[index] = -1
                if id < 0 { continue }
                // The last part that begins at the id or before it; parts without rows begin where the next one does.
                var (low, high) = (0, parts.count)
                while high &- low > 1 {
                    let middle = (low &+ high) &>> 1
                    if starts[middle] <= id { low = middle } else { high = middle }
                }
                parted.parts[index] = Int32(truncatingIfNeeded: low)
                parted.rows[index] = id &- starts[low]
            }
        }
    }

    /// Ranks may come from a file that nobody has read through: each is checked here.
    private func assign(_ ids: IDBlock, to parted: PartedIDs, _ ranks: PartRanks, _ context: LookupContext) {
        let reader = PartRanks.Reader(base: ranks.bytes.pointer, parts: parts.count, offset: ranks.offset)
        starts.withUnsafeBufferPointer { starts in
            ranks.firstRanks.withUnsafeBufferPointer { firstRanks in
                for index in 0..<ids.count {
                    let id = Int(truncatingIfNeeded: ids.ids[index])
                    parted.parts[index] = -1
                    if id < 0 { continue }
                    let part = reader.part(id)
                    guard part < parts.count else {
                        context.recordBadPart(row: id, part: part, parts: parts.count)
                        continue
                    }
                    let row = reader.rank(id, part: part) &- firstRanks[part]
                    let partRows = Int(starts[part &+ 1] &- starts[part])
                    guard row >= 0, row < partRows else {
                        context.recordBadRank(row: id, rank: row, rows: partRows)
                        continue
                    }
                    parted.parts[index] = Int32(truncatingIfNeeded: part)
                    parted.rows[index] = Int64(row)
                }
            }
        }
    }
}
