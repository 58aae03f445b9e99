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
        name: "table", title: "TABLE", paper: "Guan et al. 2019, arXiv 1911.02079", kind: "post-training",
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
        let (minimum, maximum) = try extent(input.source, progress: progress)
        let ranges = RangeFormat(bits: bits, type: .float32).ranges(
            Floats16(repeating: minimum), Floats16(repeating: maximum))
        return UniformCompressor(
            layout: try layout(bits), search: WholeTable(ranges: ranges), fallsBack: false, shared: ranges)
    }

    /// The smallest and largest value of a table; zeros if it has none.
    static func extent(
        _ source: any Node, progress: ProgressCounter
    ) throws -> (minimum: Float, maximum: Float) {
        let lock = Lock()
        var found: (minimum: Float, maximum: Float)?
        try RowReader.forEachBlock(of: source, progress: progress) { first, count, values in
            for index in 0..<count {
                let row = RowValues(base: values.row(index), count: source.dimension)
                guard let extent = row.extent() else { throw nonFinite(row, row: first + index) }
                lock.withLock {
                    let known = found ?? extent
                    found = (min(known.minimum, extent.minimum), max(known.maximum, extent.maximum))
                }
            }
        }
        return found ?? (0, 0)
    }
}

/// What to say of a row that has a value which is not finite.
func nonFinite(_ values: RowValues, row: Int) -> EmbedCompressError {
    for column in 0..<values.count where !values.base[column].isFinite {
        return .invalidArgument(
            "row \(row) has \(values.base[column]) in column \(column); every value must be finite")
    }
    return .invalidArgument("row \(row) is not finite")
}
