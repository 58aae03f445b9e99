/// Lookups go through an expression in blocks: each node gets a block of ids, and calls its inner tables once for the
/// block.

/// Most ids in a block. Small enough that a block's rows stay in the second-level cache, large enough that calling a
/// node costs nothing beside its work. Part of the results: a longer bag is summed in pieces of this many rows.
let blockCapacity = 256

/// Ids that have been checked against the node's rows; -1 stands for a row of zeros. For nodes that take any ids, those
/// outside its rows stand for one too.
struct IDBlock {
    var ids: UnsafePointer<Int64>
    let count: Int
    /// How many ids after these are likely to be those of the next block. They are at most asked for.
    var ahead = 0
    /// Whether these were the block before's ids ahead.
    var wereAhead = false
}

extension IDBlock {
    /// The ids of a range of this block's.
    func range(_ start: Int, _ count: Int) -> IDBlock { IDBlock(ids: ids + start, count: count) }
}

/// Rows that a node gathers at once on its way to its own: as many as a block's ids, unless they are so long that they
/// would leave the second-level cache.
func tileRows(dimension: Int) -> Int { max(min(65_536 / dimension, blockCapacity), 1) }

/// Bytes of such rows, in whole vectors.
func tileBytes(dimension: Int) -> Int {
    tileRows(dimension: dimension) * MatrixProduct.stride(dimension) * MemoryLayout<Float>.size
}

/// Where a gathered block goes: `count` rows of `dimension` floats, `stride` floats apart.
struct RowBlock {
    let base: UnsafeMutablePointer<Float>
    let stride: Int

    @inline(__always)
    func row(_ index: Int) -> UnsafeMutablePointer<Float> { base + index * stride }
}

/// A run of ids in a block, at least one, whose rows are summed into one output row.
struct Segment {
    var start: Int
    var end: Int
    var output: UnsafeMutablePointer<Float>
    /// Whether the sum replaces what is there, as the first piece of a bag does, or is added to it.
    var replaces: Bool
    /// What the output is divided by once the block is summed; more than 1 only for a mean's last piece.
    var divisor: Float = 1
}

/// A block of a pooled lookup.
struct BagBlock {
    let ids: IDBlock
    /// One for each id; all ones unless `isWeighted`.
    let weights: UnsafePointer<Float>
    let isWeighted: Bool
    let segments: UnsafePointer<Segment>
    let segmentCount: Int
    let space: KernelSpace
}

extension BagBlock {
    /// `count` segments from `first` on as a block of its own, with outputs elsewhere.
    ///
    /// - Parameters:
    ///   - segments: Room for them.
    ///   - output: Where a segment's sum goes, counted from `first`, and whether it replaces what is there.
    @inline(__always)
    func part(
        _ first: Int, _ count: Int, segments target: UnsafeMutablePointer<Segment>,
        output: (Int) -> (UnsafeMutablePointer<Float>, replaces: Bool)
    ) -> BagBlock {
        let start = count > 0 ? segments[first].start : 0
        let end = count > 0 ? segments[first &+ count &- 1].end : 0
        for index in 0..<count {
            let segment = segments[first &+ index]
            let (place, replaces) = output(index)
            target[index] = Segment(
                start: segment.start &- start, end: segment.end &- start, output: place, replaces: replaces)
        }
        return BagBlock(
            ids: ids.range(start, end &- start), weights: weights + start, isWeighted: isWeighted,
            segments: UnsafePointer(target), segmentCount: count, space: space)
    }
}

/// What kernels keep a block's rows and parameters in.
struct KernelSpace {
    /// Two for each id of a block and those ahead.
    let pointers: UnsafeMutablePointer<UnsafeRawPointer>
    /// One for each id, and `Self.slack` more.
    let words: UnsafeMutablePointer<UInt32>
    /// As many.
    let factors: UnsafeMutablePointer<UInt16>
    /// One for each id.
    let floats: UnsafeMutablePointer<Float>
    /// One for each run.
    let biases: UnsafeMutablePointer<Float>
    /// Pieces of segments; as many as ids.
    let runs: UnsafeMutablePointer<Segment>

    /// Entries that may be written or read after a block's last.
    static var slack: Int { 16 }
}

/// What nodes found wrong in the data that they read during a lookup; shared by all threads of a call.
final class LookupContext: @unchecked Sendable {
    let onInvalid: InvalidIDs
    /// Nil in almost every lookup, which then costs no more than asking for it.
    private var problem: Problem?
    /// One for all lookups: to make a lock for each would take longer than to look up a row.
    private static let lock = Lock()

    /// How many entries were answered with zeros, and what was wrong with the first.
    private final class Problem {
        var zeros = 0
        var position = Int.max
        var error: FormatError

        init(_ error: FormatError) { self.error = error }
    }

    init(onInvalid: InvalidIDs) { self.onInvalid = onInvalid }

    /// A map entry that leads nowhere. The caller goes on with a row of zeros.
    func recordBadEntry(position: Int, entry: Int, rows: Int) {
        record(.badMapEntry(position: position, entry: entry, rows: rows), at: position)
    }

    /// A row whose cluster there is not. The caller goes on with a row of zeros.
    func recordBadCluster(row: Int, cluster: Int, clusters: Int) {
        record(.badCluster(row: row, cluster: cluster, clusters: clusters), at: row)
    }

    /// A row of a partition that belongs to none of its tables. The caller goes on with a row of zeros.
    func recordBadPart(row: Int, part: Int, parts: Int) {
        record(.badPart(row: row, part: part, parts: parts), at: row)
    }

    /// A row of a partition that is none of its table's. The caller goes on with a row of zeros.
    func recordBadRank(row: Int, rank: Int, rows: Int) {
        record(.badRank(row: row, rank: rank, rows: rows), at: row)
    }

    /// A row of non-zeros whose pointers lead nowhere. The caller goes on with a row of zeros.
    func recordBadRowPointers(row: Int) { record(.badRowPointers(row: row), at: row) }

    /// A row of more non-zeros than a row can have. The caller goes on with a row of zeros.
    func recordLongRow(row: Int, limit: Int) { record(.longRow(row: row, limit: limit), at: row) }

    /// A non-zero whose column there is not. The caller goes on without it.
    func recordBadColumn(row: Int, column: Int, dimension: Int) {
        record(.badColumn(row: row, column: column, dimension: dimension), at: row)
    }

    private func record(_ found: FormatError, at position: Int) {
        Self.lock.withLock {
            let problem = self.problem ?? Problem(found)
            self.problem = problem
            problem.zeros += 1
            if position < problem.position { (problem.position, problem.error) = (position, found) }
        }
    }

    /// Whether anything was wrong.
    var hasProblem: Bool { problem != nil }

    /// Entries that were answered with zeros; throws when the caller asked for that, or when the lookup was refused scratch.
    /// For when all threads are done.
    func finish() throws -> Int {
        try Scratch.check()
        guard let problem else { return 0 }
        if onInvalid == .raise { throw EmbedCompressError.format(problem.error) }
        return problem.zeros
    }
}

/// What happens to an id outside `[0, rows)`.
public enum InvalidIDs: Sendable {
    /// The call throws ``EmbedCompressError/invalidID(position:id:rows:)`` and writes nothing.
    case raise
    /// The id's row is zeros.
    case zero
}

/// How the rows of a bag are put together.
public enum Pooling: Sendable {
    case sum, mean, max
}
