/// Rows of zeros but for some columns: those columns, in the fewest bytes that hold every one, and their values.
///
/// Compressed rows (CSR) say where each row's non-zeros begin; coordinates (COO) have the row of each non-zero, in
/// ascending order, and are smaller where most rows are empty. Bytes of z non-zeros: `z * (c + v) + p * (rows + 1)` or
/// `z * (c + v + p)`, with c of 1, 2 or 4 for a column (dimension up to 256, 65,536 or more), v of 2 or 4 for a value and
/// p of 4 or 8 for a row pointer or a row.
public struct Sparse: Node {
    public static let kind = "sparse"

    /// How the rows of non-zeros are told.
    public enum Layout: String, Sendable, CaseIterable {
        case compressedRows = "csr"
        case coordinates = "coo"
    }

    /// The type of row pointers and rows.
    enum IndexType: String, Sendable, CaseIterable {
        case u32, u64

        var elementType: ElementType { self == .u32 ? .u32 : .u64 }
        var byteCount: Int { self == .u32 ? 4 : 8 }
        /// The fewest bytes that hold `largest`.
        init(for largest: Int) { self = largest <= Int(UInt32.max) ? .u32 : .u64 }
    }

    public let rows: Int
    public let dimension: Int
    public let layout: Layout
    /// The type of values.
    public let element: ScaleType
    let indexType: IndexType
    /// What row 0 has for its pointer or its id; not 0 in slices.
    let first: Int
    private let index: Bytes
    private let columns: Bytes
    private let values: NumberArray

    /// Non-zeros, or values that are stored as such.
    public var nonzeros: Int { values.count }
    public var ownBytes: Int { index.count + columns.count + values.bytes.count }
    public var summary: String {
        let name = layout == .compressedRows ? "CSR" : "COO"
        return "Sparse \(name), \(nonzeros.grouped) non-zeros in \(element.rawValue), columns in "
            + "\(Self.columnBytes(dimension: dimension)) bytes"
    }

    /// Bytes of a column's index.
    static func columnBytes(dimension: Int) -> Int { dimension <= 256 ? 1 : dimension <= 65_536 ? 2 : 4 }

    /// The most non-zeros of a row, values of the same column counted each: what a lookup of one id can cost.
    static func longestRow(dimension: Int) -> Int { max(dimension, 65_536) }

    private static func columnType(dimension: Int) -> ElementType {
        [1: ElementType.u8, 2: .u16][columnBytes(dimension: dimension)] ?? .u32
    }

    /// Bytes of so many non-zeros; nil if they are too many to count.
    ///
    /// - Parameter indexType: nil for the fewest bytes; slices may have more.
    static func bytes(
        nonzeros: Int, rows: Int, dimension: Int, layout: Layout, element: ScaleType, indexType: IndexType? = nil
    ) -> Int? {
        let entry = columnBytes(dimension: dimension) + element.byteCount
        switch layout {
        case .compressedRows:
            guard let pointers = Checked.sum(rows, 1), let entries = Checked.product(nonzeros, entry),
                let all = Checked.product(pointers, (indexType ?? IndexType(for: nonzeros)).byteCount)
            else { return nil }
            return Checked.sum(entries, all)
        case .coordinates:
            return Checked.product(nonzeros, entry + (indexType ?? IndexType(for: rows)).byteCount)
        }
    }

    /// The layout of fewer bytes.
    static func leastLayout(nonzeros: Int, rows: Int, dimension: Int, element: ScaleType) -> Layout {
        func bytes(_ layout: Layout) -> Int {
            Self.bytes(nonzeros: nonzeros, rows: rows, dimension: dimension, layout: layout, element: element)
                ?? Int.max
        }
        return bytes(.compressedRows) <= bytes(.coordinates) ? .compressedRows : .coordinates
    }

