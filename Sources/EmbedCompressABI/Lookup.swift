public import CEmbedCompress.ABI
internal import EmbedCompress

func ids(_ base: UnsafeRawPointer?, _ total: Int64, _ width: Int32, _ name: StaticString) throws -> IDs {
    guard width == 4 || width == 8 else { throw invalid("\(name) must be int32 or int64") }
    let total = try count(total, name)
    try requireMemory(name, total)
    return IDs(base: total == 0 ? nil : try required(base, name), count: total, width: Int(width))
}

private func policy(_ onInvalid: ec_on_invalid) throws -> InvalidIDs {
    switch onInvalid {
    case EC_RAISE: return .raise
    case EC_ZERO: return .zero
    default: throw invalid("on_invalid must be EC_RAISE or EC_ZERO")
    }
}

private func pooling(_ mode: ec_mode) throws -> Pooling {
    switch mode {
    case EC_SUM: return .sum
    case EC_MEAN: return .mean
    case EC_MAX: return .max
    default: throw invalid("mode must be EC_SUM, EC_MEAN or EC_MAX")
    }
}

/// A place for no floats at all.
func output(_ out: UnsafeMutablePointer<Float>?, _ total: Int) throws -> UnsafeMutablePointer<Float> {
    if let out { return out }
    guard total == 0 else { throw invalid("out must not be null") }
    return emptyOutput
}
nonisolated(unsafe) private let emptyOutput = UnsafeMutablePointer<Float>.allocate(capacity: 16)

@_cdecl("ec_table_lookup")
public func tableLookup(
    table: OpaquePointer?, ids base: UnsafeRawPointer?, width: Int32, count total: Int64, onInvalid: ec_on_invalid,
    out: UnsafeMutablePointer<Float>?
) -> ec_status {
    withStatus {
        let table = try handle(table).table
        let ids = try ids(base, total, width, "ids")
        try requireMemory("out", ids.count, table.dimension)
        try table.lookup(ids, onInvalid: try policy(onInvalid), into: try output(out, ids.count))
    }
}

@_cdecl("ec_table_inner_rows")
public func tableInnerRows(
    table: OpaquePointer?, ids base: UnsafeRawPointer?, width: Int32, count total: Int64,
    out: UnsafeMutablePointer<Int64>?
) -> ec_status {
    withStatus {
        let table = try handle(table).table
        let ids = try ids(base, total, width, "ids")
        try requireMemory("out", ids.count)
        guard ids.count > 0 else { return }
        try table.write(innerRowsOf: ids, to: try required(out, "out"))
    }
}

@_cdecl("ec_table_bag")
public func tableBag(
    table: OpaquePointer?, bags: UnsafePointer<ec_bags>?, out: UnsafeMutablePointer<Float>?
) -> ec_status {
    withStatus {
        let table = try handle(table).table
        let bags = try lent(bags)
        try table.bag(bags, into: try output(out, bags.count))
    }
}

@_cdecl("ec_tables_bag")
public func tablesBag(
    tables: UnsafePointer<OpaquePointer?>?, count total: Int64, bags: UnsafePointer<ec_bags>?,
    out: UnsafeMutablePointer<Float>?
) -> ec_status {
    withStatus {
        let handles = UnsafeBufferPointer(
            start: total == 0 ? nil : try required(tables, "tables"), count: try count(total, "count"))
        let set = try TableSet(handles.map { try handle($0, "a table").table })
        let bags = try lent(bags)
        try set.bag(bags, into: try output(out, try set.batch(bags)))
    }
}

func lent(_ bags: UnsafePointer<ec_bags>?) throws -> Bags {
    let given = try required(bags, "bags").pointee
    return Bags(
        ids: try ids(given.ids, given.id_count, given.id_bytes, "ids"),
        offsets: try ids(given.offsets, given.offset_count, given.offset_bytes, "offsets"), weights: given.weights,
        includesLastOffset: given.include_last_offset != 0, paddingID: given.padding_id,
        pooling: try pooling(given.mode), onInvalid: try policy(given.on_invalid))
}

