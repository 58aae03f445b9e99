// Stores of codes from the arrays that people have: a matrix of codes, and what decodes them. Everything is copied,
// packed and checked.

extension Uniform {
    /// Rows of codes with their scales and biases: `x = scale * code + bias`.
    ///
    /// - Parameters:
    ///   - codes: rows x dimension, row after row, each from 0 to `2^bits - 1`.
    ///   - bits: One of ``bitWidths``.
    ///   - scales: One for each row; with `group`, one for each group of a row, row after row; for the scope `.table`,
    ///     one.
    ///   - biases: As many.
    ///   - group: Columns that share a scale and a bias: a multiple of 8; the whole row if nil.
    ///   - scaleType: What scales and biases are stored as; nil is f16 for rows and f32 for the table.
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for arrays of other sizes, a code out of range, or a scale or
    ///   bias that is not finite or does not fit f16.
    public init<Code: FixedWidthInteger & UnsignedInteger>(
        codes: [Code], rows: Int, dimension: Int, bits: Int, scales: [Float], biases: [Float], group: Int? = nil,
        scaleType: ScaleType? = nil, scope: Scope = .row
    ) throws {
        let layout = try Layout(
            dimension: dimension, bits: bits, group: group,
            scaleType: scaleType ?? (scope == .table ? .float32 : .float16), scope: scope)
        let parameters = scope == .table ? 1 : Checked.product(rows, layout.groups.count)
        try checkCount(codes.count, "codes", Checked.product(rows, dimension))
        try checkCount(scales.count, "scales", parameters)
        try checkCount(biases.count, "biases", parameters)
        let (scaleValues, biasValues) = (try FloatArray(copying: scales), try FloatArray(copying: biases))
        let packing = CodePacking(codes: try IntegerArray(copying: codes), columns: dimension, bits: bits)
        let shared = scope == .table ? try layout.parameters(scaleValues, biasValues) : nil
        try self.init(
            packing.rows(rows, layout, scales: scaleValues, biases: biasValues), rows: rows, layout: layout,
            parameters: shared)
    }
}

extension Codebook {
    /// Rows of codes into codebooks.
    ///
    /// - Parameters:
    ///   - codes: rows x dimension, row after row, each from 0 to `2^bits - 1`.
    ///   - bits: One of ``bitWidths``.
    ///   - codebooks: Books of `2^bits` numbers, one after the other: a row's for each row, a cluster's for each cluster,
    ///     or the table's, by `scope`.
    ///   - clusters: For the scope `.cluster`: the book of each row.
    ///   - scales: For the scope `.table`: what each row's entries are multiplied by; nil for nothing.
    ///   - entryType: What entries and scales are stored as; halves are the nearest ones.
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for arrays of other sizes or that do not go with the scope, a
    ///   code or a cluster out of range, or a number that is not finite or does not fit `entryType`.
    public init<Code: FixedWidthInteger & UnsignedInteger>(
        codes: [Code], rows: Int, dimension: Int, bits: Int, codebooks: [Float], scope: Scope, clusters: [Int]? = nil,
        scales: [Float]? = nil, entryType: ScaleType = .float32
    ) throws {
        guard Self.bitWidths.contains(bits) else {
            throw EmbedCompressError.invalidArgument("bits must be 1 to 8, not \(bits)")
        }
        guard (clusters != nil) == (scope == .cluster) else {
            throw EmbedCompressError.invalidArgument("clusters go with the scope 'cluster', and with no other")
        }
        let books = codebooks.count >> bits
        let layout = try Layout(
            dimension: dimension, bits: bits, entryType: entryType, scope: scope,
            clusters: scope == .cluster ? books : nil, rowScale: scales == nil ? nil : entryType)
        let bookCount = scope == .row ? rows : scope == .table ? 1 : books
        try checkCount(codes.count, "codes", Checked.product(rows, dimension))
        try checkCount(codebooks.count, "numbers of codebooks", Checked.product(bookCount, layout.entryCount))
        if let clusters { try checkCount(clusters.count, "clusters", rows) }
        if let scales { try checkCount(scales.count, "scales", rows) }
        let entries = try FloatArray(copying: codebooks).stored(as: entryType, "codebooks")
        let packing = CodePacking(codes: try IntegerArray(copying: codes), columns: dimension, bits: bits)
        let bytes = try packing.rows(
            rows, layout, books: scope == .row ? entries : nil,
            clusters: try clusters.map { try IntegerArray(copying: $0) },
            scales: try scales.map { try FloatArray(copying: $0).stored(as: entryType, "scales") })
        try self.init(bytes, rows: rows, layout: layout, codebooks: scope == .row ? nil : entries)
    }
}

