public import CEmbedCompress.ABI
internal import EmbedCompress

@_cdecl("ec_table_evaluate")
public func tableEvaluate(
    table: OpaquePointer?, source: OpaquePointer?, queries: Int64, k: Int64, seed: Int64, progress: ec_progress?,
    context: UnsafeMutableRawPointer?, out: UnsafeMutablePointer<ec_quality>?
) -> ec_status {
    withStatus {
        let out = try required(out, "out")
        let quality = try handle(table).table.quality(
            against: try handle(source, "source").table, queries: try count(queries, "queries"),
            k: try count(k, "k"), seed: Int(truncatingIfNeeded: seed), progress: progressCallback(progress, context))
        out.pointee = ec_quality(quality)
    }
}

extension ec_quality {
    init(_ quality: Quality) {
        self.init(
            normalized_l2: quality.normalizedL2, mean_cosine: quality.meanCosine, worst_row_l2: quality.worstRowL2,
            worst_row: Int64(quality.worstRow), mean_squared_error: quality.meanSquaredError,
            recall: quality.recall ?? -1)
    }
}

@_cdecl("ec_table_neighbours")
public func tableNeighbours(
    table: OpaquePointer?, source: OpaquePointer?, queries: UnsafePointer<Int64>?, count total: Int64, k: Int64,
    progress: ec_progress?, context: UnsafeMutableRawPointer?, out: UnsafeMutablePointer<Int64>?
) -> ec_status {
    withStatus {
        let (total, k) = (try count(total, "count"), try count(k, "k"))
        let (table, source) = (try handle(table).table, try handle(source, "source").table)
        guard total > 0 else { return }
        let (queries, out) = (try required(queries, "queries"), try required(out, "out"))
        try requireMemory("queries", total, max(k, 1))
        try Allocation.require(8 * total)
        let rows = (0..<total).map { Int(truncatingIfNeeded: queries[$0]) }
        let found = try table.neighbours(
            of: rows, in: source, k: k, progress: progressCallback(progress, context))
        for (query, rows) in found.enumerated() {
            for place in 0..<k { out[query * k + place] = place < rows.count ? Int64(rows[place]) : -1 }
        }
    }
}
