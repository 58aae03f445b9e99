public import CEmbedCompress.ABI
internal import EmbedCompress

/// What an `ec_table` is: a table, its arrays laid out for C, and nothing else.
final class Handle {
    let table: Table
    /// Filled when C first asks for arrays.
    let arrays: ArrayList

    init(_ table: Table) {
        self.table = table
        arrays = ArrayList(table)
    }
}

func handle(_ pointer: OpaquePointer?, _ name: StaticString = "table") throws -> Handle {
    Unmanaged<Handle>.fromOpaque(UnsafeRawPointer(try required(pointer, name))).takeUnretainedValue()
}

func hand(_ table: Table, to out: UnsafeMutablePointer<OpaquePointer?>) {
    out.pointee = OpaquePointer(Unmanaged.passRetained(Handle(table)).toOpaque())
}

/// Gives lent memory back.
func releaser(_ release: ec_release?, _ context: UnsafeMutableRawPointer?) -> () -> Void {
    { release?(context) }
}

// MARK: - Making

@_cdecl("ec_table_dense")
public func tableDense(
    data: UnsafeRawPointer?, type: ec_dtype, rows: Int64, dimension: Int64, release: ec_release?,
    context: UnsafeMutableRawPointer?, out: UnsafeMutablePointer<OpaquePointer?>?
) -> ec_status {
    withStatus {
        let out = try required(out, "out")
        guard let element = elementType(type).flatMap({ Dense.Element($0) }) else {
            throw invalid("a table's values are f32, f16 or bf16")
        }
        let table = try Table(
            dense: data, element: element, rows: try count(rows, "rows"), dimension: try count(dimension, "dimension"),
            release: releaser(release, context))
        hand(table, to: out)
    }
}

@_cdecl("ec_table_compress")
public func tableCompress(
    source: OpaquePointer?, weights: OpaquePointer?, method: UnsafePointer<CChar>?, options: UnsafePointer<CChar>?,
    arrays: UnsafePointer<ec_array>?, arrayCount: Int64, countedRows: Int64, progress: ec_progress?,
    context: UnsafeMutableRawPointer?, out: UnsafeMutablePointer<OpaquePointer?>?
) -> ec_status {
    withStatus {
        let out = try required(out, "out")
        let source = try handle(source, "source").table
        let table = try Method.named(try text(method, "method")).compress(
            source, try optionValues(options, arrays, arrayCount), weights: try optionalTable(weights),
            countedRows: countedRows < 0 ? nil : try count(countedRows, "counted_rows"),
            progress: progressCallback(progress, context))
        hand(table, to: out)
    }
}

/// The options of a method: those of a JSON object, none for null, and those that are arrays.
func optionValues(
    _ options: UnsafePointer<CChar>?, _ arrays: UnsafePointer<ec_array>?, _ arrayCount: Int64
) throws -> [String: OptionValue] {
    var values = options == nil ? [:] : try OptionValue.options(try text(options, "options"))
    for array in try lentArrays(arrays, count: try count(arrayCount, "array_count")) {
        values[array.name] = .numbers(try array.numbers())
    }
    return values
}

func optionalTable(_ pointer: OpaquePointer?) throws -> Table? {
    try pointer.map { try handle($0).table }
}

@_cdecl("ec_table_assemble")
public func tableAssemble(
    tree: UnsafePointer<CChar>?, arrays: UnsafePointer<ec_array>?, count arrayCount: Int64, release: ec_release?,
    context: UnsafeMutableRawPointer?, out: UnsafeMutablePointer<OpaquePointer?>?
) -> ec_status {
    withStatus {
        let out = try required(out, "out")
        let table = try Table(
            tree: try text(tree, "tree"), arrays: try lentArrays(arrays, count: try count(arrayCount, "count")),
            release: releaser(release, context))
        hand(table, to: out)
    }
}

@_cdecl("ec_table_slice")
public func tableSlice(
    table: OpaquePointer?, start: Int64, stop: Int64, out: UnsafeMutablePointer<OpaquePointer?>?
) -> ec_status {
    withStatus {
        let out = try required(out, "out")
        hand(try handle(table).table.slice(try rowRange(start, stop)), to: out)
    }
}

@_cdecl("ec_table_align")
public func tableAlign(
    table: OpaquePointer?, rowAlignment: Int64, progress: ec_progress?, context: UnsafeMutableRawPointer?,
    out: UnsafeMutablePointer<OpaquePointer?>?
) -> ec_status {
    withStatus {
        let out = try required(out, "out")
        let aligned = try handle(table).table.aligned(
            to: try count(rowAlignment, "row_alignment"), progress: progressCallback(progress, context))
        hand(aligned, to: out)
    }
}

@_cdecl("ec_table_release")
public func tableRelease(table: OpaquePointer?) {
    if let table { Unmanaged<Handle>.fromOpaque(UnsafeRawPointer(table)).release() }
}

// MARK: - Asking

@_cdecl("ec_table_rows")
public func tableRows(table: OpaquePointer?) -> Int64 { (try? handle(table)).map { Int64($0.table.rows) } ?? 0 }

@_cdecl("ec_table_dimension")
public func tableDimension(table: OpaquePointer?) -> Int64 {
    (try? handle(table)).map { Int64($0.table.dimension) } ?? 0
}

@_cdecl("ec_table_stored_bytes")
public func tableStoredBytes(table: OpaquePointer?) -> Int64 {
    (try? handle(table)).map { Int64($0.table.storedBytes) } ?? 0
}

@_cdecl("ec_table_invalid_count")
public func tableInvalidCount(table: OpaquePointer?) -> Int64 {
    (try? handle(table)).map { Int64($0.table.invalidCount) } ?? 0
}

@_cdecl("ec_table_description")
public func tableDescription(table: OpaquePointer?, out: UnsafeMutablePointer<ec_string>?) -> ec_status {
    withStatus { try hand(try handle(table).table.description, to: try required(out, "out")) }
}

@_cdecl("ec_table_tree")
public func tableTree(table: OpaquePointer?, out: UnsafeMutablePointer<ec_string>?) -> ec_status {
    withStatus { try hand(try handle(table).table.treeText(), to: try required(out, "out")) }
}

@_cdecl("ec_table_row_layouts")
public func tableRowLayouts(table: OpaquePointer?, out: UnsafeMutablePointer<ec_string>?) -> ec_status {
    withStatus { try hand(try handle(table).table.rowLayoutsText(), to: try required(out, "out")) }
}

@_cdecl("ec_table_array_count")
public func tableArrayCount(table: OpaquePointer?) -> Int64 {
    (try? handle(table)).map { Int64($0.arrays.entries.count) } ?? 0
}

@_cdecl("ec_table_array")
public func tableArray(table: OpaquePointer?, index: Int64, out: UnsafeMutablePointer<ec_array>?) -> ec_status {
    withStatus {
        let out = try required(out, "out")
        guard let index = Int(exactly: index) else { throw invalid("there is no array \(index)") }
        out.pointee = try handle(table).arrays.lend(index)
    }
}

func rowRange(_ start: Int64, _ stop: Int64) throws -> Range<Int> {
    let (start, stop) = (try count(start, "start"), try count(stop, "stop"))
    guard start <= stop else { throw invalid("start \(start) is after stop \(stop)") }
    return start..<stop
}
