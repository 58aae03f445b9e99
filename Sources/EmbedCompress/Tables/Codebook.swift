/// Rows of `bits`-bit codes into a codebook of `2^bits` numbers: of the row itself, of a cluster of rows, or of the
/// table.
///
/// A row lies in one piece: its codes, packed to the bit, and then its own entries, or the index of its cluster in the
/// fewest whole bytes that hold every index, or nothing. Bytes per row: `ceil(dimension * bits / 8)`, and `2^bits * (2
/// or 4)` of entries or 1 to 4 of index. Codebooks that rows share take `clusters * 2^bits * (2 or 4)` bytes beside
/// them. Rows of the table's codebook may have a scale of their own after their codes, 2 or 4 bytes, which their entries
/// are multiplied by. Rows may be aligned: their bytes are then rounded up to a multiple of the alignment. Codebooks of up to 16
/// entries are held in registers while a row is decoded; larger ones are read entry by entry.
///
/// Guan et al., "Post-Training 4-bit Quantization on Embedding Tables", 2019 (arXiv 1911.02079): KMEANS has the row's
/// codebook, KMEANS-CLS that of a cluster.
public struct Codebook: RowStore {
    public static let kind = "codebook"

    /// Widths of codes.
    public static let bitWidths: [Int] = [1, 2, 3, 4, 5, 6, 7, 8]
    /// Most codebooks of a table: what four bytes of index can tell apart.
    static let maximumClusters = 1 << 32

    /// Whose codebook decodes a row.
    public enum Scope: String, Sendable, CaseIterable {
        case row, cluster, table
    }

    /// How rows are laid out.
    struct Layout: Sendable {
        let dimension: Int
        let bits: Int
        let entryType: ScaleType
        let scope: Scope
        /// Codebooks that rows share; 0 where each row has its own.
        let clusters: Int
        /// The type of the scale that each row has, which is that of the entries; nil for none.
        let rowScale: ScaleType?
        let codeBytes: Int
        /// Bytes of the index of a row's cluster.
        let indexBytes: Int
        let spacing: RowSpacing

        var rowBytes: Int { spacing.rowBytes }

        /// - Parameter clusters: For the scope `cluster` only.
        init(
            dimension: Int, bits: Int, entryType: ScaleType, scope: Scope, clusters: Int? = nil,
            rowScale: ScaleType? = nil, rowAlignment: Int = 1
        ) throws {
            guard (1...maximumDimension).contains(dimension) else {
                throw EmbedCompressError.invalidArgument(
                    "a table needs from 1 to \(maximumDimension) columns, not \(dimension)")
            }
            guard Codebook.bitWidths.contains(bits) else {
                throw EmbedCompressError.invalidArgument("bits must be 1 to 8, not \(bits)")
            }
            switch (scope, clusters) {
            case (.row, nil): self.clusters = 0
            case (.table, nil): self.clusters = 1
            case (.cluster, let count?) where (1...Codebook.maximumClusters).contains(count): self.clusters = count
            default:
                throw EmbedCompressError.invalidArgument(
                    "clusters must be from 1 to \(Codebook.maximumClusters) with the scope 'cluster' and not given with "
                        + "another, not \(clusters.map(String.init) ?? "none") with '\(scope.rawValue)'")
            }
            guard rowScale == nil || (scope == .table && rowScale == entryType) else {
                throw EmbedCompressError.invalidArgument(
                    "scales of rows go with the scope 'table' and have the type of the entries, \(entryType.rawValue)")
            }
            self.dimension = dimension
            self.bits = bits
            self.entryType = entryType
            self.scope = scope
            self.rowScale = rowScale
            codeBytes = (dimension * bits + 7) / 8
            indexBytes = scope == .cluster ? Self.indexBytes(clusters: self.clusters) : 0
            spacing = try RowSpacing(
                unpaddedBytes: codeBytes + indexBytes + (scope == .row ? entryType.byteCount << bits : 0)
                    + (rowScale?.byteCount ?? 0),
                alignment: rowAlignment)
        }

        /// Bytes of so many rows, and of the codebooks that they share; nil if they are too many to count.
        func byteCount(rows: Int) -> Int? {
            Checked.sum(of: [Checked.product(rows, rowBytes), Checked.product(clusters, bookBytes)])
        }

