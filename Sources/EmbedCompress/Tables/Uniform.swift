/// Rows of `bits`-bit codes with a scale and a bias for the row, for each group of its columns, or for the whole table:
/// `x = scale * code + bias`.
///
/// A row lies in one piece, so that a lookup touches as few cache lines as its bytes allow: the codes of each group in
/// turn, packed to the bit, then scale and bias of each group. Bytes per row: `ceil(dimension * bits / 8) + groups * 2
/// * (2 or 4)`. With one group, f16 scales and 2, 4 or 8 bits this is FBGEMM's fused row. Where the table shares one
/// scale and bias, rows hold codes only, and the table has 8 bytes beside them. Rows may be aligned: their bytes are then
/// rounded up to a multiple of the alignment.
///
/// Guan et al., "Post-Training 4-bit Quantization on Embedding Tables", 2019 (arXiv 1911.02079), equation 1.
public struct Uniform: RowStore {
    public static let kind = "uniform"

    /// Widths of codes.
    public static let bitWidths: [Int] = [1, 2, 3, 4, 5, 6, 7, 8, 16]

    /// What shares a scale and a bias.
    public enum Scope: String, Sendable, CaseIterable {
        /// A row, or each group of its columns.
        case row
        /// The whole table; in f32.
        case table
    }

    /// How a row is laid out.
    struct Layout: Sendable {
        let dimension: Int
        let bits: Int
        /// Columns that share a scale and a bias: `dimension`, or a multiple of 8. The last group may be shorter.
        let group: Int
        let scaleType: ScaleType
        let scope: Scope
        let groups: ColumnGroups
        let spacing: RowSpacing

        var rowBytes: Int { spacing.rowBytes }

        init(
            dimension: Int, bits: Int, group: Int?, scaleType: ScaleType, scope: Scope = .row, rowAlignment: Int = 1
        ) throws {
            guard (1...maximumDimension).contains(dimension) else {
                throw EmbedCompressError.invalidArgument(
                    "a table needs from 1 to \(maximumDimension) columns, not \(dimension)")
            }
            guard Uniform.bitWidths.contains(bits) else {
                throw EmbedCompressError.invalidArgument("bits must be 1 to 8, or 16, not \(bits)")
            }
            if let group, group != dimension, group < 8 || group % 8 != 0 {
                throw EmbedCompressError.invalidArgument(
                    "group must be a multiple of 8 columns, or the whole row of \(dimension), not \(group)")
            }
            let width = min(group ?? dimension, dimension)
            guard scope == .row || (width == dimension && scaleType == .float32) else {
                throw EmbedCompressError.invalidArgument(
                    "one scale and bias for the table are f32 and go with a group of the whole row, not \(scaleType.rawValue) "
                        + "and \(width) of \(dimension) columns")
            }
            let codeBytes = (dimension * bits + 7) / 8
            self.dimension = dimension
            self.bits = bits
            self.group = width
            self.scaleType = scaleType
            self.scope = scope
            groups = ColumnGroups(
                dimension: dimension, width: width, bits: bits, parameterOffset: scope == .table ? 0 : codeBytes,
                parameterStep: scope == .table ? 0 : 2 * scaleType.byteCount)
            let parameterBytes = scope == .table ? 0 : groups.count * 2 * scaleType.byteCount
            spacing = try RowSpacing(unpaddedBytes: codeBytes + parameterBytes, alignment: rowAlignment)
        }

        /// Bytes of so many rows, and of the table's scale and bias; nil if they are too many to count.
        func byteCount(rows: Int) -> Int? {
            Checked.sum(of: [Checked.product(rows, rowBytes), scope == .table ? Uniform.parameterBytes : 0])
        }
    }

    let layout: Layout
    let memory: RowMemory
    /// The table's scale and bias; nil where rows have theirs.
    let shared: SharedParameters?

    public var rows: Int { memory.rows }
    public var dimension: Int { layout.dimension }
    public var bits: Int { layout.bits }
    /// Columns that share a scale and a bias.
    public var group: Int { layout.group }
    public var scaleType: ScaleType { layout.scaleType }
    public var scope: Scope { layout.scope }
    var spacing: RowSpacing { layout.spacing }
    public var ownBytes: Int { memory.bytes.count + (shared?.memory.bytes.count ?? 0) }
    public var summary: String {
        let owner = scope == .table ? "table" : group == dimension ? "row" : "\(group) columns"
        return "Uniform \(bits)-bit, \(scaleType.rawValue) scale and bias per \(owner)\(spacing.summary)"
    }

