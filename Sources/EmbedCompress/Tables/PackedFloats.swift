/// Rows of floats whose exponents are packed: every bit of each value comes back.
///
/// A value is a sign, a mantissa of as many bits as all values of the table need (7 for bf16, 10 for f16, 23 for f32), and a
/// code of 1 to 8 bits for its exponent, counted up from the row's lowest one; code 0 is a float's exponent 0, that of zeros.
/// The few values whose exponents are too far below their row's largest are exceptions, which a sparse table holds, and
/// zeros here. Bytes per row: `ceil(dimension * bits / 8)` and a little more where bits are no multiple of 8, 1 for the
/// lowest exponent, and 1 that says whether a row has exceptions if any row of the table has.
///
/// That exponents of weights take few bits is used by DFloat11 (Zhang et al., arXiv 2504.11651) and ZipNN (arXiv 2411.05239),
/// with codes of different lengths; those here have one length, so that any row is found and decoded at once.
public struct PackedFloats: RowStore {
    public static let kind = "packed_floats"

    /// What each row's bytes mean.
    struct Layout {
        static let floatMantissaBits = PackedFloatBits.floatMantissaBits
        static let exponentWidths = 1...8
        /// Of a value: below 9 there are no whole bytes, and 32 are a float's.
        static let valueWidths = 9...31

        let dimension: Int
        let bits: PackedFloatBits
        let spacing: RowSpacing

        /// Where the head is: behind the low bits.
        var headOffset: Int { dimension * bits.lowBytes }

        init(dimension: Int, mantissaBits: Int, exponentBits: Int, marksRows: Bool, rowAlignment: Int = 1) throws {
            guard (1...maximumDimension).contains(dimension) else {
                throw EmbedCompressError.invalidArgument(
                    "a table needs from 1 to \(maximumDimension) columns, not \(dimension)")
            }
            guard (0...Self.floatMantissaBits).contains(mantissaBits), Self.exponentWidths.contains(exponentBits),
                Self.valueWidths.contains(1 + mantissaBits + exponentBits)
            else {
                throw EmbedCompressError.invalidArgument(
                    "packed floats have 0 to 23 bits of mantissa and 1 to 8 of exponent, 8 to 30 together, not "
                        + "\(mantissaBits) and \(exponentBits)")
            }
            self.dimension = dimension
            bits = PackedFloatBits(mantissaBits: mantissaBits, exponentBits: exponentBits, marksRows: marksRows)
            spacing = try RowSpacing(
                unpaddedBytes: dimension * bits.lowBytes + bits.headBytes + (dimension * bits.codeBits + 7) / 8,
                alignment: rowAlignment)
        }
    }

    let layout: Layout
    let memory: RowMemory
    /// The values that are zeros here, in coordinates.
    let exceptions: Sparse?
    private let groups: ColumnGroups

    public var rows: Int { memory.rows }
    public var dimension: Int { layout.dimension }
    public var mantissaBits: Int { layout.bits.mantissaBits }
    /// Of an exponent's code.
    public var exponentBits: Int { layout.bits.exponentBits }
    var spacing: RowSpacing { layout.spacing }
    public var ownBytes: Int { memory.bytes.count }
    public var children: [(name: String, expression: any TableExpression)] {
        exceptions.map { [("exceptions", $0)] } ?? []
    }
    public var summary: String {
        "PackedFloats \(layout.bits.valueBits) bits: sign, \(exponentBits) of exponent, \(mantissaBits) of mantissa"
            + spacing.summary
    }

    init(_ bytes: Bytes, rows: Int, layout: Layout, exceptions: Sparse?) throws {
        if let exceptions {
            guard exceptions.rows == rows, exceptions.dimension == layout.dimension,
                exceptions.layout == .coordinates, layout.bits.marksRows
            else {
                throw EmbedCompressError.invalidArgument(
                    "exceptions of \(rows) x \(layout.dimension) packed floats must be coordinates of as many, not "
                        + "\(exceptions.rows) x \(exceptions.dimension) of \(exceptions.layout.rawValue)")
            }
        }
        self.layout = layout
        self.exceptions = exceptions
        memory = try RowMemory(bytes, rows: rows, rowBytes: layout.spacing.rowBytes)
        groups = ColumnGroups(
            ColumnGroup(
                firstColumn: 0, columns: layout.dimension, offset: 0, parameterOffset: layout.headOffset,
                bits: layout.bits.number))
        try checkLimits()
    }