    init(
        _ layout: Layout, index: Bytes, indexType: IndexType, columns: Bytes, values: Bytes, element: ScaleType,
        rows: Int, dimension: Int, first: Int = 0
    ) throws {
        guard (1...maximumDimension).contains(dimension) else {
            throw EmbedCompressError.invalidArgument(
                "a table needs from 1 to \(maximumDimension) columns, not \(dimension)")
        }
        // What row 0 has is a row with coordinates, and a non-zero with pointers.
        try checkRows(rows, from: layout == .coordinates ? first : 0)
        guard first >= 0, Checked.sum(first, values.count) != nil else {
            throw EmbedCompressError.invalidArgument("non-zeros from number \(first) on are out of range")
        }
        let count = values.count / element.byteCount
        let indices = layout == .compressedRows ? Checked.sum(rows, 1) : count
        guard count * element.byteCount == values.count,
            columns.count == Checked.product(count, Self.columnBytes(dimension: dimension)),
            index.count == indices.flatMap({ Checked.product($0, indexType.byteCount) })
        else {
            throw EmbedCompressError.invalidArgument(
                "\(index.count), \(columns.count) and \(values.count) bytes are not the rows, columns and values of "
                    + "non-zeros in \(rows) x \(dimension)")
        }
        self.rows = rows
        self.dimension = dimension
        self.layout = layout
        self.element = element
        self.indexType = indexType
        self.first = first
        self.index = index
        self.columns = columns
        self.values = NumberArray(values, type: element)
        try checkLimits()
    }

    /// The non-zeros of rows x dimension numbers, row after row, in the layout of fewer bytes.
    public init(_ numbers: [Float], rows: Int, dimension: Int) throws {
        guard rows >= 0, dimension > 0, Checked.product(rows, dimension) == numbers.count else {
            throw EmbedCompressError.invalidArgument("\(numbers.count) values are not \(rows) x \(dimension)")
        }
        let places = numbers.indices.filter { numbers[$0] != 0 }
        let layout = Self.leastLayout(nonzeros: places.count, rows: rows, dimension: dimension, element: .float32)
        let builder = try SparseBuilder(
            layout, nonzeros: places.count, rows: rows, dimension: dimension, element: .float32)
        var row = 0
        builder.startRow(0, at: 0)
        for (position, place) in places.enumerated() {
            while row < place / dimension {
                row += 1
                builder.startRow(row, at: position)
            }
            builder.put(numbers[place], row: row, column: place % dimension, at: position)
        }
        while row < rows {
            row += 1
            builder.startRow(row, at: places.count)
        }
        self = try builder.sparse()
    }

    init(from decoder: inout NodeDecoder) throws {
        let layout = try decoder.choice("layout", Layout.self)
        let element = try decoder.choice("element", ScaleType.self)
        let indexType = try decoder.choice("index", IndexType.self)
        let count = try decoder.integer("nonzeros", 0...Int.max)
        let first = try decoder.integer("first", 0...Int.max)
        let (rows, dimension) = (decoder.rows, decoder.dimension)
        let indices = layout == .compressedRows ? Checked.sum(rows, 1) ?? Int.max : count
        let index = try decoder.tensor(
            layout == .compressedRows ? "pointers" : "rows", type: indexType.elementType, shape: [indices])
        let columns = try decoder.tensor("columns", type: Self.columnType(dimension: dimension), shape: [count])
        let values = try decoder.tensor("values", type: element.elementType, shape: [count])
        self = try decoder.checking("first") {
            try Sparse(
                layout, index: index, indexType: indexType, columns: columns, values: values, element: element,
                rows: rows, dimension: dimension, first: first)
        }
    }

    func encode(into encoder: inout NodeEncoder) {
        encoder.set("layout", layout.rawValue)
        encoder.set("element", element.rawValue)
        encoder.set("index", indexType.rawValue)
        encoder.set("nonzeros", nonzeros)
        encoder.set("first", first)
        encoder.add(
            layout == .compressedRows ? "pointers" : "rows", type: indexType.elementType,
            shape: [index.count / indexType.byteCount], bytes: index)
        encoder.add("columns", type: Self.columnType(dimension: dimension), shape: [nonzeros], bytes: columns)
        encoder.add("values", type: element.elementType, shape: [nonzeros], bytes: values.bytes)
    }

