public import CEmbedCompress.ABI
internal import EmbedCompress

@_cdecl("ec_table_compose")
public func tableCompose(
    kind: UnsafePointer<CChar>?, fields: UnsafePointer<CChar>?, arrays: UnsafePointer<ec_array>?,
    arrayCount: Int64, children: UnsafePointer<OpaquePointer?>?, childCount: Int64, release: ec_release?,
    context: UnsafeMutableRawPointer?, out: UnsafeMutablePointer<OpaquePointer?>?
) -> ec_status {
    withStatus {
        let out = try required(out, "out")
        let childCount = try count(childCount, "child_count")
        let handles = UnsafeBufferPointer(
            start: childCount == 0 ? nil : try required(children, "children"), count: childCount)
        let table = try Table(
            composing: try text(kind, "kind"), fields: fields == nil ? "{}" : try text(fields, "fields"),
            arrays: try lentArrays(arrays, count: try count(arrayCount, "array_count")),
            children: try handles.map { try handle($0, "a child").table }, release: releaser(release, context))
        hand(table, to: out)
    }
}

@_cdecl("ec_plan_bytes")
public func planBytes(tree: UnsafePointer<CChar>?, bytes: UnsafeMutablePointer<Int64>?) -> ec_status {
    withStatus {
        let bytes = try required(bytes, "bytes")
        bytes.pointee = Int64(try Table.plannedBytes(tree: try text(tree, "tree")))
    }
}
