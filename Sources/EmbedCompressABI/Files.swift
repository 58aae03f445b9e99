public import CEmbedCompress.ABI
internal import EmbedCompress

@_cdecl("ec_save")
public func save(
    path: UnsafePointer<CChar>?, tables: UnsafePointer<OpaquePointer?>?, names: UnsafePointer<UnsafePointer<CChar>?>?,
    count total: Int64, tensors: UnsafePointer<ec_array>?, tensorCount: Int64, metadata: UnsafePointer<CChar>?,
    progress: ec_progress?, context: UnsafeMutableRawPointer?, bytes: UnsafeMutablePointer<Int64>?
) -> ec_status {
    withStatus {
        let (tables, names) = (try required(tables, "tables"), try required(names, "names"))
        let named = try (0..<(try count(total, "count"))).map { index in
            (name: try text(names[index], "name"), table: try handle(tables[index]).table)
        }
        let lent = try lentArrays(tensors, count: try count(tensorCount, "tensor_count"))
        let (entries, digests) = try metadataEntries(metadata)
        let written = try TableFile.write(
            named, tensors: try lent.map { try PlainTensor($0) }, to: try filePath(path), metadata: entries,
            digests: digests, progress: progressCallback(progress, context))
        bytes?.pointee = Int64(written)
    }
}

private func filePath(_ path: UnsafePointer<CChar>?) throws -> FilePath { FilePath(try required(path, "path")) }

/// The entries to store, and whether one of them asks for digests.
private func metadataEntries(
    _ metadata: UnsafePointer<CChar>?
) throws -> (entries: [(key: String, value: String)], digests: Bool) {
    metadata == nil ? ([], false) : try TableFile.metadata(try text(metadata, "metadata"))
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
                weights: try optionalTable(jobs[index].weights),
                options: try optionValues(jobs[index].options, jobs[index].arrays, jobs[index].array_count))
        }
        let (entries, digests) = try metadataEntries(metadata)
        let reports = try TableFile.compress(
            list, method: try text(method, "method"), to: try filePath(path),
            rowAlignment: try count(rowAlignment, "row_alignment"), metadata: entries, digests: digests,
            progress: progressCallback(progress, context))
        for (index, report) in reports.enumerated() {
            out[index] = ec_report(
                stored_bytes: Int64(report.storedBytes), quality: ec_quality(report.quality),
                fallback_share: report.fallbackShare ?? -1, coarse_scale_share: report.coarseScaleShare ?? -1,
                f16_loss: report.halfLoss ?? -1, f32_loss: report.floatLoss ?? -1, choices: ec_string())
        }
        for (index, report) in reports.enumerated() where !report.choices.isEmpty {
            try hand(try MethodChoice.text(report.choices), to: &out[index].choices)
        }
    }
}

@_cdecl("ec_file_contents")
public func fileContents(path: UnsafePointer<CChar>?, out: UnsafeMutablePointer<ec_string>?) -> ec_status {
    withStatus { try hand(try TableFile(path: try filePath(path)).contents(), to: try required(out, "out")) }
}

@_cdecl("ec_file_read")
public func fileRead(path: UnsafePointer<CChar>?, reads: UnsafePointer<ec_read>?, count total: Int64) -> ec_status {
    withStatus {
        let file = try TableFile(path: try filePath(path))
        let total = try count(total, "count")
        guard total > 0 else { return }
        let reads = try required(reads, "reads")
        for index in 0..<total {
            let (read, byteCount) = (reads[index], try count(reads[index].byte_count, "byte_count"))
            let data = byteCount == 0 ? nil : try required(read.data, "data")
            try file.read(
                try text(read.name, "name"), into: UnsafeMutableRawBufferPointer(start: data, count: byteCount))
        }
    }
}

@_cdecl("ec_load")
public func load(
    path: UnsafePointer<CChar>?, name: UnsafePointer<CChar>?, map: Int32, out: UnsafeMutablePointer<OpaquePointer?>?
) -> ec_status {
    withStatus {
        let out = try required(out, "out")
        let file = try TableFile(path: try filePath(path))
        hand(try file.table(name == nil ? nil : try text(name, "name"), map: map != 0), to: out)
    }
}

@_cdecl("ec_load_verified")
public func loadVerified(
    path: UnsafePointer<CChar>?, name: UnsafePointer<CChar>?, map: Int32, progress: ec_progress?,
    context: UnsafeMutableRawPointer?, out: UnsafeMutablePointer<OpaquePointer?>?
) -> ec_status {
    withStatus {
        let out = try required(out, "out")
        let table = try TableFile(path: try text(path, "path")).verifiedTable(
            name == nil ? nil : try text(name, "name"), map: map != 0, progress: progressCallback(progress, context))
        hand(table, to: out)
    }
}

@_cdecl("ec_file_verify")
public func fileVerify(
    path: UnsafePointer<CChar>?, progress: ec_progress?, context: UnsafeMutableRawPointer?
) -> ec_status {
    withStatus {
        try TableFile(path: try text(path, "path")).verify(progress: progressCallback(progress, context))
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

@_cdecl("ec_file_write")
public func fileWrite(
    path: UnsafePointer<CChar>?, fill: ec_fill?, context: UnsafeMutableRawPointer?
) -> ec_status {
    withStatus {
        let fill = try required(fill, "fill")
        try writeFile(try filePath(path)) { descriptor in
            if fill(descriptor, context) != 0 { throw EmbedCompressError.cancelled }
        }
    }
}

@_cdecl("ec_read_vectors")
public func readVectors(
    text: UnsafePointer<CChar>?, byteCount: Int64, dimension: Int64, capacity: Int64,
    rows: UnsafeMutablePointer<Float>?, words: UnsafeMutablePointer<Int64>?,
    readRows: UnsafeMutablePointer<Int64>?, readBytes: UnsafeMutablePointer<Int64>?
) -> ec_status {
    withStatus {
        let (bytes, columns) = (try count(byteCount, "byte_count"), try count(dimension, "dimension"))
        let most = try count(capacity, "capacity")
        guard columns > 0 else { throw invalid("dimension must be at least 1") }
        let (readRows, readBytes) = (try required(readRows, "read_rows"), try required(readBytes, "read_bytes"))
        try requireMemory("rows", most, columns)
        try requireMemory("words", most, 2)
        var read = (rows: 0, bytes: 0)
        if bytes > 0, most > 0 {
            let memory = UnsafeRawBufferPointer(start: try required(text, "text"), count: bytes)
            read = VectorText.read(
                memory, dimension: columns, capacity: most, rows: try required(rows, "rows"),
                words: try required(words, "words"))
        }
        (readRows.pointee, readBytes.pointee) = (Int64(read.rows), Int64(read.bytes))
    }
}
