public import CEmbedCompress.ABI
internal import EmbedCompress

/// What `ec_groups` says, in Swift's terms.
private struct GroupOptions {
    let groups: MatrixGroups
    let bits: Int
    let scaleType: ScaleType

    init(_ pointer: UnsafePointer<ec_groups>?) throws {
        let given = try required(pointer, "groups").pointee
        groups = try MatrixGroups(
            named: try text(given.kind, "kind"), groups: Int(given.groups),
            block: given.block == 0 ? nil : Int(given.block))
        bits = Int(given.bits)
        scaleType = try ScaleType(named: try text(given.scale_dtype, "scale_dtype"))
    }
}

@_cdecl("ec_group_shape")
public func groupShape(
    groups: UnsafePointer<ec_groups>?, rows: Int64, columns: Int64, groupRows: UnsafeMutablePointer<Int64>?,
    groupColumns: UnsafeMutablePointer<Int64>?, count total: UnsafeMutablePointer<Int64>?
) -> ec_status {
    withStatus {
        let (groupRows, groupColumns) = (
            try required(groupRows, "group_rows"), try required(groupColumns, "group_columns")
        )
        let total = try required(total, "count")
        let grid = try GroupOptions(groups).groups.grid(
            rows: try count(rows, "rows"), columns: try count(columns, "columns"))
        (groupRows.pointee, groupColumns.pointee) = (Int64(grid.groupRows), Int64(grid.groupColumns))
        total.pointee = Int64(grid.count)
    }
}

@_cdecl("ec_group_bytes")
public func groupBytes(
    groups: UnsafePointer<ec_groups>?, rows: Int64, columns: Int64, bytes: UnsafeMutablePointer<Int64>?
) -> ec_status {
    withStatus {
        let (options, bytes) = (try GroupOptions(groups), try required(bytes, "bytes"))
        bytes.pointee = Int64(
            try options.groups.storedBytes(
                rows: try count(rows, "rows"), columns: try count(columns, "columns"), bits: options.bits,
                scaleType: options.scaleType))
    }
}

@_cdecl("ec_group_ranges")
public func groupRanges(
    source: OpaquePointer?, groups: UnsafePointer<ec_groups>?, ranges: UnsafePointer<CChar>?, progress: ec_progress?,
    context: UnsafeMutableRawPointer?, scales: UnsafeMutablePointer<Float>?, biases: UnsafeMutablePointer<Float>?
) -> ec_status {
    withStatus {
        let (source, options) = (try handle(source, "source").table, try GroupOptions(groups))
        let count = try options.groups.grid(rows: source.rows, columns: source.dimension).count
        try source.groupRanges(
            bits: options.bits, groups: options.groups,
            ranges: try GroupRanges(named: try text(ranges, "ranges")), scaleType: options.scaleType,
            progress: progressCallback(progress, context),
            scales: UnsafeMutableBufferPointer(start: count == 0 ? nil : try required(scales, "scales"), count: count),
            biases: UnsafeMutableBufferPointer(start: count == 0 ? nil : try required(biases, "biases"), count: count))
    }
}

@_cdecl("ec_group_encode")
public func groupEncode(
    source: OpaquePointer?, groups: UnsafePointer<ec_groups>?, scales: UnsafePointer<Float>?,
    biases: UnsafePointer<Float>?, count total: Int64, progress: ec_progress?, context: UnsafeMutableRawPointer?,
    out: UnsafeMutablePointer<OpaquePointer?>?
) -> ec_status {
    withStatus {
        let out = try required(out, "out")
        let (source, options) = (try handle(source, "source").table, try GroupOptions(groups))
        let count = try count(total, "count")
        let table = try source.groupQuantized(
            bits: options.bits, groups: options.groups,
            scales: UnsafeBufferPointer(start: count == 0 ? nil : try required(scales, "scales"), count: count),
            biases: UnsafeBufferPointer(start: count == 0 ? nil : try required(biases, "biases"), count: count),
            scaleType: options.scaleType, progress: progressCallback(progress, context))
        hand(table, to: out)
    }
}

@_cdecl("ec_group_quantize")
public func groupQuantize(
    source: OpaquePointer?, groups: UnsafePointer<ec_groups>?, ranges: UnsafePointer<CChar>?, progress: ec_progress?,
    context: UnsafeMutableRawPointer?, out: UnsafeMutablePointer<OpaquePointer?>?
) -> ec_status {
    withStatus {
        let out = try required(out, "out")
        let (source, options) = (try handle(source, "source").table, try GroupOptions(groups))
        let table = try source.groupQuantized(
            bits: options.bits, groups: options.groups,
            ranges: try GroupRanges(named: try text(ranges, "ranges")), scaleType: options.scaleType,
            progress: progressCallback(progress, context))
        hand(table, to: out)
    }
}
