extension Uniform {
    /// `codes`: (rows, dimension) integers from 0 to 2^bits - 1. `scales` and `biases`: one number each for the table, (rows,)
    /// for rows, or (rows, groups) for groups of columns. Fields: `bits`; `group`, the columns of a group; `scale`, "f16"
    /// or "f32", what scales and biases are stored as: that of the scales if not given; `dimension`, if the codes are packed:
    /// (rows, ceil(dimension * bits / 8)) u8, low bits first.
    init(composing parts: inout Composition) throws {
        try parts.checkNoChildren()
        let (codes, rows, columns) = try parts.array("codes").codes()
        let packed = try parts.optionalInteger("dimension", 1...maximumDimension)
        let dimension = packed ?? columns
        let (scales, biases) = (try parts.array("scales"), try parts.array("biases"))
        let scope: Scope = scales.shape.isEmpty ? .table : .row
        let natural: ScaleType = scales.type == .f16 && scope == .row ? .float16 : .float32
        let layout = try Layout(
            dimension: dimension, bits: parts.integer("bits"), group: parts.optionalInteger("group"),
            scaleType: parts.optionalChoice("scale", ScaleType.self) ?? natural, scope: scope)
        let groups = layout.groups.count
        if packed != nil {
            let wanted = CodePacking.byteCount(columns: dimension, bits: layout.bits)
            guard try parts.array("codes").type == .u8, columns == wanted else {
                throw EmbedCompressError.invalidArgument(
                    "packed codes of \(dimension) columns of \(layout.bits) bits must be u8 of \(wanted) bytes a row, not "
                        + (try parts.array("codes").summary))
            }
        }
        guard scope == .table || scales.shape == [rows, groups] || (groups == 1 && scales.shape == [rows]) else {
            throw EmbedCompressError.invalidArgument(
                "scales must be one number, \(rows) for rows, or of shape [\(rows), \(groups)] for groups of "
                    + "\(layout.group) columns, not \(scales.summary)")
        }
        guard biases.shape == scales.shape else {
            throw EmbedCompressError.invalidArgument(
                "biases must have the shape of scales, \(scales.shape), not \(biases.shape)")
        }
        guard let scaleValues = try scales.floatArray(), let biasValues = try biases.floatArray() else {
            throw EmbedCompressError.invalidArgument(
                "scales and biases must be numbers, not \(scales.summary) and \(biases.summary)")
        }
        let packing = CodePacking(codes: codes, arePacked: packed != nil, columns: dimension, bits: layout.bits)
        let bytes = try packing.rows(rows, layout, scales: scaleValues, biases: biasValues)
        let shared = scope == .table ? try layout.parameters(scaleValues, biasValues) : nil
        try self.init(bytes, rows: rows, layout: layout, parameters: shared)
    }
}

extension Codebook {
    /// `codes`: (rows, dimension) integers from 0 to 2^bits - 1. `codebooks`: (2^bits,) numbers for the table, (rows, 2^bits)
    /// for rows, or with `clusters`, (rows,) integers that say whose it is, (clusters, 2^bits); f32 or f16. `scales`:
    /// (rows,) numbers that the table's codebook is multiplied by. Field: `bits`.
    init(composing parts: inout Composition) throws {
        try parts.checkNoChildren()
        let (codes, rows, dimension) = try parts.array("codes").codes()
        let books = try parts.array("codebooks")
        let clusters = try parts.optionalArray("clusters")?.integers()
        let scales = parts.optionalArray("scales")
        let scope: Scope = clusters != nil ? .cluster : books.shape.count == 1 ? .table : .row
        let element = try books.floats().type
        let layout = try Layout(
            dimension: dimension, bits: parts.integer("bits"), entryType: element, scope: scope,
            clusters: scope == .cluster ? books.shape.first ?? 0 : nil, rowScale: scales == nil ? nil : element)
        let wanted: [Int]
        switch scope {
        case .row: wanted = [rows, layout.entryCount]
        case .cluster: wanted = [layout.clusters, layout.entryCount]
        case .table: wanted = [layout.entryCount]
        }
        guard books.shape == wanted else {
            throw EmbedCompressError.invalidArgument(
                "codebooks must have the shape \(wanted) for \(scope.rawValue)s, not \(books.shape)")
        }
        if let clusters, clusters.count != rows {
            throw EmbedCompressError.invalidArgument(
                "clusters must be \(rows), one for each row, not \(clusters.count)")
        }
        if let scales, scales.shape != [rows] {
            throw EmbedCompressError.invalidArgument("scales must be \(rows), one for each row, not \(scales.shape)")
        }
        let entries = try books.numbers(axes: books.shape.count, as: element)
        let packing = CodePacking(codes: codes, columns: dimension, bits: layout.bits)
        let bytes = try packing.rows(
            rows, layout, books: scope == .row ? entries : nil, clusters: clusters,
            scales: try scales?.numbers(axes: 1, as: element))
        let shared = try scope == .row ? nil : Bytes(joining: [entries])
        try self.init(bytes, rows: rows, layout: layout, codebooks: shared)
    }
}

