// Fused rows: the quantized rows that PyTorch, FBGEMM and TBE hold, taken over and given back byte for byte.
//
// A fused row is one piece of memory: `dimension` codes of 8, 4 or 2 bits, packed low bits first, and the row's scale and
// bias; the value of column j is `scale * code[j] + bias`. A `Uniform` table with one group a row has the scale and the
// bias behind the codes, as PyTorch and FBGEMM have.

/// Whose fused rows.
public enum FusedRowLayout: String, Sendable, CaseIterable {
    /// Of `torch.ops.quantized.embedding_bag_{byte,4bit,2bit}_prepack`: codes, scale, bias; f32 at 8 bits, f16 at 4 and 2.
    case torch
    /// Of FBGEMM's `FloatToFused8BitRowwiseQuantized` and `FloatToFusedNBitRowwiseQuantizedSBHalf`: codes, scale, bias;
    /// f32 or f16 at 8 bits, f16 at 4 and 2.
    case fbgemm
    /// Of FBGEMM's `IntNBitTableBatchedEmbeddingBagsCodegen`: scale, bias, codes, padding; always f16.
    case tbe

    package init(named name: String) throws {
        guard let layout = Self(rawValue: name) else {
            let names = Self.allCases.map { "'\($0.rawValue)'" }.joined(separator: ", ")
            throw EmbedCompressError.invalidArgument("layout must be one of \(names), not '\(name)'")
        }
        self = layout
    }

    var isScaleLast: Bool { self != .tbe }

    /// Types of scales at a number of bits, the default first; empty if there are no such codes.
    fileprivate func scaleTypes(bits: Int) -> [ScaleType] {
        guard [8, 4, 2].contains(bits) else { return [] }
        switch self {
        case .torch: return bits == 8 ? [.float32] : [.float16]
        case .fbgemm: return bits == 8 ? [.float32, .float16] : [.float16]
        case .tbe: return [.float16]
        }
    }
}

extension ScaleType {
    package init(named name: String) throws {
        guard let type = Self(rawValue: name) else {
            throw EmbedCompressError.invalidArgument("scale_dtype must be 'f16' or 'f32', not '\(name)'")
        }
        self = type
    }
}

/// The bytes of fused rows.
private struct FusedRowFormat {
    let layout: FusedRowLayout
    let dimension: Int
    let bits: Int
    let scaleType: ScaleType
    let rowAlignment: Int
    /// Of the codes of a row.
    let codeBytes: Int
    /// Of a scale and a bias.
    let rangeBytes: Int
    /// From the start of one row to the start of the next.
    let rowBytes: Int

    /// Throws for rows that the layout does not have.
    init(_ layout: FusedRowLayout, dimension: Int, bits: Int, scaleType: ScaleType?, rowAlignment: Int) throws {
        func invalid(_ text: String) -> EmbedCompressError { .invalidArgument(text) }
        guard dimension >= 1 else { throw invalid("dimension must be at least 1, not \(dimension)") }
        guard dimension <= maximumDimension else {
            throw invalid("a table needs from 1 to \(maximumDimension) columns, not \(dimension)")
        }
        guard rowAlignment >= 1 else { throw invalid("row_alignment must be at least 1, not \(rowAlignment)") }
        let known = layout.scaleTypes(bits: bits)
        guard let scaleType = scaleType ?? known.first, !known.isEmpty else {
            throw invalid("the layout '\(layout.rawValue)' has codes of 8, 4 and 2 bits, not \(bits)")
        }
        guard known.contains(scaleType) else {
            let names = known.map(\.rawValue).joined(separator: " or ")
            throw invalid(
                "the layout '\(layout.rawValue)' has \(names) scales at \(bits) bits, not \(scaleType.rawValue)")
        }
        guard dimension * bits % 8 == 0 else {
            throw invalid(
                "codes of the layout '\(layout.rawValue)' fill whole bytes: at \(bits) bits the dimension is a multiple "
                    + "of \(8 / bits), not \(dimension)")
        }
        guard rowAlignment == 1 || layout == .tbe else {
            throw invalid(
                "rows of the layout '\(layout.rawValue)' are not aligned: row_alignment must be 1, not \(rowAlignment)")
        }
        (self.layout, self.dimension, self.bits) = (layout, dimension, bits)
        (self.scaleType, self.rowAlignment) = (scaleType, rowAlignment)
        codeBytes = dimension * bits / 8
        rangeBytes = 2 * scaleType.byteCount
        let size = codeBytes + rangeBytes
        guard let padded = Checked.sum(size, rowAlignment - 1) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        rowBytes = padded / rowAlignment * rowAlignment
    }

