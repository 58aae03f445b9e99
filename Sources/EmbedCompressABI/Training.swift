public import CEmbedCompress.ABI
internal import EmbedCompress

@_cdecl("ec_trained_rows_gather")
public func trainedRowsGather(
    table: UnsafePointer<ec_trained_rows>?, ids: UnsafeRawPointer?, width: Int32, count: Int64,
    out: UnsafeMutablePointer<Float>?
) -> ec_status {
    trainedTablesGather(tables: table, tableCount: 1, ids: ids, width: width, count: count, out: out)
}

@_cdecl("ec_trained_tables_gather")
public func trainedTablesGather(
    tables: UnsafePointer<ec_trained_rows>?, tableCount: Int64, ids base: UnsafeRawPointer?, width: Int32,
    count total: Int64, out: UnsafeMutablePointer<Float>?
) -> ec_status {
    withStatus {
        let tables = try lent(tables, tableCount, withScales: true)
        let ids = try ids(base, total, width, "ids")
        try requireMemory("out", ids.count, tables.dimension)
        try tables.gather(ids, into: try output(out, ids.count))
    }
}

@_cdecl("ec_trained_rows_step")
public func trainedRowsStep(
    table: UnsafePointer<ec_trained_rows>?, ids: UnsafeRawPointer?, width: Int32, count: Int64,
    gradients: UnsafePointer<Float>?, step: UnsafePointer<ec_row_step>?
) -> ec_status {
    trainedTablesStep(
        tables: table, tableCount: 1, ids: ids, width: width, count: count, gradients: gradients, step: step)
}

@_cdecl("ec_trained_tables_step")
public func trainedTablesStep(
    tables: UnsafePointer<ec_trained_rows>?, tableCount: Int64, ids base: UnsafeRawPointer?, width: Int32,
    count total: Int64, gradients: UnsafePointer<Float>?, step: UnsafePointer<ec_row_step>?
) -> ec_status {
    withStatus {
        let tables = try lent(tables, tableCount)
        let ids = try ids(base, total, width, "ids")
        let optimizer = try optimizer(try required(step, "step").pointee)
        try requireMemory("gradients", ids.count, tables.dimension)
        // No gradients for no ids.
        let none = try output(nil, 0)
        let gradients = ids.count == 0 ? UnsafePointer(none) : try required(gradients, "gradients")
        try tables.step(ids, gradients: gradients, optimizer)
    }
}

@_cdecl("ec_trained_rows_pool")
public func trainedRowsPool(
    table: UnsafePointer<ec_trained_rows>?, bags: UnsafePointer<ec_bags>?, out: UnsafeMutablePointer<Float>?
) -> ec_status {
    trainedTablesPool(tables: table, tableCount: 1, bags: bags, out: out)
}

@_cdecl("ec_trained_tables_pool")
public func trainedTablesPool(
    tables: UnsafePointer<ec_trained_rows>?, tableCount: Int64, bags: UnsafePointer<ec_bags>?,
    out: UnsafeMutablePointer<Float>?
) -> ec_status {
    withStatus {
        let tables = try lent(tables, tableCount, withScales: true)
        let bags = try lent(bags)
        try requireMemory("out", bags.count, tables.dimension)
        try tables.pool(bags, into: try output(out, bags.count))
    }
}

@_cdecl("ec_trained_rows_step_bags")
public func trainedRowsStepBags(
    table: UnsafePointer<ec_trained_rows>?, bags: UnsafePointer<ec_bags>?, gradients: UnsafePointer<Float>?,
    step: UnsafePointer<ec_row_step>?
) -> ec_status {
    trainedTablesStepBags(tables: table, tableCount: 1, bags: bags, gradients: gradients, step: step)
}

@_cdecl("ec_trained_tables_step_bags")
public func trainedTablesStepBags(
    tables: UnsafePointer<ec_trained_rows>?, tableCount: Int64, bags: UnsafePointer<ec_bags>?,
    gradients: UnsafePointer<Float>?, step: UnsafePointer<ec_row_step>?
) -> ec_status {
    withStatus {
        let tables = try lent(tables, tableCount)
        let bags = try lent(bags)
        let optimizer = try optimizer(try required(step, "step").pointee)
        try requireMemory("gradients", bags.count, tables.dimension)
        // No gradients for no bags.
        let none = try output(nil, 0)
        let gradients = bags.count == 0 ? UnsafePointer(none) : try required(gradients, "gradients")
        try tables.step(bags, gradients: gradients, optimizer)
    }
}