extension Product {
    /// Rows of codes, each into the codebook of its part.
    ///
    /// - Parameters:
    ///   - codes: rows x parts, row after row, each from 0 to `2^bits - 1`; there are as many parts as codebooks.
    ///   - bits: One of ``bitWidths``.
    ///   - codebooks: For each part, `2^bits` entries one after the other. With the mode `.concatenate` entries have
    ///     `dimension / parts` numbers, and those of the first `dimension % parts` parts one more; with `.sum`,
    ///     `dimension`.
    ///   - element: What entries are stored as; halves are the nearest ones.
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for arrays of other sizes, a code out of range, or an entry
    ///   that is not finite or does not fit `element`.
    public init<Code: FixedWidthInteger & UnsignedInteger>(
        codes: [Code], rows: Int, bits: Int, codebooks: [[Float]], mode: Mode = .concatenate,
        element: ScaleType = .float32
    ) throws {
        guard Self.bitWidths.contains(bits) else {
            throw EmbedCompressError.invalidArgument("bits must be 1 to 16, not \(bits)")
        }
        let widths = codebooks.map { $0.count >> bits }
        guard !codebooks.isEmpty, let dimension = mode == .sum ? widths.first : Checked.sum(of: widths) else {
            throw EmbedCompressError.invalidArgument("a product needs one codebook or more")
        }
        let layout = try Layout(
            dimension: dimension, parts: codebooks.count, bits: bits, mode: mode, element: element)
        for (index, book) in codebooks.enumerated() {
            try checkCount(
                book.count, "numbers of codebook \(index)",
                Checked.product(layout.part(index).columns.count, layout.entryCount))
        }
        try checkCount(codes.count, "codes", Checked.product(rows, layout.parts))
        let books = try FloatArray(copying: Array(codebooks.joined())).stored(as: element, "codebooks")
        let packing = CodePacking(codes: try IntegerArray(copying: codes), columns: layout.parts, bits: bits)
        try self.init(
            packing.rows(rows, rowBytes: layout.rowBytes) { _, _ in }, rows: rows, layout: layout, codebooks: books)
    }
}

/// - Parameter wanted: nil if it is too large to count.
private func checkCount(_ count: Int, _ what: String, _ wanted: Int?) throws {
    guard let wanted, count == wanted else {
        let text = wanted.map(String.init) ?? "more than there can be"
        throw EmbedCompressError.invalidArgument("there must be \(text) \(what), not \(count)")
    }
}

extension IntegerArray {
    fileprivate init<Number: FixedWidthInteger>(copying values: [Number]) throws {
        let types: [Int: ElementType] = Number.isSigned ? [8: .i64] : [1: .u8, 2: .u16, 4: .u32, 8: .u64]
        guard let type = types[MemoryLayout<Number>.size],
            let array = IntegerArray(
                StoredArray(
                    name: "", type: type, shape: [values.count],
                    bytes: try values.withUnsafeBytes { try Bytes(copying: $0) }))
        else { throw EmbedCompressError.invalidArgument("\(Number.self) is no type of codes: use UInt8 or UInt16") }
        self = array
    }
}

extension FloatArray {
    fileprivate init(copying values: [Float]) throws {
        let bytes = try values.withUnsafeBytes { try Bytes(copying: $0) }
        guard let array = FloatArray(StoredArray(name: "", type: .f32, shape: [values.count], bytes: bytes)) else {
            throw EmbedCompressError.invalidArgument("f32 is no type of numbers")
        }
        self = array
    }

    /// A copy of finite numbers as that type.
    fileprivate func stored(as element: ScaleType, _ what: String) throws -> Bytes {
        guard let size = Checked.product(count, element.byteCount) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        let target = Bytes(try ByteStorage.allocate(size))
        guard allFinite, copy(to: target.mutablePointer, as: element) else {
            throw EmbedCompressError.invalidArgument(
                "\(what) must be finite, and within the range of \(element.rawValue)")
        }
        return target
    }
}
