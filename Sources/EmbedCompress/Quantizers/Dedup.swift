/// Dedup: two-dimensional blocks of a table, of which one stands for all that are like it.
///
/// Zhou et al. 2022 as in Zhang et al.'s study (VLDB 2024), with a tolerance in standard deviations of the table, since
/// a fixed one means something else for each table. Whole blocks of the same columns are compared; the rows after the
/// last whole block are kept. A budget drops blocks, the most alike first, until the rest fits; without one, blocks are
/// dropped as long as they are alike enough. A block that stands for others stays as long as there are such that do not, and in
/// the end each dropped block is replaced by the nearest one that was kept.
///
/// Bytes: 4 for each kept value, and for each column of blocks a map of `ceil(log2(kept))` bits for each block.
struct Dedup {
    /// More rounds of looking for blocks that are alike are not made without a budget.
    private static let mostRounds = 100
    private static let reach = 8
    /// What is kept of a block beside its values: what it is replaced by, those that it stands for, and, in a round, its
    /// candidates in three lists.
    private static let bytesOfBlock = 4 + MemoryLayout<[Int32]>.stride + 4 * MemoryLayout<Candidate>.stride

    private let values: FloatBlock
    private let rows: Int
    private let blockRows: Int
    /// Blocks of `blockRows` rows.
    private let wholeBlocks: Int
    private var columns: [ColumnOfBlocks]

    private struct ColumnOfBlocks {
        let neighbours: BlockNeighbours
        /// The kept block that each block is replaced by: itself if it is kept.
        var target: [Int32]
        /// Those that a kept block stands for.
        var dependents: [[Int32]]
        var kept: Int

        /// Those that are kept, or those that are not.
        func blocks(kept isKept: Bool) -> [Int32] {
            target.indices.filter { (Int(target[$0]) == $0) == isKept }.map { Int32($0) }
        }

        /// Whether a block is so similar to another that it can be dropped, and all that it stands for with it.
        func canDrop(_ block: Int, for other: Int, similarity: Double) throws -> Bool {
            try dependents[block].allSatisfy { try neighbours.similarity(Int($0), other) >= similarity }
        }

        mutating func drop(_ block: Int, for other: Int) {
            let moved = dependents[block] + [Int32(block)]
            dependents[block] = []
            for one in moved { target[Int(one)] = Int32(other) }
            dependents[other] += moved
            kept -= 1
        }
    }

    /// A block that could be dropped.
    private struct Candidate {
        let column: Int32
        let block: Int32
        let target: Int32
        /// Share of entries that are equal.
        let similarity: Float
        /// The squared distance.
        let distance: Float
    }

    init(_ values: FloatBlock, rows: Int, dimension: Int, blockRows: Int, blockColumns: Int, tolerance: Float) throws {
        (self.values, self.rows, self.blockRows) = (values, rows, blockRows)
        wholeBlocks = rows / blockRows
        columns = []
        try Allocation.require(
            Checked.product((dimension - 1) / blockColumns + 1, wholeBlocks, Self.bytesOfBlock))
        for first in stride(from: 0, to: dimension, by: blockColumns) {
            columns.append(
                ColumnOfBlocks(
                    neighbours: BlockNeighbours(
                        values: values, blockRows: blockRows,
                        columns: first..<min(first + blockColumns, dimension), tolerance: tolerance),
                    target: (0..<wholeBlocks).map { Int32($0) },
                    dependents: [[Int32]](repeating: [], count: wholeBlocks), kept: wholeBlocks))
        }
    }

    private var restRows: Int { rows - wholeBlocks * blockRows }
    private var blocks: Int { wholeBlocks + (restRows > 0 ? 1 : 0) }

    /// Bytes of a column of blocks of which so many whole ones are kept: all of them, if a map would take more.
    private func bytes(_ columns: Int, kept: Int) -> Int {
        let all = rows * columns * 4
        if kept == wholeBlocks { return all }
        let bits = PackedMap.bits(for: kept + (restRows > 0 ? 1 : 0) - 1)
        return min((kept * blockRows + restRows) * columns * 4 + (blocks * bits + 7) / 8, all)
    }

    private var bytes: Int { columns.reduce(0) { $0 + bytes($1.neighbours.columns.count, kept: $1.kept) } }

    /// The least bytes: one whole block is kept in each column.
    private var floorBytes: Int {
        columns.reduce(0) { $0 + bytes($1.neighbours.columns.count, kept: min(wholeBlocks, 1)) }
    }

    /// Drops blocks until `budget` bytes are met, or while there are any that are similar enough.
    mutating func drop(budget: Int?, similarity: Double, projections: Int, seed: Int, progress: ProgressCounter) throws
    {
        if let budget, floorBytes > budget {
            throw EmbedCompressError.budget(method: "dedup", budgetBytes: budget, floorBytes: floorBytes)
        }
        defer { progress.advance(by: rows) }
        var round = 0
        // Blocks that stand for others are dropped only when there are no others to drop.
        var dropsAny = false
        while budget.map({ bytes > $0 }) ?? (round < Self.mostRounds) {
            let found = try candidates(
                leastSimilarity: budget == nil ? similarity : 0, projections: projections,
                seed: seed &+ round &* 0x1_0000, progress: progress)
            let dropped = try drop(found, budget: budget, similarity: similarity, dropsAny: dropsAny)
            if dropped == 0, dropsAny { break }
            dropsAny = dropped == 0
            round += 1
        }
        try reassign(projections: projections, seed: seed &+ 0x5EED_0000, progress: progress)
    }

