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
            metadata: try metadataEntries(metadata),
            progress: progressCallback(progress, context))
    }
}

private func metadataEntries(_ metadata: UnsafePointer<CChar>?) throws -> [(key: String, value: String)] {
    metadata == nil ? [] : try TableFile.metadata(try text(metadata, "metadata"))
}

@_cdecl("ec_compress_to_file")
public func compressToFile(
    path: UnsafePointer<CChar>?, jobs: UnsafePointer<ec_job>?, count total: Int64, method: UnsafePointer<CChar>?,
    rowAlignment: Int64, metadata: UnsafePointer<CChar>?, progress: ec_progress?, context: UnsafeMutableRawPointer?,
    reports: UnsafeMutablePointer<ec_report>?
) -> ec_status {
    withStatus {
        let (jobs, out) = (try required(jobs, "jobs"), try required(reports, "reports"))
        let list = try (0..<(try count(total, "count"))).map { index in
            CompressionJob(
                try text(jobs[index].name, "name"), try handle(jobs[index].source, "source").table,
                weights: try optionalTable(jobs[index].weights), options: try optionValues(jobs[index].options))
        }
        let reports = try TableFile.compress(
            list, method: try text(method, "method"), to: try text(path, "path"),
            rowAlignment: try count(rowAlignment, "row_alignment"), metadata: try metadataEntries(metadata),
            progress: progressCallback(progress, context))
        for (index, report) in reports.enumerated() {
            out[index] = ec_report(
                stored_bytes: Int64(report.storedBytes), quality: ec_quality(report.quality),
                fallback_share: report.fallbackShare ?? -1)
        }
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

@_cdecl("ec_table_warm_up")
public func tableWarmUp(
    table: OpaquePointer?, progress: ec_progress?, context: UnsafeMutableRawPointer?,
    bytes: UnsafeMutablePointer<Int64>?
) -> ec_status {
    withStatus {
        let bytes = try required(bytes, "bytes")
        bytes.pointee = Int64(try handle(table).table.warmUp(progress: progressCallback(progress, context)))
    }
}
