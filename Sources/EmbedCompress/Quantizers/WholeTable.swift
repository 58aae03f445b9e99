/// TABLE: one range, from the smallest to the largest value of the whole table.
///
/// Rows hold codes only, and the table has 8 bytes beside them: an f32 scale and bias. Two passes over the table.
private struct WholeTable: RangeSearch {
    let ranges: Ranges
    var needsColumns: Bool { false }
    func ranges(of batch: RowBatch) -> Ranges { ranges }
}

extension Method {
    static let table = Method(
        name: "table", title: "TABLE", family: .uniformQuantization, paper: "Guan et al. 2019, arXiv 1911.02079",
        summary: "from the smallest to the largest value of the table",
        bytesPerRow: "ceil(d * bits / 8), and 8 for the table", cost: "two passes over the table",
        options: [bitsOption(Uniform.bitWidths), budgetOption], takesWeights: false, passes: 2
    ) { input, options, progress in
        func layout(_ bits: Int) throws -> Uniform.Layout {
            try Uniform.Layout(
                dimension: input.source.dimension, bits: bits, group: nil, scaleType: .float32, scope: .table)
        }
        let bits = try bits(options, name: "table", widths: Uniform.bitWidths) { bits in
            Checked.product(input.source.rows, try layout(bits).rowBytes).flatMap { Checked.sum($0, 8) }
        }
        let extent = try extent(input.source, progress: progress)
        let format = RangeFormat(bits: bits, type: .float32)
        let ranges = format.ranges(
            Floats16(repeating: extent.minimum.value), Floats16(repeating: extent.maximum.value))
        guard Swift.all(ranges.areFinite(lastCode: format.lastCode)) else {
            throw extent.tooLarge("beyond the range of an f32 scale")
        }
        return UniformCompressor(
            layout: try layout(bits), search: WholeTable(ranges: ranges), fallsBack: false, shared: ranges)
    }

    /// The smallest and largest value of a table; zeros if it has none.
    static func extent(_ source: any Node, progress: ProgressCounter) throws -> TableExtent {
        let lock = Lock()
        var found: TableExtent?
        try RowReader.forEachBlock(of: source, progress: progress) { first, count, values in
            for index in 0..<count {
                let row = RowValues(base: values.row(index), count: source.dimension)
                guard let extent = row.extent() else { throw nonFinite(row, row: first + index) }
                lock.withLock {
                    let other = TableExtent(row: first + index, extent.minimum, extent.maximum)
                    found = found?.joined(other) ?? other
                }
            }
        }
        return found ?? TableExtent(row: 0, 0, 0)
    }
}

/// The smallest and largest value of a table, each with the first row that has it.
struct TableExtent {
    private(set) var minimum: (value: Float, row: Int)
    private(set) var maximum: (value: Float, row: Int)

    init(row: Int, _ minimum: Float, _ maximum: Float) {
        (self.minimum, self.maximum) = ((minimum, row), (maximum, row))
    }

    /// The value of the largest magnitude.
    var largest: (value: Float, row: Int) { -minimum.value > maximum.value ? minimum : maximum }

    /// That of this and of other rows.
    func joined(_ other: TableExtent) -> TableExtent {
        var all = self
        if (other.minimum.value, other.minimum.row) < (minimum.value, minimum.row) { all.minimum = other.minimum }
        if (-other.maximum.value, other.maximum.row) < (-maximum.value, maximum.row) { all.maximum = other.maximum }
        return all
    }

    /// What to say of a table whose values no number of the method can hold.
    func tooLarge(_ text: String) -> EmbedCompressError {
        .invalidArgument(
            "the table has values from \(minimum.value), in row \(minimum.row), to \(maximum.value), in row "
                + "\(maximum.row), \(text)")
    }
}

/// What to say when a second reading of a table does not fit what the first one counted.
///
/// - Parameter row: nil if it is not known.
func sourceChanged(_ row: Int?) -> EmbedCompressError {
    .invalidArgument((row.map { "row \($0) of the table" } ?? "the table") + " changed while it was read")
}

/// What to say of a row that has a value which is not finite.
func nonFinite(_ values: RowValues, row: Int) -> EmbedCompressError {
    for column in 0..<values.count where !values.base[column].isFinite {
        return .invalidArgument(
            "row \(row) has \(values.base[column]) in column \(column); every value must be finite")
    }
    return .invalidArgument("row \(row) is not finite")
}