        /// The fewest bytes that hold every index below `clusters`.
        static func indexBytes(clusters: Int) -> Int {
            var bytes = 1
            while bytes < 4, (clusters - 1) >> (8 * bytes) > 0 { bytes += 1 }
            return bytes
        }

        /// Bytes of one codebook.
        var bookBytes: Int { entryType.byteCount << bits }
        var entryCount: Int { 1 << bits }
    }

    let layout: Layout
    let memory: RowMemory
    /// The codebooks that rows share; nil where each has its own.
    let shared: SharedParameters?
    let groups: ColumnGroups

    public var rows: Int { memory.rows }
    public var dimension: Int { layout.dimension }
    public var bits: Int { layout.bits }
    /// The type of a codebook's entries.
    public var entryType: ScaleType { layout.entryType }
    public var scope: Scope { layout.scope }
    /// Codebooks that rows share; 0 where each has its own.
    public var clusters: Int { layout.clusters }
    /// The type of the scale that each row has; nil for none.
    public var rowScale: ScaleType? { layout.rowScale }
    var spacing: RowSpacing { layout.spacing }
    public var ownBytes: Int { memory.bytes.count + (shared?.memory.bytes.count ?? 0) }
    public var summary: String {
        let owner: String
        switch scope {
        case .row: owner = "per row"
        case .cluster: owner = "for each of \(clusters.grouped) clusters"
        case .table: owner = "per table"
        }
        let scale = rowScale.map { ", \($0.rawValue) scale per row" } ?? ""
        return
            "Codebook \(bits)-bit, \(layout.entryCount) \(entryType.rawValue) entries \(owner)\(scale)\(spacing.summary)"
    }

    /// - Parameter codebooks: Those that rows share, one after the other; nil where each has its own.
    init(_ bytes: Bytes, rows: Int, layout: Layout, codebooks: Bytes? = nil) throws {
        guard (codebooks == nil) == (layout.scope == .row),
            codebooks.map({ $0.count == Checked.product(layout.clusters, layout.bookBytes) }) ?? true
        else {
            throw EmbedCompressError.invalidArgument(
                "\(layout.clusters) shared codebooks need as many times \(layout.bookBytes) bytes, not "
                    + "\(codebooks?.count ?? 0)")
        }
        self.layout = layout
        memory = try RowMemory(bytes, rows: rows, rowBytes: layout.rowBytes)
        shared = try codebooks.map {
            SharedParameters(
                memory: try RowMemory($0, rows: layout.clusters, rowBytes: layout.bookBytes),
                index: layout.scope == .cluster ? (offset: layout.codeBytes, bytes: layout.indexBytes) : nil)
        }
        let bookOffset = layout.scope == .row ? layout.codeBytes : 0
        groups = ColumnGroups(
            ColumnGroup(
                firstColumn: 0, columns: layout.dimension, offset: 0, parameterOffset: bookOffset, bits: layout.bits,
                scaleOffset: layout.codeBytes))
        try checkLimits()
    }

    init(from decoder: inout NodeDecoder) throws {
        let bits = try decoder.integer("bits", 1...8)
        let entryType = try decoder.choice("entries", ScaleType.self)
        let scope = try decoder.choice("scope", Scope.self)
        let clusters = scope == .cluster ? try decoder.integer("clusters", 1...Self.maximumClusters) : nil
        let rowScale = scope == .table ? try decoder.optionalChoice("row_scale", ScaleType.self) : nil
        guard rowScale == nil || rowScale == entryType else {
            throw EmbedCompressError.format(
                .invalidField(node: Self.kind, field: "row_scale", expected: "'\(entryType.rawValue)', as entries"))
        }
        let layout = try Layout(
            dimension: decoder.dimension, bits: bits, entryType: entryType, scope: scope, clusters: clusters,
            rowScale: rowScale, rowAlignment: try decoder.rowAlignment())
        let bytes = try decoder.tensor("rows", type: .u8, shape: [decoder.rows, layout.rowBytes])
        let codebooks =
            scope == .row
            ? nil
            : try decoder.tensor(
                "codebooks", type: entryType.elementType, shape: [layout.clusters, layout.entryCount])
        try self.init(bytes, rows: decoder.rows, layout: layout, codebooks: codebooks)
    }

