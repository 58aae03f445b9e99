/// Rows as they are, in f32, f16 or bf16: `dimension * 4` or `* 2` bytes per row, rounded up to a multiple of the
/// alignment if rows are aligned.
public struct Dense: RowStore {
    public static let kind = "dense"

    /// The types of elements.
    public enum Element: String, Sendable, CaseIterable {
        case float32 = "f32"
        case float16 = "f16"
        case bfloat16 = "bf16"

        var type: ElementType {
            switch self {
            case .float32: return .f32
            case .float16: return .f16
            case .bfloat16: return .bf16
            }
        }

        package init?(_ type: ElementType) {
            guard let element = Self.allCases.first(where: { $0.type == type }) else { return nil }
            self = element
        }
    }

    public let element: Element
    public let dimension: Int
    let memory: RowMemory
    let spacing: RowSpacing
    private let groups: ColumnGroups

    public var rows: Int { memory.rows }
    public var ownBytes: Int { memory.bytes.count }
    public var summary: String { "Dense \(element.rawValue)\(spacing.summary)" }

    /// `bytes` holds rows x dimension elements, row after row, with zeros behind each to make up the alignment.
    init(_ bytes: Bytes, element: Element, rows: Int, dimension: Int, rowAlignment: Int = 1) throws {
        guard (1...maximumDimension).contains(dimension), rows >= 0 else {
            throw EmbedCompressError.invalidArgument(
                "a table needs from 1 to \(maximumDimension) columns and no negative number of rows, not \(rows) x \(dimension)"
            )
        }
        spacing = try Self.spacing(dimension: dimension, element: element, rowAlignment: rowAlignment)
        guard Checked.product(rows, spacing.rowBytes) == bytes.count else {
            throw EmbedCompressError.invalidArgument(
                "\(bytes.count) bytes are not \(rows) x \(dimension) values of \(element.rawValue)")
        }
        self.element = element
        self.dimension = dimension
        memory = try RowMemory(bytes, rows: rows, rowBytes: spacing.rowBytes)
        groups = ColumnGroups(ColumnGroup(firstColumn: 0, columns: dimension, offset: 0, parameterOffset: 0))
        try checkLimits()
    }

    static func spacing(dimension: Int, element: Element, rowAlignment: Int) throws -> RowSpacing {
        try RowSpacing(unpaddedBytes: dimension * element.type.byteCount, alignment: rowAlignment)
    }

    /// A copy of `values`, rows x dimension numbers, row after row.
    public init(_ values: [Float], rows: Int, dimension: Int) throws {
        let bytes = try values.withUnsafeBytes { try Bytes(copying: $0) }
        try self.init(bytes, element: .float32, rows: rows, dimension: dimension)
    }

    init(from decoder: inout NodeDecoder) throws {
        let element = try decoder.choice("element", Element.self)
        let rowAlignment = try decoder.rowAlignment()
        let spacing = try Self.spacing(
            dimension: decoder.dimension, element: element, rowAlignment: rowAlignment)
        let bytes = try decoder.tensor(
            "rows", type: element.type, shape: [decoder.rows, spacing.rowBytes / element.type.byteCount])
        try self.init(
            bytes, element: element, rows: decoder.rows, dimension: decoder.dimension, rowAlignment: rowAlignment)
    }

    func encode(into encoder: inout NodeEncoder) {
        encoder.set("element", element.rawValue)
        encoder.set(spacing)
        encoder.add("rows", type: element.type, shape: [rows, rowElements], bytes: memory.bytes)
    }

    /// Elements from the start of one row to the start of the next: padding is whole elements too.
    private var rowElements: Int { spacing.rowBytes / element.type.byteCount }

    func sliced(_ range: Range<Int>) throws -> any Node {
        try Dense(
            try memory.sliced(range).bytes, element: element, rows: range.count, dimension: dimension,
            rowAlignment: spacing.alignment)
    }

    func with(_ bytes: Bytes, spacing: RowSpacing) throws -> Dense {
        try Dense(bytes, element: element, rows: rows, dimension: dimension, rowAlignment: spacing.alignment)
    }

    /// Rows `range` where they are, if they are f32 and whole vectors from any of their columns on can be read.
    ///
    /// - Parameter isChanging: Whether others may write to them meanwhile.
    func floats(_ range: Range<Int>, isChanging: Bool = false) -> FloatBlock? {
        let bytes = memory.bytes
        let last = (range.upperBound * rowElements + 15) * MemoryLayout<Float>.size
        let start = bytes.pointer + range.lowerBound * memory.rowBytes
        guard element == .float32, isChanging || !bytes.storage.mayChange, last <= bytes.readableCount,
            UInt(bitPattern: start) % UInt(MemoryLayout<Float>.alignment) == 0
        else { return nil }
        return FloatBlock(
            base: start.assumingMemoryBound(to: Float.self), stride: rowElements,
            isChanging: bytes.storage.mayChange)
    }

    /// Floats from one row to the next, if rows are f32.
    var floatStride: Int? { element == .float32 ? rowElements : nil }

    /// Copies rows `range`, with their padding, if they are f32.
    func copyFloats(_ range: Range<Int>, to target: UnsafeMutablePointer<Float>) {
        guard element == .float32 else { return }
        UnsafeMutableRawPointer(target).copyMemory(
            from: memory.bytes.pointer + range.lowerBound * memory.rowBytes,
            byteCount: range.count * memory.rowBytes)
    }

    var takesAnyIDs: Bool { true }

    func gather(_ ids: IDBlock, into output: RowBlock, context: LookupContext) {
        switch element {
        case .float32: gather(FloatRows.self, ids, output, context)
        case .float16: gather(HalfRows.self, ids, output, context)
        case .bfloat16: gather(BrainFloatRows.self, ids, output, context)
        }
    }

    func accumulate(_ block: BagBlock, context: LookupContext) {
        switch element {
        case .float32: accumulate(FloatRows.self, block, context)
        case .float16: accumulate(HalfRows.self, block, context)
        case .bfloat16: accumulate(BrainFloatRows.self, block, context)
        }
    }

    var longestShortBag: Int { blockCapacity }

    func writeSums(of bags: ShortBags) -> Int {
        let group = groups[0]
        switch element {
        case .float32: return ShortSums<FloatRows, Unscaled>.write(bags, of: memory.places, group)
        case .float16: return ShortSums<HalfRows, Unscaled>.write(bags, of: memory.places, group)
        case .bfloat16: return ShortSums<BrainFloatRows, Unscaled>.write(bags, of: memory.places, group)
        }
    }

    @inline(__always)
    private func gather<Format: RowFormat>(
        _: Format.Type, _ ids: IDBlock, _ output: RowBlock, _ context: LookupContext
    ) {
        RowKernels<Format, Unscaled>.gather(
            memory.places, groups: groups, shared: nil, ids: ids, into: output, context: context)
    }

    @inline(__always)
    private func accumulate<Format: RowFormat>(_: Format.Type, _ block: BagBlock, _ context: LookupContext) {
        RowKernels<Format, Unscaled>.accumulate(memory.places, groups: groups, shared: nil, block, context: context)
    }
}
