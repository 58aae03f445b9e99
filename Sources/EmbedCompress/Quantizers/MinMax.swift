/// ASYM: from the smallest value to the largest, no clipping. One pass over the row.
struct MinMax: RangeSearch {
    func range(
        of row: RowValues, extent: (minimum: Float, maximum: Float), widest: StoredRange, lastCode: Float, type: ScaleType
    ) -> StoredRange {
        widest
    }
}

extension Method {
    static let asym = Method.ranges(
        name: "asym", title: "ASYM", summary: "from the smallest to the largest value of the row",
        cost: "one pass over the row"
    ) { _ in MinMax() }
}