@_cdecl("ec_table_decode")
public func tableDecode(
    table: OpaquePointer?, start: Int64, stop: Int64, out: UnsafeMutablePointer<Float>?
) -> ec_status {
    withStatus {
        let table = try handle(table).table
        let rows = try rowRange(start, stop)
        try table.decode(rows, into: try output(out, rows.count))
    }
}

@_cdecl("ec_table_multiply")
public func tableMultiply(
    table: OpaquePointer?, start: Int64, stop: Int64, vectors: UnsafePointer<Float>?, count total: Int64,
    bias: UnsafePointer<Float>?, out: UnsafeMutablePointer<Float>?
) -> ec_status {
    withStatus {
        let table = try handle(table).table
        let rows = try rowRange(start, stop)
        let total = try count(total, "count")
        try requireMemory("vectors", total, table.dimension)
        try requireMemory("out", total, rows.count)
        // Without vectors, only the range is checked.
        let given = total > 0 ? try required(vectors, "vectors") : UnsafePointer(try output(nil, 0))
        try table.multiply(rows, with: given, count: total, bias: bias, into: try output(out, total * rows.count))
    }
}

@_cdecl("ec_table_touch")
public func tableTouch(
    table: OpaquePointer?, ids base: UnsafeRawPointer?, width: Int32, count total: Int64,
    checksum: UnsafeMutablePointer<Int64>?
) -> ec_status {
    withStatus {
        let table = try handle(table).table
        let checksum = try required(checksum, "checksum")
        checksum.pointee = Int64(try table.touch(try ids(base, total, width, "ids")))
    }
}

@_cdecl("ec_nearest_codes")
public func nearestCodes(
    rows: UnsafePointer<Float>?, count total: Int64, centroids: UnsafePointer<Float>?, parts: Int64, entries: Int64,
    width: Int64, codes: UnsafeMutablePointer<Int32>?
) -> ec_status {
    withStatus {
        let (rowCount, parts) = (try count(total, "rows"), try count(parts, "parts"))
        let (entries, width) = (try count(entries, "entries"), try count(width, "width"))
        guard rowCount > 0, parts > 0 else { return }
        guard entries > 0, width > 0, entries <= Int(Int32.max) else {
            throw invalid("centroids must have entries and columns")
        }
        guard let codes else { throw invalid("codes must not be null") }
        try requireMemory("rows", rowCount, parts, width)
        try requireMemory("centroids", parts, entries, width)
        try NearestCodes.search(
            rows: try required(rows, "rows"), count: rowCount, centroids: try required(centroids, "centroids"),
            parts: parts, entries: entries, width: width, codes: codes)
    }
}

@_cdecl("ec_fake_quantize")
public func fakeQuantize(
    values: UnsafePointer<Float>?, rows: Int64, columns: Int64, groupRows: Int64, groupColumns: Int64,
    scales: UnsafePointer<Float>?, biases: UnsafePointer<Float>?, last: Int32, out: UnsafeMutablePointer<Float>?,
    kept: UnsafeMutablePointer<UInt8>?, clipped: UnsafeMutablePointer<Int64>?
) -> ec_status {
    withStatus {
        let (rows, columns) = (try count(rows, "rows"), try count(columns, "columns"))
        let (groupRows, groupColumns) = (try count(groupRows, "group_rows"), try count(groupColumns, "group_columns"))
        let clipped = try required(clipped, "clipped")
        guard groupRows > 0, groupColumns > 0 else { throw invalid("a group must have rows and columns") }
        guard (1...255).contains(last) else { throw invalid("the last code must be from 1 to 255, not \(last)") }
        clipped.pointee = 0
        guard rows > 0, columns > 0 else { return }
        guard let out, let kept else { throw invalid("out and kept must not be null") }
        try requireMemory("values", rows, columns)
        clipped.pointee = Int64(
            FakeQuantization.round(
                try required(values, "values"), rows: rows, columns: columns, groupRows: groupRows,
                groupColumns: groupColumns, scales: try required(scales, "scales"),
                biases: try required(biases, "biases"), last: Int(last), to: out, kept: kept))
    }
}
