/// Writes rows of `Codebook`.
struct CodebookRows {
    let layout: Codebook.Layout
    /// What the first row is called in errors.
    let firstRow: Int

    /// The row's codes under a book.
    func encode(_ row: RowValues, _ book: SortedBook, to target: UnsafeMutableRawPointer) {
        switch layout.bits {
        case 1: row.encode(book, as: Codes1.self, to: target)
        case 2: row.encode(book, as: Codes2.self, to: target)
        case 3: row.encode(book, as: Codes3.self, to: target)
        case 4: row.encode(book, as: Codes4.self, to: target)
        case 5: row.encode(book, as: Codes5.self, to: target)
        case 6: row.encode(book, as: Codes6.self, to: target)
        case 7: row.encode(book, as: Codes7.self, to: target)
        default: row.encode(book, as: Codes8.self, to: target)
        }
    }

    /// The index of the row's cluster, after its codes.
    func store(cluster: Int, to target: UnsafeMutableRawPointer) {
        for byte in 0..<layout.indexBytes {
            let part = UInt8(truncatingIfNeeded: cluster >> (8 * byte))
            (target + layout.codeBytes + byte).storeBytes(of: part, as: UInt8.self)
        }
    }

    /// Throws unless all values are finite and within what entries can hold.
    func check(_ row: RowValues, index: Int) throws {
        guard let extent = row.extent() else { throw nonFinite(row, row: firstRow + index) }
        guard layout.entryType == .float16 else { return }
        for value in [extent.minimum, extent.maximum] where !floatFromHalf(halfFromFloat(value)).isFinite {
            throw EmbedCompressError.invalidArgument(
                "row \(firstRow + index) has values from \(extent.minimum) to \(extent.maximum), beyond the range of "
                    + "f16 entries (65504); use entry_dtype 'f32'")
        }
    }
}