    var places: SparsePlaces {
        let columnBytes = Self.columnBytes(dimension: dimension)
        return SparsePlaces(
            layout: layout == .compressedRows ? .compressedRows : .coordinates, rows: rows, dimension: dimension,
            index: IndexPlaces(
                base: index.pointer, count: index.count / indexType.byteCount, width: indexType.byteCount),
            first: UInt64(first),
            columns: IndexPlaces(base: columns.pointer, count: nonzeros, width: columnBytes), values: values.places,
            longest: Self.longestRow(dimension: dimension))
    }

    /// The non-zeros of the rows are found here: a table whose pointers are wrong there, or whose rows don't rise, has no
    /// such slice.
    func sliced(_ range: Range<Int>) throws -> any Node {
        let places = places
        let (start, end, sliceIndex, sliceFirst): (Int, Int, Bytes?, Int)
        switch layout {
        case .compressedRows:
            let (low, high) = (places.index[range.lowerBound], places.index[range.upperBound])
            guard low >= places.first, high >= low, high &- places.first <= UInt64(nonzeros),
                let first = Int(exactly: low)
            else { throw EmbedCompressError.format(.badRowPointers(row: range.lowerBound)) }
            (start, end) = (first - self.first, Int(high &- places.first))
            sliceIndex = index.range(
                range.lowerBound * indexType.byteCount, (range.count + 1) * indexType.byteCount)
            sliceFirst = first
        case .coordinates:
            start = places.index.lowerBound(UInt64(first + range.lowerBound))
            end = max(places.index.lowerBound(UInt64(first + range.upperBound)), start)
            try checkOrder(start..<end, of: first + range.lowerBound..<first + range.upperBound)
            sliceIndex = index.range(start * indexType.byteCount, (end - start) * indexType.byteCount)
            sliceFirst = first + range.lowerBound
        }
        let columnBytes = Self.columnBytes(dimension: dimension)
        guard let sliceIndex, let columns = columns.range(start * columnBytes, (end - start) * columnBytes),
            let values = values.bytes.range(start * element.byteCount, (end - start) * element.byteCount)
        else { throw EmbedCompressError.format(.badRowPointers(row: range.lowerBound)) }
        return try Sparse(
            layout, index: sliceIndex, indexType: indexType, columns: columns, values: values, element: element,
            rows: range.count, dimension: dimension, first: sliceFirst)
    }

    /// Throws unless the rows of some non-zeros rise within `rows`, and those of the non-zeros beside them lie outside.
    private func checkOrder(_ positions: Range<Int>, of rows: Range<Int>) throws {
        let index = places.index
        func throwUnless(_ isRight: Bool, _ position: Int) throws {
            guard isRight else { throw EmbedCompressError.format(.unsortedRows(position: position)) }
        }
        var last = UInt64(rows.lowerBound)
        for position in positions {
            let row = index[position]
            try throwUnless(row >= last && row < UInt64(rows.upperBound), position)
            last = row
        }
        if positions.lowerBound > 0 {
            try throwUnless(index[positions.lowerBound - 1] < UInt64(rows.lowerBound), positions.lowerBound)
        }
        if positions.upperBound < nonzeros {
            try throwUnless(index[positions.upperBound] >= UInt64(rows.upperBound), positions.upperBound)
        }
    }

    func aligned(to rowAlignment: Int, progress: ProgressCounter) throws -> any Node { self }

    func discardPages() {
        for bytes in [index, columns, values.bytes] { bytes.discardPages() }
    }

    func gather(_ ids: IDBlock, into output: RowBlock, context: LookupContext) {
        places.gather(ids, into: output, context: context)
    }

    func accumulate(_ block: BagBlock, context: LookupContext) { places.accumulate(block, context: context) }
}