    /// What a `Uniform` table with such rows is laid out as.
    func uniformLayout() throws -> Uniform.Layout {
        try Uniform.Layout(dimension: dimension, bits: bits, group: nil, scaleType: scaleType)
    }

    func checkSize(_ found: Int) throws {
        guard found != rowBytes else { return }
        let aligned = layout == .tbe ? " aligned to \(rowAlignment)" : ""
        throw EmbedCompressError.invalidArgument(
            "rows of \(dimension) columns at \(bits) bits with \(scaleType.rawValue) scales have \(rowBytes) bytes in "
                + "the layout '\(layout.rawValue)'\(aligned), but these have \(found)")
    }
}

extension Table {
    /// A table of rows that PyTorch, FBGEMM or TBE quantized, with the codes, scales and biases that they have.
    ///
    /// - Parameters:
    ///   - rows: Row after row.
    ///   - dimension: Columns of a row. Even at 4 bits, and a multiple of 4 at 2.
    ///   - bits: Of a code: 8, 4 or 2.
    ///   - scaleType: Of scales and biases; nil for what the layout has.
    ///   - rowAlignment: Of ``FusedRowLayout/tbe`` only: bytes that a row's size is rounded up to a multiple of. What
    ///     the padding holds is ignored.
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for rows that the layout doesn't have, or a scale or a bias
    ///   that is not finite.
    public init(
        fusedRows rows: [UInt8], dimension: Int, bits: Int, layout: FusedRowLayout = .torch,
        scaleType: ScaleType? = nil, rowAlignment: Int = 1
    ) throws {
        let format = try FusedRowFormat(
            layout, dimension: dimension, bits: bits, scaleType: scaleType, rowAlignment: rowAlignment)
        guard rows.count % format.rowBytes == 0 else {
            throw EmbedCompressError.invalidArgument(
                "\(rows.count) bytes are not whole rows of \(format.rowBytes) bytes")
        }
        let bytes = try rows.withUnsafeBytes { try Bytes(copying: $0) }
        self.init(try Uniform(bytes, rows: rows.count / format.rowBytes, format))
    }

    /// The same for rows in memory that somebody else owns. Rows with the scale last are used where they lie, others are
    /// copied. `release` is called once the memory is no longer used; not if this throws.
    package init(
        fusedRows data: UnsafeRawPointer?, rows: Int, rowBytes: Int, dimension: Int, bits: Int, layout: FusedRowLayout,
        scaleType: ScaleType?, rowAlignment: Int, release: @escaping () -> Void
    ) throws {
        let loan = Loan(release)
        let format = try FusedRowFormat(
            layout, dimension: dimension, bits: bits, scaleType: scaleType, rowAlignment: rowAlignment)
        try format.checkSize(rowBytes)
        let array = LentArray(name: "rows", type: .u8, shape: [rows, rowBytes], data: data)
        self.init(try Uniform(Bytes(loan.storage(data, count: try array.byteCount())), rows: rows, format))
        loan.isTaken = true
    }

