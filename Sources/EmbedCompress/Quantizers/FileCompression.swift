/// A table that is compressed straight into a file.
public struct CompressionJob: Sendable {
    /// What the table is called in the file.
    public let name: String
    public let source: Table
    public let weights: Table?
    public let options: [String: OptionValue]

    /// See ``Table/compressed(_:_:weights:progress:)`` for `weights` and `options`.
    public init(_ name: String, _ source: Table, weights: Table? = nil, options: [String: OptionValue] = [:]) {
        (self.name, self.source, self.weights, self.options) = (name, source, weights, options)
    }
}

/// What compressing a table into a file gave.
public struct CompressionReport: Sendable {
    public var storedBytes = 0
    public var quality = Quality()
    /// The share of rows, or of groups of columns, for which a search found nothing better than plain min-max, or, of trellis
    /// codes, than least squares; nil for methods that don't compare with either.
    public var fallbackShare: Double?
    /// The share of rows, or of groups of columns, whose f16 scale is so small that the nearest f16 number may leave the end
    /// of the range more than a step away from the last code; the one of least error was taken of it and its neighbours.
    /// nil for methods that choose no ranges, or of a table at once.
    public var coarseScaleShare: Double?
    /// Where a method chose f32 for scales, entries or values that are mostly f16: the normalised l2 loss of a sample of
    /// rows with f16, infinite where values are beyond it. nil where it did not.
    public var halfLoss: Double?
    /// The same with f32; nil if that is not known.
    public var floatLoss: Double?
    /// What the method chose for options that leave it to it, such as "auto".
    public var choices: [MethodChoice] = []

    /// Adds why a method chose f32.
    fileprivate mutating func add(_ losses: WideScales.Losses?) { (halfLoss, floatLoss) = (losses?.f16, losses?.f32) }
}

extension TableFile {
    /// Compresses tables into one file, atomically, in memory that does not grow with them: rows are read, compressed,
    /// compared with their source and written run by run; methods that make a table at once, as trellis codes with
    /// `fallback` are made, have the results of all jobs in memory. The bytes are those of compressing in memory and saving.
    ///
    /// - Parameters:
    ///   - rowAlignment: As for ``Table/aligned(to:progress:)``. A budget counts rows without padding and goes with 1 only.
    ///   - digests: Write the SHA-256 of each tensor, which ``verify(progress:)`` checks.
    /// - Returns: A report for each job, in order.
    public static func compress(
        _ jobs: [CompressionJob], method name: String, to path: String, rowAlignment: Int = 1,
        metadata: [(key: String, value: String)] = [], digests: Bool = false,
        progress callback: ProgressCallback? = nil
    ) throws -> [CompressionReport] {
        try compress(
            jobs, method: name, to: FilePath(path), rowAlignment: rowAlignment, metadata: metadata, digests: digests,
            progress: callback)
    }

    package static func compress(
        _ jobs: [CompressionJob], method name: String, to path: FilePath, rowAlignment: Int,
        metadata: [(key: String, value: String)], digests: Bool, progress callback: ProgressCallback?
    ) throws -> [CompressionReport] {
        let sources = jobs.flatMap { [$0.source] + ($0.weights.map { [$0] } ?? []) }
        let (writer, reports) = try MappedFile.reading(sources.flatMap(\.root.storages)) {
            try stream(
                jobs, method: name, to: path, rowAlignment: rowAlignment, metadata: metadata, digests: digests,
                progress: callback)
        }
        try writer.finish()
        return reports
    }

    /// Everything but the end.
    private static func stream(
        _ jobs: [CompressionJob], method name: String, to path: FilePath, rowAlignment: Int,
        metadata: [(key: String, value: String)], digests: Bool, progress callback: ProgressCallback?
    ) throws -> (writer: SafetensorsWriter, reports: [CompressionReport]) {
        let method = try Method.named(name)
        if rowAlignment != 1, jobs.contains(where: { $0.options["budget"] ?? .null != .null }) {
            throw EmbedCompressError.invalidArgument(
                "a budget counts rows without padding: give bits where row_alignment is not 1")
        }
        let progress = method.progress(rows: jobs.reduce(0) { Checked.sum($0, $1.source.rows) ?? Int.max }, callback)
        let tables = try jobs.map {
            try StreamedTable($0, method: method, rowAlignment: rowAlignment, progress: progress)
        }
        let (writer, _) = try writer(
            to: path, zip(jobs, tables).map { ($0.name, $1.parts) }, metadata: metadata, digests: digests)
        var reports: [CompressionReport] = []
        var firstTensor = 0
        for table in tables {
            reports.append(try table.write(to: writer, firstTensor: firstTensor, progress: progress))
            firstTensor += table.arrays.count
        }
        return (writer, reports)
    }
}

/// A table on its way into a file.
private struct StreamedTable {
    private let input: CompressionInput
    private let compressor: any RowCompressor
    /// The compressed table without rows: its layout, and what its rows share. Of a method that makes a table at once,
    /// the whole of it.
    private let known: any Node
    private let isFinished: Bool
    private let tally = FallbackTally()
    private let rows: Int
    private let rowAlignment: Int

