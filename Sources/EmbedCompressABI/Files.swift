public import CEmbedCompress.ABI
internal import EmbedCompress

@_cdecl("ec_save")
public func save(
    path: UnsafePointer<CChar>?, tables: UnsafePointer<OpaquePointer?>?, names: UnsafePointer<UnsafePointer<CChar>?>?,
    count total: Int64, metadata: UnsafePointer<CChar>?, progress: ec_progress?, context: UnsafeMutableRawPointer?
) -> ec_status {
    withStatus {
        let (tables, names) = (try required(tables, "tables"), try required(names, "names"))
        let named = try (0..<(try count(total, "count"))).map { index in
            (name: try text(names[index], "name"), table: try handle(tables[index]).table)
        }
        try TableFile.write(
            named, to: try text(path, "path"),
            metadata: metadata == nil ? [] : try TableFile.metadata(try text(metadata, "metadata")),
            progress: progressCallback(progress, context))
    }
}

@_cdecl("ec_file_contents")
public func fileContents(path: UnsafePointer<CChar>?, out: UnsafeMutablePointer<ec_string>?) -> ec_status {
    withStatus { try hand(try TableFile(path: try text(path, "path")).contents(), to: try required(out, "out")) }
}

@_cdecl("ec_load")
public func load(
    path: UnsafePointer<CChar>?, name: UnsafePointer<CChar>?, map: Int32, out: UnsafeMutablePointer<OpaquePointer?>?
) -> ec_status {
    withStatus {
        let out = try required(out, "out")
        let file = try TableFile(path: try text(path, "path"))
        hand(try file.table(name == nil ? nil : try text(name, "name"), map: map != 0), to: out)
    }
}
