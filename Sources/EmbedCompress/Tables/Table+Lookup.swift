#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// Stands for the memory of an array without elements, which may have none; never read.
nonisolated(unsafe) let nothing = UnsafeRawPointer(UnsafeMutableRawPointer.allocate(byteCount: 64, alignment: 64))

/// Ids in a caller's memory: int32 or int64, never written to.
@usableFromInline
package struct IDs {
    let base: UnsafeRawPointer
    package let count: Int
    let width: Int

    /// - Parameter width: 4 or 8.
    @usableFromInline
    package init(base: UnsafeRawPointer?, count: Int, width: Int) {
        self.base = base ?? nothing
        self.count = count
        self.width = width
    }

    @inline(__always)
    subscript(_ index: Int) -> Int64 {
        width == 8
            ? (base + index &* 8).loadUnaligned(as: Int64.self)
            : Int64((base + index &* 4).loadUnaligned(as: Int32.self))
    }

    /// Whether any id is outside `[0, rows)`.
    func areValid(rows: Int) -> Bool {
        // For ids from 0 on, `last - id` can't overflow, and is negative just for those that are too large.
        let last = Int64(rows) &- 1
        var signs: Int64 = 0
        if width == 8 {
            for index in 0..<count {
                let id = (base + index &* 8).loadUnaligned(as: Int64.self)
                signs |= id | (last &- id)
            }
        } else {
            for index in 0..<count {
                let id = Int64((base + index &* 4).loadUnaligned(as: Int32.self))
                signs |= id | (last &- id)
            }
        }
        return signs >= 0
    }

    /// Whether each is the one before it and one more.
    var areConsecutive: Bool {
        var differences: Int64 = 0
        if width == 8 {
            let first = count > 0 ? base.loadUnaligned(as: Int64.self) : 0
            for index in 0..<count {
                differences |= (base + index &* 8).loadUnaligned(as: Int64.self) ^ (first &+ Int64(index))
            }
        } else {
            let first = count > 0 ? base.loadUnaligned(as: Int32.self) : 0
            for index in 0..<count {
                let steps = (base + index &* 4).loadUnaligned(as: Int32.self) &- first
                differences |= Int64(steps ^ Int32(truncatingIfNeeded: index))
            }
        }
        return differences == 0
    }

    /// Whether any is less than the one before it.
    var decrease: Bool {
        var found: UInt8 = 0
        if width == 8 {
            for index in 1..<max(count, 1) {
                let (before, after) = (base + (index &- 1) &* 8, base + index &* 8)
                found |= after.loadUnaligned(as: Int64.self) < before.loadUnaligned(as: Int64.self) ? 1 : 0
            }
        } else {
            for index in 1..<max(count, 1) {
                let (before, after) = (base + (index &- 1) &* 4, base + index &* 4)
                found |= after.loadUnaligned(as: Int32.self) < before.loadUnaligned(as: Int32.self) ? 1 : 0
            }
        }
        return found != 0
    }

    /// `range` of these.
    subscript(_ range: Range<Int>) -> IDs {
        IDs(base: base + range.lowerBound * width, count: range.count, width: width)
    }

    /// The ids outside `[0, rows)`: the position of the first, and how many.
    func invalid(rows: Int) -> (first: Int, count: Int)? {
        if areValid(rows: rows) { return nil }
        let positions = (0..<count).lazy.filter { UInt64(bitPattern: self[$0]) >= UInt64(rows) }
        guard let first = positions.first else { return nil }
        return (first, positions.count)
    }

    /// Throws ``EmbedCompressError/invalidID(position:id:rows:)`` for the first id outside `[0, rows)`.
    package func requireValid(rows: Int) throws {
        if let invalid = invalid(rows: rows) {
            throw EmbedCompressError.invalidID(position: invalid.first, id: self[invalid.first], rows: rows)
        }
    }

    /// The ids from `start` on where they are, if a block can hold them so.
    @inline(__always)
    func direct(from start: Int) -> UnsafePointer<Int64>? {
        guard width == 8, UInt(bitPattern: base) & 7 == 0 else { return nil }
        return (base + start &* 8).assumingMemoryBound(to: Int64.self)
    }

    /// Copies ids to a block, in which those outside `[0, rows)` become -1. Callers check ids first; doing it again on
    /// the copy keeps kernels in bounds even if another thread changes the array meanwhile.
    @inline(__always)
    func copy(from start: Int, count: Int, rows: Int, to target: UnsafeMutablePointer<Int64>) {
        let last = Int64(rows) &- 1
        if width == 8 {
            let source = base + start &* 8
            for index in 0..<count {
                let id = (source + index &* 8).loadUnaligned(as: Int64.self)
                target[index] = id | ((id | (last &- id)) &>> 63)
            }
        } else {
            let source = base + start &* 4
            for index in 0..<count {
                let id = Int64((source + index &* 4).loadUnaligned(as: Int32.self))
                target[index] = id | ((id | (last &- id)) &>> 63)
            }
        }
    }
}

extension Table {
    /// Rows of `ids`, one after the other: `ids.count * dimension` floats.
    ///
    /// - Throws: ``EmbedCompressError/invalidID(position:id:rows:)`` for an id outside `[0, rows)`, unless `onInvalid`
    ///   is `.zero`.
    public func lookup(_ ids: [Int], onInvalid: InvalidIDs = .raise) throws -> [Float] {
        try IDs.with(ids) { try lookup($0, onInvalid: onInvalid) }
    }

