/// The nearest rows by cosine, one query and one row at a time, in double precision.
public enum NeighbourReference {
    /// - Parameters:
    ///   - table: Rows, one after the other.
    ///   - queries: Rows of `source`, whose own rows are left out.
    /// - Returns: For each query, cosines and rows: all others, best first; of equal cosines the smaller number first.
    public static func ranked(
        _ table: [Float], source: [Float], dimension: Int, queries: [Int]
    ) -> [[(cosine: Double, row: Int)]] {
        let rows = (0..<table.count / dimension).map { unit(table, $0, dimension) }
        return queries.map { query in
            let wanted = unit(source, query, dimension)
            let all = rows.enumerated().filter { $0.offset != query }.map { row, values in
                (cosine: zip(values, wanted).reduce(0) { $0 + $1.0 * $1.1 }, row: row)
            }
            return all.sorted { $0.cosine == $1.cosine ? $0.row < $1.row : $0.cosine > $1.cosine }
        }
    }

    private static func unit(_ values: [Float], _ row: Int, _ dimension: Int) -> [Double] {
        let row = values[row * dimension..<(row + 1) * dimension].map(Double.init)
        let norm = row.reduce(0) { $0 + $1 * $1 }.squareRoot()
        return norm > 0 ? row.map { $0 / norm } : row
    }
}