extension Product {
    /// `codes`: (rows, parts) integers from 0 to 2^bits - 1. `codebook0` and so on: of each part, (2^bits, width), all f32 or
    /// all f16. Fields: `bits`, `mode`.
    init(composing parts: inout Composition) throws {
        try parts.checkNoChildren()
        let bits = try parts.integer("bits")
        let mode = try parts.choice("mode", Mode.self, default: .concatenate)
        let array = try parts.array("codes")
        guard array.shape.count == 2, array.shape[1] > 0, let codes = IntegerArray(array) else {
            throw EmbedCompressError.invalidArgument(
                "codes must be integers of shape (rows, parts), not \(array.summary)")
        }
        let (rows, count) = (array.shape[0], array.shape[1])
        let books = parts.numberedArrays("codebook")
        guard let first = books.first, books.count == count else {
            throw EmbedCompressError.invalidArgument("\(count) parts need as many codebooks, not \(books.count)")
        }
        let element = try commonType(of: books, called: ("codebooks", { "the codebook of part \($0)" }))
        let widths = books.map { $0.shape.last ?? 0 }
        guard let dimension = mode == .sum ? first.shape.last : Checked.sum(of: widths) else {
            throw EmbedCompressError.invalidArgument("a codebook must have the shape (2^bits, width)")
        }
        let layout = try Layout(dimension: dimension, parts: count, bits: bits, mode: mode, element: element)
        for (index, book) in books.enumerated() {
            let width = layout.part(index).columns.count
            guard book.shape == [layout.entryCount, width] else {
                throw EmbedCompressError.invalidArgument(
                    "the codebook of part \(index) must have the shape (\(layout.entryCount), \(width)), "
                        + "not \(book.shape)")
            }
        }
        try self.init(
            CodePacking(codes: codes, columns: count, bits: bits).rows(rows, rowBytes: layout.rowBytes) { _, _ in },
            rows: rows, layout: layout, codebooks: Bytes(joining: books.map { try $0.floats().bytes }))
    }
}

extension Trellis {
    /// `codes`: (rows, dimension) integers, of each column from 0 to 2^bits - 1: its own bits. `scale_codes`: (rows,) integers
    /// from 0 to 255. `scales`: (256,). `bits`: (dimension,) integers. `factors`: (dimension,). Fields: `states`,
    /// `multiplier`.
    init(composing parts: inout Composition) throws {
        try parts.checkNoChildren()
        let (codes, rows, dimension) = try parts.array("codes").codes()
        let (scaleCodes, bits) = (try parts.integers("scale_codes"), try parts.integers("bits"))
        guard bits.count == dimension, scaleCodes.count == rows else {
            throw EmbedCompressError.invalidArgument(
                "codes of shape (\(rows), \(dimension)) need \(dimension) bits and \(rows) scale_codes, not \(bits.count) and "
                    + "\(scaleCodes.count)")
        }
        let code = TrellisCode(
            stateBits: try parts.integer("states", TrellisCode.stateBitRange),
            multiplier: UInt32(try parts.integer("multiplier", 0...Int(UInt32.max))))
        let columns = try TrellisColumns(
            code: code,
            bits: (0..<dimension).map { column in
                guard let own = UInt8(exactly: bits[column]) else {
                    throw EmbedCompressError.invalidArgument(
                        "columns of a trellis have 0 to 8 bits, but column \(column) has \(bits[column])")
                }
                return own
            })
        let rowBytes = columns.codeBytes + 1
        guard let size = Checked.product(rows, rowBytes) else { throw EmbedCompressError.outOfMemory(bytes: Int.max) }
        let bytes = Bytes(try ByteStorage.allocate(size))
        for row in 0..<rows {
            let target = bytes.mutablePointer + row * rowBytes
            var writer = BitWriter(target: target)
            for column in 0..<dimension {
                let own = codes[row * dimension + column]
                guard own >= 0, own < 1 << columns.bits[column] else {
                    throw EmbedCompressError.invalidArgument(
                        "codes of \(columns.bits[column]) bits are from 0 to \(1 << columns.bits[column] - 1), but row \(row) has "
                            + "\(own) in column \(column)")
                }
                writer.write(UInt32(truncatingIfNeeded: own), bits: Int(columns.bits[column]))
            }
            guard (0...255).contains(scaleCodes[row]) else {
                throw EmbedCompressError.invalidArgument(
                    "scale_codes are from 0 to 255, but row \(row) has \(scaleCodes[row])")
            }
            target.storeBytes(
                of: UInt8(truncatingIfNeeded: scaleCodes[row]), toByteOffset: columns.codeBytes, as: UInt8.self)
        }
        try self.init(
            bytes, rows: rows, columns: columns, scales: try parts.array("scales").numbers(axes: 1, as: .float32),
            factors: try parts.array("factors").numbers(axes: 1, as: .float32))
    }
}
