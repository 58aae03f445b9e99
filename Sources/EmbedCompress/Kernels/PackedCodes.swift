/// Packs codes that lie in a matrix, a row after the other, into the rows of a store: code `j` of a row takes bits
/// `[j * bits, (j + 1) * bits)` of the row's bytes, low bits first.
struct CodePacking {
    let codes: IntegerArray
    /// Whether the codes are the bytes of rows that are packed already.
    var arePacked = false
    let columns: Int
    /// 1 to 16.
    let bits: Int

    /// Writes the codes of a row.
    ///
    /// - Returns: false if one is not from 0 to `2^bits - 1`; if they are packed, if bits after the last one are not 0.
    func pack(row: Int, to target: UnsafeMutableRawPointer) -> Bool {
        if arePacked { return copy(row: row, to: target) }
        let first = row * columns
        let limit = 1 << bits
        // Bits that no whole byte has been made of yet: at most 7 before a code is added.
        var (pending, pendingBits): (UInt32, Int) = (0, 0)
        var byte = target
        for index in first..<first + columns {
            let code = codes[index]
            guard code >= 0, code < limit else { return false }
            pending |= UInt32(truncatingIfNeeded: code) &<< UInt32(pendingBits)
            pendingBits &+= bits
            while pendingBits >= 8 {
                byte.storeBytes(of: UInt8(truncatingIfNeeded: pending), as: UInt8.self)
                byte += 1
                pending &>>= 8
                pendingBits &-= 8
            }
        }
        if pendingBits > 0 { byte.storeBytes(of: UInt8(truncatingIfNeeded: pending), as: UInt8.self) }
        return true
    }

    private func copy(row: Int, to target: UnsafeMutableRawPointer) -> Bool {
        let byteCount = Self.byteCount(columns: columns, bits: bits)
        for index in 0..<byteCount {
            target.storeBytes(
                of: UInt8(truncatingIfNeeded: codes[row * byteCount + index]), toByteOffset: index, as: UInt8.self)
        }
        let used = columns * bits & 7
        return used == 0 || codes[(row + 1) * byteCount - 1] >> used == 0
    }

    /// Bytes of a row's codes.
    static func byteCount(columns: Int, bits: Int) -> Int { (columns * bits + 7) / 8 }

    /// New rows of zeros, `rowBytes` apart, with the codes at the start of each; `fill` writes what else a row has.
    func rows(
        _ count: Int, rowBytes: Int, _ fill: (_ row: Int, _ target: UnsafeMutableRawPointer) throws -> Void
    ) throws -> Bytes {
        guard let size = Checked.product(count, rowBytes) else { throw EmbedCompressError.outOfMemory(bytes: Int.max) }
        let bytes = Bytes(try ByteStorage.allocate(size))
        try Parallel.forEach(
            count: count, grain: max((1 << 16) / columns, 1), progress: ProgressCounter(total: count, callback: nil)
        ) { range in
            for row in range {
                let target = bytes.mutablePointer + row * rowBytes
                guard pack(row: row, to: target) else {
                    throw EmbedCompressError.invalidArgument(
                        "codes of \(bits) bits are from 0 to \(1 << bits - 1), but row \(row) has another")
                }
                try fill(row, target)
            }
        }
        return bytes
    }
}

extension CodePacking {
    /// Rows of `Uniform`: codes, and scale and bias of each group.
    func rows(_ count: Int, _ layout: Uniform.Layout, scales: FloatArray, biases: FloatArray) throws -> Bytes {
        let groups = layout.groups
        return try rows(count, rowBytes: layout.rowBytes) { row, target in
            if layout.scope == .table { return }
            for (index, group) in groups.enumerated() {
                let place = target + group.parameterOffset
                let (scale, bias) = (scales[row * groups.count + index], biases[row * groups.count + index])
                let type = layout.scaleType
                guard scale.isFinite, bias.isFinite, store(scale, type, to: place),
                    store(bias, type, to: place + type.byteCount)
                else {
                    throw EmbedCompressError.invalidArgument(
                        "row \(row) has the scale \(scale) and the bias \(bias), which \(type.rawValue) does not hold"
                            + (type == .float16 ? "; f32 scales hold larger ones" : ""))
                }
            }
        }
    }

    /// Rows of `Codebook`: codes, and the row's own entries, the index of its cluster, or its scale.
    func rows(
        _ count: Int, _ layout: Codebook.Layout, books: Bytes?, clusters: IntegerArray?, scales: Bytes?
    ) throws -> Bytes {
        let writer = CodebookRows(layout: layout, firstRow: 0)
        return try rows(count, rowBytes: layout.rowBytes) { row, target in
            let place = target + layout.codeBytes
            if let books {
                place.copyMemory(from: books.pointer + row * layout.bookBytes, byteCount: layout.bookBytes)
            }
            if let scales {
                let bytes = layout.entryType.byteCount
                place.copyMemory(from: scales.pointer + row * bytes, byteCount: bytes)
            }
            if let clusters {
                guard (0..<layout.clusters).contains(clusters[row]) else {
                    throw EmbedCompressError.invalidArgument(
                        "row \(row) is of cluster \(clusters[row]): it must be from 0 to \(layout.clusters - 1)")
                }
                writer.store(cluster: clusters[row], to: target)
            }
        }
    }
}

extension Uniform.Layout {
    /// The scale and the bias of a table, two f32.
    func parameters(_ scales: FloatArray, _ biases: FloatArray) throws -> Bytes {
        guard scales[0].isFinite, biases[0].isFinite else {
            throw EmbedCompressError.invalidArgument(
                "the scale and the bias must be finite, not \(scales[0]) and \(biases[0])")
        }
        return try [scales[0], biases[0]].withUnsafeBytes { try Bytes(copying: $0) }
    }
}

extension Bytes {
    /// A copy of several ranges, one after the other.
    init(joining parts: [Bytes]) throws {
        guard let count = Checked.sum(of: parts.map(\.count)) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        self.init(try ByteStorage.allocate(count))
        var target = mutablePointer
        for part in parts {
            withExtendedLifetime(part.storage) { target.copyMemory(from: part.pointer, byteCount: part.count) }
            target += part.count
        }
    }
}