    func encode(into encoder: inout NodeEncoder) {
        encoder.set("bits", bits)
        encoder.set("entries", entryType.rawValue)
        encoder.set("scope", scope.rawValue)
        if scope == .cluster { encoder.set("clusters", clusters) }
        if let rowScale { encoder.set("row_scale", rowScale.rawValue) }
        encoder.set(spacing)
        encoder.add("rows", type: .u8, shape: [rows, layout.rowBytes], bytes: memory.bytes)
        if let shared {
            encoder.add(
                "codebooks", type: entryType.elementType, shape: [clusters, layout.entryCount],
                bytes: shared.memory.bytes)
        }
    }

    func sliced(_ range: Range<Int>) throws -> any Node {
        try Codebook(
            try memory.sliced(range).bytes, rows: range.count, layout: layout, codebooks: shared?.memory.bytes)
    }

    func with(_ bytes: Bytes, spacing: RowSpacing) throws -> Codebook {
        let layout = try Layout(
            dimension: dimension, bits: bits, entryType: entryType, scope: scope,
            clusters: scope == .cluster ? clusters : nil, rowScale: rowScale, rowAlignment: spacing.alignment)
        return try Codebook(bytes, rows: rows, layout: layout, codebooks: shared?.memory.bytes)
    }

    var takesAnyIDs: Bool { shared == nil }

    func gather(_ ids: IDBlock, into output: RowBlock, context: LookupContext) {
        switch (entryType, rowScale == nil) {
        case (.float16, true): gather(HalfEntries.self, Unscaled.self, ids, output, context)
        case (.float32, true): gather(FloatEntries.self, Unscaled.self, ids, output, context)
        case (.float16, false): gather(HalfEntries.self, HalfRowScaled.self, ids, output, context)
        case (.float32, false): gather(FloatEntries.self, FloatRowScaled.self, ids, output, context)
        }
    }

    func accumulate(_ block: BagBlock, context: LookupContext) {
        switch (entryType, rowScale == nil) {
        case (.float16, true): accumulate(HalfEntries.self, Unscaled.self, block, context)
        case (.float32, true): accumulate(FloatEntries.self, Unscaled.self, block, context)
        case (.float16, false): accumulate(HalfEntries.self, HalfRowScaled.self, block, context)
        case (.float32, false): accumulate(FloatEntries.self, FloatRowScaled.self, block, context)
        }
    }

    @inline(__always)
    private func gather<Entries: EntryFormat, Scaling: RowScaling>(
        _: Entries.Type, _: Scaling.Type, _ ids: IDBlock, _ output: RowBlock, _ context: LookupContext
    ) {
        @inline(__always)
        func gather<Format: RowFormat>(_: Format.Type) {
            RowKernels<Format, Scaling>.gather(
                memory.places, groups: groups, shared: shared, ids: ids, into: output, context: context)
        }
        switch bits {
        case 1: gather(RegisterBook<Codes1, Entries>.self)
        case 2: gather(RegisterBook<Codes2, Entries>.self)
        case 3: gather(RegisterBook<Codes3, Entries>.self)
        case 4: gather(RegisterBook<Codes4, Entries>.self)
        default: gather(MemoryBook<Entries>.self)
        }
    }

    @inline(__always)
    private func accumulate<Entries: EntryFormat, Scaling: RowScaling>(
        _: Entries.Type, _: Scaling.Type, _ block: BagBlock, _ context: LookupContext
    ) {
        @inline(__always)
        func accumulate<Format: RowFormat>(_: Format.Type) {
            RowKernels<Format, Scaling>.accumulate(
                memory.places, groups: groups, shared: shared, block, context: context)
        }
        switch bits {
        case 1: accumulate(RegisterBook<Codes1, Entries>.self)
        case 2: accumulate(RegisterBook<Codes2, Entries>.self)
        case 3: accumulate(RegisterBook<Codes3, Entries>.self)
        case 4: accumulate(RegisterBook<Codes4, Entries>.self)
        default: accumulate(MemoryBook<Entries>.self)
        }
    }
}
