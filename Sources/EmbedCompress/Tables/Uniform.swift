/// Rows of `bits`-bit codes with a scale and a bias for the row or for each group of columns: `x = scale * code +
/// bias`.
///
/// A row lies in one piece, so that a lookup touches as few cache lines as its bytes allow: the codes of each group in
/// turn, packed to the bit, then scale and bias of each group. Bytes per row: `ceil(dimension * bits / 8) + groups * 2
/// * (2 or 4)`. With one group, f16 scales and 2, 4 or 8 bits this is FBGEMM's fused row.
///
/// Guan et al., "Post-Training 4-bit Quantization on Embedding Tables", 2019 (arXiv 1911.02079), equation 1.
public struct Uniform: Node {
    public static let kind = "uniform"

    /// Widths of codes.
    public static let bitWidths: [Int] = [1, 2, 3, 4, 5, 6, 7, 8, 16]

    /// How a row is laid out.
    struct Layout: Sendable {
        let dimension: Int
        let bits: Int
        /// Columns that share a scale and a bias: `dimension`, or a multiple of 8. The last group may be shorter.
        let group: Int
        let scaleType: ScaleType
        let groups: [ColumnGroup]
        let rowBytes: Int

        init(dimension: Int, bits: Int, group: Int?, scaleType: ScaleType) throws {
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
            let codeBytes = (dimension * bits + 7) / 8
            self.dimension = dimension
            self.bits = bits
            self.group = width
            self.scaleType = scaleType
            groups = stride(from: 0, to: dimension, by: width).enumerated().map { index, first in
                ColumnGroup(
                    firstColumn: first, columns: min(width, dimension - first), offset: first * bits / 8,
                    scaleOffset: codeBytes + index * 2 * scaleType.byteCount)
            }
            rowBytes = codeBytes + groups.count * 2 * scaleType.byteCount
        }
    }

    let layout: Layout
    let memory: RowMemory

    public var rows: Int { memory.rows }
    public var dimension: Int { layout.dimension }
    public var bits: Int { layout.bits }
    /// Columns that share a scale and a bias.
    public var group: Int { layout.group }
    public var scaleType: ScaleType { layout.scaleType }
    public var ownBytes: Int { memory.bytes.count }
    public var summary: String {
        let scope = group == dimension ? "row" : "\(group) columns"
        return "Uniform \(bits)-bit, \(scaleType.rawValue) scale and bias per \(scope)"
    }

    init(_ bytes: Bytes, rows: Int, layout: Layout) throws {
        self.layout = layout
        memory = try RowMemory(bytes, rows: rows, rowBytes: layout.rowBytes)
    }

    init(from decoder: inout NodeDecoder) throws {
        let bits = try decoder.integer("bits", 1...16)
        let group = try decoder.integer("group", 1...decoder.dimension)
        let scaleType = try decoder.choice("scale", ScaleType.self)
        let layout: Layout
        do {
            layout = try Layout(dimension: decoder.dimension, bits: bits, group: group, scaleType: scaleType)
        } catch EmbedCompressError.invalidArgument(let text) {
            throw EmbedCompressError.format(.invalidField(node: Self.kind, field: "bits or group", expected: text))
        }
        let bytes = try decoder.tensor("rows", type: .u8, shape: [decoder.rows, layout.rowBytes])
        try self.init(bytes, rows: decoder.rows, layout: layout)
    }

    func encode(into encoder: inout NodeEncoder) {
        encoder.set("bits", bits)
        encoder.set("group", group)
        encoder.set("scale", scaleType.rawValue)
        encoder.add("rows", type: .u8, shape: [rows, layout.rowBytes], bytes: memory.bytes)
    }

    func sliced(_ range: Range<Int>) throws -> any Node {
        try Uniform(try memory.sliced(range).bytes, rows: range.count, layout: layout)
    }

    func gather(_ ids: IDBlock, into output: RowBlock, context: LookupContext) {
        scaleType == .float16 ? gather(HalfScaled.self, ids, output) : gather(FloatScaled.self, ids, output)
    }

    func accumulate(_ block: BagBlock, context: LookupContext) {
        scaleType == .float16 ? accumulate(HalfScaled.self, block) : accumulate(FloatScaled.self, block)
    }

    @inline(__always)
    private func gather<Scaling: RowScaling>(_: Scaling.Type, _ ids: IDBlock, _ output: RowBlock) {
        let groups = layout.groups
        switch bits {
        case 1: RowKernels<Codes1, Scaling>.gather(memory, groups: groups, ids: ids, into: output)
        case 2: RowKernels<Codes2, Scaling>.gather(memory, groups: groups, ids: ids, into: output)
        case 3: RowKernels<Codes3, Scaling>.gather(memory, groups: groups, ids: ids, into: output)
        case 4: RowKernels<Codes4, Scaling>.gather(memory, groups: groups, ids: ids, into: output)
        case 5: RowKernels<Codes5, Scaling>.gather(memory, groups: groups, ids: ids, into: output)
        case 6: RowKernels<Codes6, Scaling>.gather(memory, groups: groups, ids: ids, into: output)
        case 7: RowKernels<Codes7, Scaling>.gather(memory, groups: groups, ids: ids, into: output)
        case 8: RowKernels<Codes8, Scaling>.gather(memory, groups: groups, ids: ids, into: output)
        default: RowKernels<Codes16, Scaling>.gather(memory, groups: groups, ids: ids, into: output)
        }
    }

    @inline(__always)
    private func accumulate<Scaling: RowScaling>(_: Scaling.Type, _ block: BagBlock) {
        let groups = layout.groups
        switch bits {
        case 1: RowKernels<Codes1, Scaling>.accumulate(memory, groups: groups, block)
        case 2: RowKernels<Codes2, Scaling>.accumulate(memory, groups: groups, block)
        case 3: RowKernels<Codes3, Scaling>.accumulate(memory, groups: groups, block)
        case 4: RowKernels<Codes4, Scaling>.accumulate(memory, groups: groups, block)
        case 5: RowKernels<Codes5, Scaling>.accumulate(memory, groups: groups, block)
        case 6: RowKernels<Codes6, Scaling>.accumulate(memory, groups: groups, block)
        case 7: RowKernels<Codes7, Scaling>.accumulate(memory, groups: groups, block)
        case 8: RowKernels<Codes8, Scaling>.accumulate(memory, groups: groups, block)
        default: RowKernels<Codes16, Scaling>.accumulate(memory, groups: groups, block)
        }
    }
}