    /// Sends each dropped block to the nearest kept one that is found.
    private mutating func reassign(projections: Int, seed: Int, progress: ProgressCounter) throws {
        let lock = Lock()
        var targets: [Int: [Int32]] = [:]
        try Parallel.forEach(count: columns.count, grain: 1, progress: progress.watch) { range in
            for index in range {
                let column = columns[index]
                let dropped = column.blocks(kept: false)
                var random = SeededRandom(seed: seed &+ index)
                let nearest = try column.neighbours.nearest(
                    of: dropped, among: column.blocks(kept: true), unless: dropped.map { column.target[Int($0)] },
                    projections: projections, reach: Self.reach, random: &random)
                var target = column.target
                for (block, found) in zip(dropped, nearest) { target[Int(block)] = found }
                lock.withLock { targets[index] = target }
            }
        }
        for (index, target) in targets { columns[index].target = target }
    }

    /// The kept blocks of all columns that could be dropped, the most alike first.
    private func candidates(
        leastSimilarity: Double, projections: Int, seed: Int, progress: ProgressCounter
    ) throws -> [Candidate] {
        let lock = Lock()
        var byColumn = [[Candidate]](repeating: [], count: columns.count)
        try Parallel.forEach(count: columns.count, grain: 1, progress: progress.watch) { range in
            for index in range where columns[index].kept > 1 {
                let column = columns[index]
                var random = SeededRandom(seed: seed &+ index)
                let kept = column.blocks(kept: true)
                let entries = Double(column.neighbours.blockEntries)
                let best = try column.neighbours.best(
                    of: kept, projections: projections, reach: Self.reach, random: &random)
                let found = zip(kept, best).compactMap { block, match -> Candidate? in
                    let similarity = Double(match.equal) / entries
                    if match.block < 0 || similarity < leastSimilarity { return nil }
                    return Candidate(
                        column: Int32(index), block: block, target: Int32(match.block), similarity: Float(similarity),
                        distance: match.distance)
                }
                lock.withLock { byColumn[index] = found }
            }
        }
        let found = byColumn.flatMap { $0 }
        // By similarity, to a four-thousandth, then by distance, to a four-thousandth of itself.
        var keys = found.enumerated().map { index, one in
            UInt64((1 - one.similarity) * 4095) << 52 | UInt64(one.distance.bitPattern >> 11) << 32 | UInt64(index)
        }
        keys.sort()
        return keys.map { found[Int($0 & 0xffff_ffff)] }
    }

    /// Returns how many were dropped.
    private mutating func drop(
        _ candidates: [Candidate], budget: Int?, similarity: Double, dropsAny: Bool
    ) throws -> Int {
        var dropped = 0
        var total = bytes
        for one in candidates {
            if let budget, total <= budget { break }
            let (index, block, target) = (Int(one.column), Int(one.block), Int(one.target))
            guard Int(columns[index].target[target]) == target,
                dropsAny || columns[index].dependents[block].isEmpty,
                try budget != nil || columns[index].canDrop(block, for: target, similarity: similarity)
            else { continue }
            let width = columns[index].neighbours.columns.count
            total -= bytes(width, kept: columns[index].kept)
            columns[index].drop(block, for: target)
            total += bytes(width, kept: columns[index].kept)
            dropped += 1
        }
        return dropped
    }

    /// The table of what is kept.
    func node() throws -> any Node {
        let parts = try columns.map { column -> any Node in
            let width = column.neighbours.columns.count
            let usesMap = bytes(width, kept: column.kept) < rows * width * 4
            let whole = column.target.indices.filter { !usesMap || Int(column.target[$0]) == $0 }.map(Int32.init)
            let kept = whole + (restRows > 0 ? [Int32(wholeBlocks)] : [])
            let keptRows = whole.count * blockRows + restRows
            guard let byteCount = Checked.product(keptRows, width, 4) else {
                throw EmbedCompressError.outOfMemory(bytes: Int.max)
            }
            let bytes = Bytes(try ByteStorage.allocate(byteCount))
            column.neighbours.copy(kept, rows: rows, to: bytes.mutablePointer.assumingMemoryBound(to: Float.self))
            let dense = try Dense(bytes, element: .float32, rows: keptRows, dimension: width)
            if !usesMap { return dense }
            let ranks = try Buffer<Int32>(count: blocks)
            for (rank, block) in kept.enumerated() { ranks[Int(block)] = Int32(rank) }
            let map = try PackedMap(count: blocks, bits: PackedMap.bits(for: kept.count - 1)) { block in
                UInt64(ranks[block < wholeBlocks ? Int(column.target[block]) : block])
            }
            return try Remap(.map(map, blockRows: blockRows, offset: 0), rows: rows, inner: dense)
        }
        if parts.count == 1, let only = parts.first { return only }
        return try Columns(parts)
    }
}