    /// This table's rows as PyTorch, FBGEMM or TBE hold them, row after row, with the codes, scales and biases that it
    /// has. Nothing is rounded to make it fit.
    ///
    /// - Parameter rowAlignment: Of ``FusedRowLayout/tbe`` only: bytes that a row's size is rounded up to a multiple of,
    ///   with zeros.
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` unless this is a `Uniform` table of 8, 4 or 2 bits with one
    ///   scale and one bias a row, of types and a dimension that the layout has.
    public func fusedRows(layout: FusedRowLayout = .torch, rowAlignment: Int = 1) throws -> [UInt8] {
        let (uniform, format) = try fusedStore(layout, rowAlignment)
        guard let count = Checked.product(rows, format.rowBytes) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        try Allocation.require(count)
        return [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            if let base = buffer.baseAddress { uniform.copyRows(format, to: base) }
            filled = count
        }
    }

    /// The bytes of a fused row, and where the rows lie if they are in this table's memory just so.
    package func lentFusedRows(
        layout: FusedRowLayout, rowAlignment: Int
    ) throws -> (rowBytes: Int, data: UnsafeRawPointer?) {
        let (uniform, format) = try fusedStore(layout, rowAlignment)
        let isSame = layout.isScaleLast && uniform.layout.rowBytes == format.rowBytes
        return (format.rowBytes, isSame ? uniform.memory.bytes.pointer : nil)
    }

    /// Writes what ``fusedRows(layout:rowAlignment:)`` gives into a caller's memory.
    package func writeFusedRows(
        layout: FusedRowLayout, rowAlignment: Int, to target: UnsafeMutablePointer<UInt8>
    ) throws {
        let (uniform, format) = try fusedStore(layout, rowAlignment)
        try reading { uniform.copyRows(format, to: target) }
    }

    private func fusedStore(_ layout: FusedRowLayout, _ rowAlignment: Int) throws -> (Uniform, FusedRowFormat) {
        guard let uniform = root as? Uniform else {
            throw EmbedCompressError.invalidArgument(
                "fused rows hold codes with a scale and a bias, as a Uniform table does; this one is "
                    + "'\(type(of: root).kind)'")
        }
        guard uniform.scope == .row else {
            throw EmbedCompressError.invalidArgument(
                "a fused row has a scale and a bias of its own; rows of this table share one of each")
        }
        guard uniform.group == uniform.dimension else {
            throw EmbedCompressError.invalidArgument(
                "a fused row has one scale and one bias; rows of this table have some for every \(uniform.group) of "
                    + "their \(uniform.dimension) columns")
        }
        let format = try FusedRowFormat(
            layout, dimension: dimension, bits: uniform.bits, scaleType: uniform.scaleType, rowAlignment: rowAlignment)
        return (uniform, format)
    }
}

extension Uniform {
    /// Rows that are worked through at a time.
    private static let grain = 1 << 12

    /// A table of fused rows: on their memory if the scale is last, else on a copy.
    fileprivate init(_ bytes: Bytes, rows: Int, _ format: FusedRowFormat) throws {
        let layout = try format.uniformLayout()
        var bytes = bytes
        if !format.layout.isScaleLast {
            guard let byteCount = Checked.product(rows, layout.rowBytes) else {
                throw EmbedCompressError.outOfMemory(bytes: Int.max)
            }
            let copy = Bytes(try ByteStorage.allocate(byteCount, zeroed: false))
            let (source, target) = (bytes.pointer, copy.mutablePointer)
            withExtendedLifetime(bytes.storage) {
                Parallel.forEach(count: rows, grain: Self.grain) { range in
                    for row in range {
                        let (from, to) = (source + row * format.rowBytes, target + row * layout.rowBytes)
                        to.copyMemory(from: from + format.rangeBytes, byteCount: format.codeBytes)
                        (to + format.codeBytes).copyMemory(from: from, byteCount: format.rangeBytes)
                    }
                }
            }
            bytes = copy
        }
        try self.init(bytes, rows: rows, layout: layout)
        try checkRanges()
    }

    private func checkRanges() throws {
        try Parallel.forEach(count: rows, grain: Self.grain, progress: ProgressCounter(total: 0, callback: nil)) {
            for row in $0 {
                let (scale, bias) = range(ofRow: row)
                guard !scale.isFinite || !bias.isFinite else { continue }
                let found = scale.isFinite ? "bias \(bias)" : "scale \(scale)"
                throw EmbedCompressError.invalidArgument(
                    "row \(row) has the \(found); scales and biases must be finite")
            }
        }
    }

    /// Writes all rows, with zeros for padding.
    fileprivate func copyRows(_ format: FusedRowFormat, to target: UnsafeMutablePointer<UInt8>) {
        let (target, source) = (UnsafeMutableRawPointer(target), memory.bytes.pointer)
        let codesFirst = format.layout.isScaleLast
        withExtendedLifetime(memory) {
            Parallel.forEach(count: rows, grain: Self.grain) { range in
                for row in range {
                    let (from, to) = (source + row * layout.rowBytes, target + row * format.rowBytes)
                    let codes = to + (codesFirst ? 0 : format.rangeBytes)
                    codes.copyMemory(from: from, byteCount: format.codeBytes)
                    let ranges = to + (codesFirst ? format.codeBytes : 0)
                    ranges.copyMemory(from: from + format.codeBytes, byteCount: format.rangeBytes)
                    let end = format.codeBytes + format.rangeBytes
                    (to + end).initializeMemory(as: UInt8.self, repeating: 0, count: format.rowBytes - end)
                }
            }
        }
    }
}