    init(_ job: CompressionJob, method: Method, rowAlignment: Int, progress: ProgressCounter) throws {
        (input, compressor) = try method.begin(job.source, job.options, weights: job.weights, progress: progress)
        rows = job.source.rows
        self.rowAlignment = rowAlignment
        isFinished = compressor.finished != nil || compressor.needsWholeTable
        let known: any Node
        if compressor.needsWholeTable {
            known = try compressor.compress(input, tally: tally, progress: progress)
        } else {
            known =
                try compressor.finished
                ?? compressor.compress(input.sliced(0..<0), tally: FallbackTally(), progress: progress)
        }
        self.known = try known.aligned(to: rowAlignment, progress: progress.watch)
    }

    /// Tree and arrays of the whole table; the bytes are those of the one without rows.
    func parts(prefix: String) throws -> Parts {
        let parts = NodeEncoder.parts(of: known, prefix: prefix)
        if isFinished { return parts }
        var growth: [Key: Int] = [:]
        let arrays = try parts.arrays.map { array in
            guard array.isByRow else { return array }
            let shape = [rows] + array.shape.dropFirst()
            guard let bytes = Checked.product(of: shape + [array.type.byteCount]) else {
                throw EmbedCompressError.outOfMemory(bytes: Int.max)
            }
            growth[Key(array.name)] = bytes
            return StoredArray(name: array.name, type: array.type, shape: shape, bytes: array.bytes)
        }
        return Parts(tree: try grown(parts.tree, by: growth), arrays: arrays)
    }

    /// The tree of the whole table, from that of the one without rows: every node that has none there, as routes over a
    /// streamed store do, has all of them.
    ///
    /// - Parameter growth: Bytes of the arrays that have an entry for each row, by name.
    private func grown(_ tree: JSON, by growth: [Key: Int]) throws -> JSON {
        guard case .object(var object) = tree, case .integer(let ownBytes) = object["bytes"] else { return tree }
        if object["rows"] == .integer(0) { object["rows"] = .integer(Int64(rows)) }
        if case .object(let tensors) = object["tensors"] {
            let added = tensors.members.map { member -> Int? in
                if case .string(let name) = member.value { return growth[Key(name)] ?? 0 }
                return 0
            }
            guard let bytes = Checked.sum(of: added + [Int(ownBytes)]) else {
                throw EmbedCompressError.outOfMemory(bytes: Int.max)
            }
            object["bytes"] = .integer(Int64(bytes))
        }
        if case .object(var children) = object["children"] {
            for member in children.members { children[member.key] = try grown(member.value, by: growth) }
            object["children"] = .object(children)
        }
        return .object(object)
    }

    /// The arrays of what is known of the table.
    var arrays: [StoredArray] { NodeEncoder.parts(of: known, prefix: "").arrays }

    func write(to writer: SafetensorsWriter, firstTensor: Int, progress: ProgressCounter) throws -> CompressionReport {
        var sums = QualitySums()
        var report = CompressionReport()
        report.add(input.wideScales.losses)
        report.choices = compressor.choices
        let arrays = arrays
        // Bytes that no array has, such as seeds.
        report.storedBytes = known.storedBytes - arrays.reduce(0) { $0 + $1.bytes.count }
        for (index, array) in arrays.enumerated() {
            report.storedBytes += writer.tensors[firstTensor + index].byteCount
            if isFinished || !array.isByRow { try writer.write(array.bytes.buffer, tensor: firstTensor + index, at: 0) }
        }
        if isFinished {
            // Rows that the compressor has told of are not told of again.
            let sums = try Table(known).qualitySums(
                against: Table(input.source), firstRow: 0,
                progress: compressor.needsWholeTable ? progress.watch : progress)
            report.fallbackShare = tally.share
            report.quality = Quality(sums, rows: rows, dimension: input.source.dimension)
            return report
        }
        for range in RowReader.runs(of: input.source) {
            let run = try input.sliced(range)
            let node = try compressor.compress(run, tally: tally, progress: progress)
                .aligned(to: rowAlignment, progress: progress.watch)
            sums.add(try Table(node).qualitySums(against: Table(run.source), firstRow: range.lowerBound))
            for (index, array) in NodeEncoder.parts(of: node, prefix: "").arrays.enumerated()
            where arrays[index].isByRow {
                let rowBytes = array.bytes.count / run.source.rows
                try withExtendedLifetime(array.bytes.storage) {
                    try writer.write(array.bytes.buffer, tensor: firstTensor + index, at: range.lowerBound * rowBytes)
                }
            }
            run.discard()
        }
        report.quality = Quality(sums, rows: rows, dimension: input.source.dimension)
        (report.fallbackShare, report.coarseScaleShare) = (tally.share, tally.coarseShare)
        return report
    }
}

extension StoredArray {
    /// Of a table without rows: whether the array would have an entry for each.
    fileprivate var isByRow: Bool { shape.first == 0 }
}