@_cdecl("ec_divided_rows_places")
public func dividedRowsPlaces(
    rows: UnsafePointer<ec_divided_rows>?, ids base: UnsafeRawPointer?, width: Int32, count total: Int64,
    out: UnsafeMutablePointer<Int64>?
) -> ec_status {
    withStatus {
        let given = try required(rows, "rows").pointee
        let rows = try count(given.rows, "rows")
        let ids = try ids(base, total, width, "ids")
        guard rows > 0, ids.count > 0 else { return try ids.requireValid(rows: rows) }
        let kinds: DividedRows.Kinds
        if let flags = given.flags {
            kinds = .flags(flags, before: try required(given.before, "before"))
        } else {
            let runs = try count(given.run_count, "run_count")
            guard runs > 0 else { throw invalid("run_count must be at least 1 without flags") }
            kinds = .runs(
                ends: try required(given.ends, "ends"), shifts: try required(given.shifts, "shifts"), count: runs)
        }
        try DividedRows(rows: rows, kinds: kinds).write(placesOf: ids, to: try required(out, "out"))
    }
}

@_cdecl("ec_trained_rows_write")
public func trainedRowsWrite(
    table: UnsafePointer<ec_trained_rows>?, ids base: UnsafeRawPointer?, width: Int32, count total: Int64,
    values: UnsafePointer<Float>?, slopes: UnsafePointer<Float>?, how: UnsafePointer<ec_row_rounding>?
) -> ec_status {
    withStatus {
        let table = try lent(table)
        let ids = try ids(base, total, width, "ids")
        let given = try required(how, "how").pointee
        try requireMemory("values", ids.count, table.dimension)
        let how = RowRounding(
            rounding: try rounding(given.rounding), scaleRate: given.scale_rate, seed: Int(given.seed),
            step: Int(given.step))
        let none = try output(nil, 0)
        let values = ids.count == 0 ? UnsafePointer(none) : try required(values, "values")
        try table.write(ids, values: values, slopes: slopes, how)
    }
}

/// - Parameter withScales: Whether tables of codes must have scales: steps check that themselves.
private func lent(
    _ tables: UnsafePointer<ec_trained_rows>?, _ total: Int64, withScales: Bool = false
) throws -> TrainedTables {
    let total = try count(total, "table_count")
    let tables = try required(tables, "table")
    var found: [TrainedRows] = []
    for place in 0..<total {
        let table = try lent(tables + place)
        if withScales, table.format.isScaled { _ = try required(table.scales, "scales") }
        found.append(table)
    }
    return try TrainedTables(found)
}

func lent(_ table: UnsafePointer<ec_trained_rows>?) throws -> TrainedRows {
    let given = try required(table, "table").pointee
    let (rows, dimension) = (try count(given.rows, "rows"), try count(given.dimension, "dimension"))
    guard dimension > 0 else { throw invalid("dimension must be at least 1") }
    try requireMemory("elements", rows, dimension)
    let format = try format(given.format)
    return TrainedRows(
        elements: try rows == 0 ? UnsafeMutableRawPointer(output(nil, 0)) : required(given.elements, "elements"),
        scales: given.scales, elementState: given.element_state, rowState: given.row_state, rows: rows,
        dimension: dimension, format: format)
}

private func format(_ format: ec_row_format) throws -> TrainedRows.Format {
    switch format {
    case EC_ROWS_F32: return .float32
    case EC_ROWS_BF16: return .bfloat16
    case EC_ROWS_F16: return .float16
    case EC_ROWS_INT16: return .int16
    case EC_ROWS_INT8: return .int8
    case EC_ROWS_INT4: return .int4
    default: throw invalid("format must be one of ec_row_format")
    }
}

func optimizer(_ step: ec_row_step) throws -> RowOptimizer {
    let kind: RowOptimizer.Kind
    switch step.optimizer {
    case EC_SGD: kind = .sgd
    case EC_ADAGRAD: kind = .adagrad
    case EC_ROWWISE_ADAGRAD: kind = .rowwiseAdagrad
    case EC_ROWWISE_ADAM: kind = .rowwiseAdam
    default: throw invalid("optimizer must be one of ec_optimizer")
    }
    return RowOptimizer(
        kind: kind, rounding: try rounding(step.rounding), learningRate: step.learning_rate, eps: step.eps,
        beta1: step.beta1, beta2: step.beta2, weightDecay: step.weight_decay, seed: Int(step.seed),
        step: Int(step.step))
}

private func rounding(_ rounding: ec_rounding) throws -> RowOptimizer.Rounding {
    switch rounding {
    case EC_NEAREST: return .nearest
    case EC_STOCHASTIC: return .stochastic
    default: throw invalid("rounding must be EC_NEAREST or EC_STOCHASTIC")
    }
}
