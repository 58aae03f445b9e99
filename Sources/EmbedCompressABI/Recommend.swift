public import CEmbedCompress.ABI
internal import EmbedCompress

@_cdecl("ec_table_recommend")
public func tableRecommend(
    table: OpaquePointer?, budget: Int64, counts: UnsafePointer<Double>?, countTotal: Int64,
    metric: UnsafePointer<CChar>?, sample: Int64, seed: Int64, progress: ec_progress?,
    context: UnsafeMutableRawPointer?, out: UnsafeMutablePointer<ec_string>?
) -> ec_status {
    withStatus {
        let out = try required(out, "out")
        let total = try count(countTotal, "count_total")
        let uses = counts.map { Array(UnsafeBufferPointer(start: $0, count: total)) }
        let found = try handle(table).table.recommendationsText(
            budget: try count(budget, "budget"), counts: uses, metric: try text(metric, "metric"),
            sample: Int(truncatingIfNeeded: sample), seed: Int(truncatingIfNeeded: seed),
            progress: progressCallback(progress, context))
        try hand(found, to: out)
    }
}

@_cdecl("ec_table_expression_summary")
public func tableExpressionSummary(table: OpaquePointer?, out: UnsafeMutablePointer<ec_string>?) -> ec_status {
    withStatus { try hand(try handle(table).table.expressionSummary, to: try required(out, "out")) }
}

@_cdecl("ec_table_choices")
public func tableChoices(table: OpaquePointer?, out: UnsafeMutablePointer<ec_string>?) -> ec_status {
    withStatus { try hand(try MethodChoice.text(try handle(table).table.choices), to: try required(out, "out")) }
}
