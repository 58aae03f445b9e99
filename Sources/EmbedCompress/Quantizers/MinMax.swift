/// ASYM: from the smallest value to the largest, no clipping. One pass over the row.
struct MinMax: RangeSearch {
    var needsColumns: Bool { false }
    func ranges(of batch: RowBatch) -> Ranges { batch.widest }
}

extension Method {
    static let asym = Method.ranges(
        name: "asym", title: "ASYM", summary: "from the smallest to the largest value of the row",
        cost: "one pass over the row", takesWeights: false, fallback: .never
    ) { _, _ in MinMax() }
}