    /// - Parameter parameters: The table's scale and bias, two f32, where the layout says that it shares them.
    init(_ bytes: Bytes, rows: Int, layout: Layout, parameters: Bytes? = nil) throws {
        guard (parameters?.count ?? 0) == (layout.scope == .table ? Self.parameterBytes : 0) else {
            throw EmbedCompressError.invalidArgument(
                "a scale and a bias of the table, two f32, go with the scope 'table' and with no other")
        }
        self.layout = layout
        memory = try RowMemory(bytes, rows: rows, rowBytes: layout.rowBytes)
        shared = try parameters.map {
            SharedParameters(memory: try RowMemory($0, rows: 1, rowBytes: Self.parameterBytes), index: nil)
        }
        try checkLimits()
    }

    static let parameterBytes = 2 * ScaleType.float32.byteCount

    init(from decoder: inout NodeDecoder) throws {
        let bits = try decoder.integer("bits", 1...16)
        let group = try decoder.integer("group", 1...decoder.dimension)
        let scaleType = try decoder.choice("scale", ScaleType.self)
        let scope = try decoder.choice("scope", Scope.self, default: .row)
        let rowAlignment = try decoder.rowAlignment()
        let layout: Layout
        do {
            layout = try Layout(
                dimension: decoder.dimension, bits: bits, group: group, scaleType: scaleType, scope: scope,
                rowAlignment: rowAlignment)
        } catch EmbedCompressError.invalidArgument(let text) {
            let fields = scope == .table ? "scope" : "bits or group"
            throw EmbedCompressError.format(.invalidField(node: Self.kind, field: fields, expected: text))
        }
        let bytes = try decoder.tensor("rows", type: .u8, shape: [decoder.rows, layout.rowBytes])
        let parameters = scope == .table ? try decoder.tensor("parameters", type: .f32, shape: [2]) : nil
        try self.init(bytes, rows: decoder.rows, layout: layout, parameters: parameters)
    }

    func encode(into encoder: inout NodeEncoder) {
        encoder.set("bits", bits)
        encoder.set("group", group)
        encoder.set("scale", scaleType.rawValue)
        // A file without the field means the row.
        if scope != .row { encoder.set("scope", scope.rawValue) }
        encoder.set(spacing)
        encoder.add("rows", type: .u8, shape: [rows, layout.rowBytes], bytes: memory.bytes)
        if let shared { encoder.add("parameters", type: .f32, shape: [2], bytes: shared.memory.bytes) }
    }

    func sliced(_ range: Range<Int>) throws -> any Node {
        try Uniform(
            try memory.sliced(range).bytes, rows: range.count, layout: layout, parameters: shared?.memory.bytes)
    }

    func with(_ bytes: Bytes, spacing: RowSpacing) throws -> Uniform {
        let layout = try Layout(
            dimension: dimension, bits: bits, group: group, scaleType: scaleType, scope: scope,
            rowAlignment: spacing.alignment)
        return try Uniform(bytes, rows: rows, layout: layout, parameters: shared?.memory.bytes)
    }

    var takesAnyIDs: Bool { shared == nil }

    func gather(_ ids: IDBlock, into output: RowBlock, context: LookupContext) {
        scaleType == .float16
            ? gather(HalfScaled.self, ids, output, context) : gather(FloatScaled.self, ids, output, context)
    }

    @inline(__always)
    private func gather<Scaling: RowScaling>(
        _: Scaling.Type, _ ids: IDBlock, _ output: RowBlock, _ context: LookupContext
    ) {
        @inline(__always)
        func gather<Format: CodeFormat>(_: Format.Type) {
            RowKernels<Format, Scaling>.gather(
                memory.places, groups: layout.groups, shared: shared, ids: ids, into: output, context: context)
        }
        switch bits {
        case 1: gather(Codes1.self)
        case 2: gather(Codes2.self)
        case 3: gather(Codes3.self)
        case 4: gather(Codes4.self)
        case 5: gather(Codes5.self)
        case 6: gather(Codes6.self)
        case 7: gather(Codes7.self)
        case 8: gather(Codes8.self)
        default: gather(Codes16.self)
        }
    }
}