    @usableFromInline
    package func lookup(_ ids: IDs, onInvalid: InvalidIDs) throws -> [Float] {
        try Self.floats(ids.count, dimension) { try lookup(ids, onInvalid: onInvalid, into: $0) }
    }

    @usableFromInline
    package func lookup(_ ids: IDs, onInvalid: InvalidIDs, into output: UnsafeMutableBufferPointer<Float>) throws {
        try lookup(ids, onInvalid: onInvalid, into: try checked(output, rows: ids.count))
    }

    /// Where a caller's buffer begins, which must have room for just so many rows.
    func checked(_ output: UnsafeMutableBufferPointer<Float>, rows: Int) throws -> UnsafeMutablePointer<Float> {
        guard output.count == Checked.product(rows, dimension) else {
            throw EmbedCompressError.invalidArgument(
                "the output has room for \(output.count) floats, not for \(rows) rows of \(dimension)")
        }
        return output.baseAddress ?? UnsafeMutableRawPointer(mutating: nothing).assumingMemoryBound(to: Float.self)
    }

    /// Every row: `rows * dimension` floats.
    public func decode() throws -> [Float] {
        try Self.floats(rows, dimension) { try decode(0..<rows, into: $0) }
    }

    static func floats(
        _ rows: Int, _ dimension: Int, _ body: (UnsafeMutablePointer<Float>) throws -> Void
    ) throws -> [Float] {
        try Allocation.require(Checked.product(rows, dimension, MemoryLayout<Float>.size))
        let count = rows * dimension
        return try [Float](unsafeUninitializedCapacity: max(count, 1)) { buffer, initialized in
            if let base = buffer.baseAddress { try body(base) }
            initialized = count
        }
    }

    /// Rows of `ids`, one after the other.
    package func lookup(_ ids: IDs, onInvalid: InvalidIDs, into output: UnsafeMutablePointer<Float>) throws {
        try reading { try gather(ids, onInvalid: onInvalid, into: output) }
    }

    private func gather(_ ids: IDs, onInvalid: InvalidIDs, into output: UnsafeMutablePointer<Float>) throws {
        let zeros = try check(ids, onInvalid)
        let context = LookupContext(onInvalid: onInvalid)
        let block = RowBlock(base: output, stride: dimension)
        let rows = rows
        let direct = root.takesAnyIDs ? ids.direct(from: 0) : nil
        forEachBlock(count: ids.count) { start, count, scratch in
            if direct == nil { ids.copy(from: start, count: count, rows: rows, to: scratch) }
            root.gather(
                IDBlock(ids: direct.map { $0 + start } ?? UnsafePointer(scratch), count: count),
                into: RowBlock(base: block.row(start), stride: dimension),
                context: context)
        }
        countInvalid(zeros + (try context.finish()))
    }

    /// Rows of `range`, one after the other.
    package func decode(_ range: Range<Int>, into output: UnsafeMutablePointer<Float>) throws {
        try checkRows(range)
        try reading { try gather(range, into: output) }
    }

    private func gather(_ range: Range<Int>, into output: UnsafeMutablePointer<Float>) throws {
        let context = LookupContext(onInvalid: .raise)
        let block = RowBlock(base: output, stride: dimension)
        forEachBlock(count: range.count) { start, count, scratch in
            for index in 0..<count { scratch[index] = Int64(range.lowerBound + start + index) }
            root.gather(
                IDBlock(ids: scratch, count: count), into: RowBlock(base: block.row(start), stride: dimension),
                context: context)
        }
        _ = try context.finish()
    }

    /// How many ids are invalid, which is an error unless the caller asked for zeros.
    func check(_ ids: IDs, _ onInvalid: InvalidIDs) throws -> Int {
        guard let invalid = ids.invalid(rows: rows) else { return 0 }
        if onInvalid == .raise {
            throw EmbedCompressError.invalidID(position: invalid.first, id: ids[invalid.first], rows: rows)
        }
        return invalid.count
    }

    /// Blocks of up to `blockCapacity` indices, with scratch for their ids.
    func forEachBlock(
        count: Int, _ body: (_ start: Int, _ count: Int, _ scratch: UnsafeMutablePointer<Int64>) -> Void
    ) {
        Parallel.forEach(
            count: count, grain: parallelGrain(dimension: dimension), leastChunks: leastParallelChunks
        ) { range in
            withUnsafeTemporaryAllocation(of: Int64.self, capacity: min(blockCapacity, range.count)) { scratch in
                guard let base = scratch.baseAddress else { return }
                for start in stride(from: range.lowerBound, to: range.upperBound, by: blockCapacity) {
                    body(start, min(blockCapacity, range.upperBound - start), base)
                }
            }
        }
    }
}

/// Rows that are worth another thread's attention: some twenty microseconds of work, in whole blocks.
func parallelGrain(dimension: Int) -> Int {
    max(1, 131_072 / (max(dimension, 16) * blockCapacity)) * blockCapacity
}

/// A lookup of fewer chunks than this stays on one thread: waking another would take as long.
let leastParallelChunks = 4
