public import CEmbedCompress.ABI
internal import EmbedCompress

@_cdecl("ec_table_from_fused_rows")
public func tableFromFusedRows(
    data: UnsafeRawPointer?, rows: Int64, rowBytes: Int64, dimension: Int64, bits: Int64,
    layout: UnsafePointer<CChar>?, scaleType: UnsafePointer<CChar>?, rowAlignment: Int64, release: ec_release?,
    context: UnsafeMutableRawPointer?, out: UnsafeMutablePointer<OpaquePointer?>?
) -> ec_status {
    withStatus {
        let out = try required(out, "out")
        let table = try Table(
            fusedRows: data, rows: try count(rows, "rows"), rowBytes: try count(rowBytes, "row_bytes"),
            dimension: Int(dimension), bits: Int(bits), layout: try FusedRowLayout(named: try text(layout, "layout")),
            scaleType: try scaleType.map { try ScaleType(named: try text($0, "scale_dtype")) },
            rowAlignment: Int(rowAlignment), release: releaser(release, context))
        hand(table, to: out)
    }
}

@_cdecl("ec_table_fused_row_bytes")
public func tableFusedRowBytes(
    table: OpaquePointer?, layout: UnsafePointer<CChar>?, rowAlignment: Int64,
    rowBytes: UnsafeMutablePointer<Int64>?, data: UnsafeMutablePointer<UnsafeRawPointer?>?
) -> ec_status {
    withStatus {
        let (rowBytes, data) = (try required(rowBytes, "row_bytes"), try required(data, "data"))
        let found = try handle(table).table.lentFusedRows(
            layout: try FusedRowLayout(named: try text(layout, "layout")), rowAlignment: Int(rowAlignment))
        (rowBytes.pointee, data.pointee) = (Int64(found.rowBytes), found.data)
    }
}

@_cdecl("ec_table_fused_rows")
public func tableFusedRows(
    table: OpaquePointer?, layout: UnsafePointer<CChar>?, rowAlignment: Int64, out: UnsafeMutablePointer<UInt8>?
) -> ec_status {
    withStatus {
        let table = try handle(table).table
        let layout = try FusedRowLayout(named: try text(layout, "layout"))
        guard table.rows > 0 else {
            _ = try table.lentFusedRows(layout: layout, rowAlignment: Int(rowAlignment))
            return
        }
        try table.writeFusedRows(layout: layout, rowAlignment: Int(rowAlignment), to: try required(out, "out"))
    }
}