    init(from decoder: inout NodeDecoder) throws {
        let mantissaBits = try decoder.integer("mantissa_bits", 0...Layout.floatMantissaBits)
        let exponentBits = try decoder.integer("exponent_bits", Layout.exponentWidths)
        let rowAlignment = try decoder.rowAlignment()
        let hasExceptions = decoder.hasChild("exceptions")
        let (rows, dimension) = (decoder.rows, decoder.dimension)
        let layout = try decoder.checking("exponent_bits") {
            try Layout(
                dimension: dimension, mantissaBits: mantissaBits, exponentBits: exponentBits,
                marksRows: hasExceptions, rowAlignment: rowAlignment)
        }
        let bytes = try decoder.tensor("rows", type: .u8, shape: [rows, layout.spacing.rowBytes])
        var exceptions: Sparse?
        if hasExceptions {
            exceptions = try decoder.child("exceptions") as? Sparse
            if exceptions == nil {
                throw EmbedCompressError.format(
                    .invalidField(node: Self.kind, field: "children.exceptions", expected: "a sparse table"))
            }
        }
        self = try decoder.checking("children.exceptions") {
            try PackedFloats(bytes, rows: rows, layout: layout, exceptions: exceptions)
        }
    }

    func encode(into encoder: inout NodeEncoder) {
        encoder.set("mantissa_bits", mantissaBits)
        encoder.set("exponent_bits", exponentBits)
        encoder.set(spacing)
        encoder.add("rows", type: .u8, shape: [rows, spacing.rowBytes], bytes: memory.bytes)
        if let exceptions { encoder.add("exceptions", exceptions) }
    }

    func sliced(_ range: Range<Int>) throws -> any Node {
        try PackedFloats(
            try memory.sliced(range).bytes, rows: range.count, layout: layout,
            exceptions: try exceptions?.sliced(range) as? Sparse)
    }

    func with(_ bytes: Bytes, spacing: RowSpacing) throws -> PackedFloats {
        try PackedFloats(
            bytes, rows: rows,
            layout: Layout(
                dimension: dimension, mantissaBits: mantissaBits, exponentBits: exponentBits,
                marksRows: layout.bits.marksRows, rowAlignment: spacing.alignment),
            exceptions: exceptions)
    }

    func discardPages() {
        memory.bytes.discardPages()
        exceptions?.discardPages()
    }

    // Each row's bits are checked as they are used: any are a row.
    var takesAnyIDs: Bool { true }

    func gather(_ ids: IDBlock, into output: RowBlock, context: LookupContext) {
        switch layout.bits.lowBytes {
        case 1: gather(LowBits8.self, ids, output, context)
        case 2: gather(LowBits16.self, ids, output, context)
        default: gather(LowBits24.self, ids, output, context)
        }
        // Exceptions are added to the zeros that stand for them.
        addExceptions(ids, count: ids.count, output: { output.row($0) }, weight: { _ in 1 }, context)
    }

    func accumulate(_ block: BagBlock, context: LookupContext) {
        switch layout.bits.lowBytes {
        case 1: accumulate(LowBits8.self, block, context)
        case 2: accumulate(LowBits16.self, block, context)
        default: accumulate(LowBits24.self, block, context)
        }
        guard exceptions != nil else { return }
        for index in 0..<block.segmentCount {
            let segment = block.segments[index]
            addExceptions(
                IDBlock(ids: block.ids.ids + segment.start, count: segment.end &- segment.start),
                count: segment.end &- segment.start, output: { _ in segment.output },
                weight: { block.weights[segment.start &+ $0] }, context)
        }
    }

    @inline(__always)
    private func gather<Low: PackedFloatLowBits>(
        _: Low.Type, _ ids: IDBlock, _ output: RowBlock, _ context: LookupContext
    ) {
        RowKernels<PackedFloatRows<Low>, Unscaled>.gather(
            memory.places, groups: groups, shared: nil, ids: ids, into: output, context: context)
    }

    @inline(__always)
    private func accumulate<Low: PackedFloatLowBits>(_: Low.Type, _ block: BagBlock, _ context: LookupContext) {
        RowKernels<PackedFloatRows<Low>, Unscaled>.accumulate(
            memory.places, groups: groups, shared: nil, block, context: context)
    }

    /// Adds the exceptions of those of some rows that are marked, each to an output of its own.
    @inline(__always)
    private func addExceptions(
        _ ids: IDBlock, count: Int, output: (Int) -> UnsafeMutablePointer<Float>, weight: (Int) -> Float,
        _ context: LookupContext
    ) {
        guard let exceptions else { return }
        let (places, mark) = (memory.places, layout.headOffset &+ 1)
        for index in 0..<count {
            // Ids may change: this one is used only.
            let id = ids.ids[index]
            guard id >= 0, id < Int64(places.rows) else { continue }
            let row = Int(truncatingIfNeeded: id)
            if places.row(row).load(fromByteOffset: mark, as: UInt8.self) != 0 {
                exceptions.places.addRow(row, weight: weight(index), to: output(index), context)
            }
        }
    }
}
