/// Inner row = f(id): modulo, quotient, a hash, or an explicit map of rows or of blocks of rows, in which an entry can
/// stand for zeros.
///
/// `Remap(hash, Dense)` is the hashing trick (Weinberger et al. 2009, arXiv 0902.2206); `Remap(map, Dense)` is row pruning
/// or deduplication. Own bytes: none, the 8 of a hash's seed, or those of the map: as many bits for each id, or block of
/// ids, as the inner table's rows or blocks need.
public struct Remap: Node {
    public static let kind = "remap"

    let function: Function
    public let rows: Int
    let inner: any Node

    public var dimension: Int { inner.dimension }
    public var children: [(name: String, expression: any TableExpression)] { [("inner", inner)] }
    public var ownBytes: Int { function.ownBytes }
    public var summary: String { "Remap " + function.summary }

    /// Checks that every id of a computed function has an inner row; entries of a map are checked where they are used.
    init(_ function: Function, rows: Int, inner: any Node) throws {
        self.function = function
        self.rows = rows
        self.inner = inner
        try function.check(rows: rows, innerRows: inner.rows)
        try checkLimits()
    }

    /// A route through an explicit map of blocks, which is packed to the bits that it needs.
    init(map: IntegerArray, blockRows: Int, rows: Int, inner: any Node) throws {
        guard blockRows > 0 else {
            throw EmbedCompressError.invalidArgument("blocks need at least one row, not \(blockRows)")
        }
        try checkRows(rows)
        guard map.count == Function.blocks(rows, of: blockRows) else {
            throw EmbedCompressError.invalidArgument(
                "\(rows) ids in blocks of \(blockRows) do not go with a map of \(map.count) entries")
        }
        let blocks = Function.blocks(inner.rows, of: blockRows)
        let rest = inner.rows % blockRows
        // Ids of the last block; the others are whole.
        let last = rows - (map.count - 1) * blockRows
        var hasZeros = false
        for position in 0..<map.count {
            let entry = map[position]
            hasZeros = hasZeros || entry == -1
            guard entry >= -1, entry < blocks else {
                let what = blockRows == 1 ? "row" : "block"
                throw EmbedCompressError.invalidArgument(
                    "map entry \(entry) at position \(position) must be -1 or a \(what) of the inner table's \(blocks)")
            }
            if rest > 0, entry == blocks - 1, position < map.count - 1 || last > rest {
                throw EmbedCompressError.invalidArgument(
                    "map entry \(entry) at position \(position) is the inner table's last block, which has \(rest) rows"
                )
            }
        }
        let packed = try PackedMap(count: map.count, bits: PackedMap.bits(for: hasZeros ? blocks : blocks - 1)) {
            map[$0] < 0 ? UInt64(blocks) : UInt64(map[$0])
        }
        try self.init(.map(packed, blockRows: blockRows, offset: 0), rows: rows, inner: inner)
    }

    init(from decoder: inout NodeDecoder) throws {
        do {
            let function = try Function(from: &decoder)
            let inner = try decoder.child("inner")
            guard inner.dimension == decoder.dimension else {
                throw EmbedCompressError.format(
                    .invalidField(
                        node: Self.kind, field: "dimension", expected: "that of the inner table, \(inner.dimension)"))
            }
            try self.init(function, rows: decoder.rows, inner: inner)
        } catch EmbedCompressError.invalidArgument(let text) {
            throw EmbedCompressError.format(.invalidField(node: Self.kind, field: "function", expected: text))
        }
    }

    func encode(into encoder: inout NodeEncoder) {
        function.encode(into: &encoder)
        encoder.add("inner", inner)
    }

    func sliced(_ range: Range<Int>) throws -> any Node {
        try Remap(try function.sliced(range), rows: range.count, inner: inner)
    }

    func aligned(to rowAlignment: Int, progress: ProgressCounter) throws -> any Node {
        try Remap(function, rows: rows, inner: try inner.aligned(to: rowAlignment, progress: progress))
    }

    func gather(_ ids: IDBlock, into output: RowBlock, context: LookupContext) {
        withInnerIDs(ids, context) { inner.gather($0, into: output, context: context) }
    }

    func accumulate(_ block: BagBlock, context: LookupContext) {
        withInnerIDs(block.ids, context) { ids in
            let innerBlock = BagBlock(
                ids: ids, weights: block.weights, isWeighted: block.isWeighted, segments: block.segments,
                segmentCount: block.segmentCount, space: block.space)
            inner.accumulate(innerBlock, context: context)
        }
    }

    private func withInnerIDs(_ ids: IDBlock, _ context: LookupContext, _ body: (IDBlock) -> Void) {
        Scratch.with(ids.count, of: Int64.self) { target in
            switch function {
            case .modulo(let modulus, let offset):
                let divider = Divider(modulus, limit: offset + rows)
                fill(target, ids, offset) { divider.divide($0).remainder }
            case .quotient(let divisor, let offset):
                let divider = Divider(divisor, limit: offset + rows)
                fill(target, ids, offset) { divider.divide($0).quotient }
            case .hash(let seed, let offset):
                let (seed, innerRows) = (UInt64(bitPattern: Int64(seed)), UInt64(inner.rows))
                fill(target, ids, offset) { Self.hash($0, seed: seed, rows: innerRows) }
            case .map(let map, 1, _):
                fill(target, ids, map.reader, context)
            case .map(let map, let blockRows, let offset):
                let divider = Divider(blockRows, limit: offset + rows)
                fill(target, ids, map.reader, divider, offset, context)
            }
            body(IDBlock(ids: UnsafePointer(target), count: ids.count))
        }
    }

    /// Writes the inner row of each id; -1 where there is none.
    fileprivate func write(innerRowsOf ids: IDBlock, to target: UnsafeMutablePointer<Int64>, _ context: LookupContext) {
        withInnerIDs(ids, context) { target.update(from: $0.ids, count: $0.count) }
    }

    @inline(__always)
    private func fill(
        _ target: UnsafeMutablePointer<Int64>, _ ids: IDBlock, _ offset: Int, _ row: (UInt64) -> UInt64
    ) {
        let offset = Int64(offset)
        for index in 0..<ids.count {
            let id = ids.ids[index]
            target[index] = id < 0 ? -1 : Int64(bitPattern: row(UInt64(bitPattern: id &+ offset)))
        }
    }

    /// Entries may come from a file that nobody has read through: each is checked here.
    private func fill(
        _ target: UnsafeMutablePointer<Int64>, _ ids: IDBlock, _ entries: PackedMap.Reader, _ context: LookupContext
    ) {
        let limit = UInt64(inner.rows)
        for index in 0..<ids.count {
            let id = Int(truncatingIfNeeded: ids.ids[index])
            if id < 0 {
                target[index] = -1
                continue
            }
            let entry = entries[id]
            target[index] = Int64(bitPattern: entry)
            if entry >= limit {
                target[index] = -1
                if entry > limit { record(entry, at: id, rows: inner.rows, context) }
            }
        }
    }

    /// The same for blocks: the last one may have too few rows for an entry.
    private func fill(
        _ target: UnsafeMutablePointer<Int64>, _ ids: IDBlock, _ entries: PackedMap.Reader, _ divider: Divider,
        _ offset: Int, _ context: LookupContext
    ) {
        let (innerRows, blockRows) = (inner.rows, Int(divider.divisor))
        let limit = UInt64(Function.blocks(innerRows, of: blockRows))
        for index in 0..<ids.count {
            let id = Int(truncatingIfNeeded: ids.ids[index])
            target[index] = -1
            if id < 0 { continue }
            let (block, row) = divider.divide(UInt64(id &+ offset))
            let entry = entries[Int(block)]
            if entry < limit {
                let next = Int(entry) &* blockRows &+ Int(row)
                if next < innerRows {
                    target[index] = Int64(next)
                    continue
                }
            }
            if entry != limit { record(entry, at: Int(block), rows: Int(limit), context) }
        }
    }

    @inline(never)
    private func record(_ entry: UInt64, at position: Int, rows: Int, _ context: LookupContext) {
        context.recordBadEntry(position: position, entry: Int(truncatingIfNeeded: entry), rows: rows)
    }
}

extension Table {
    /// The rows of the inner table of a `remap` that ids stand for; -1 for those that stand for zeros.
    ///
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` if the outermost node is no `remap`;
    ///   ``EmbedCompressError/invalidID(position:id:rows:)`` for an id outside `[0, rows)`.
    public func innerRows(of ids: [Int]) throws -> [Int] {
        var found = [Int64](repeating: 0, count: ids.count)
        try IDs.with(ids) { ids in
            try found.withUnsafeMutableBufferPointer {
                if let base = $0.baseAddress { try write(innerRowsOf: ids, to: base) }
            }
        }
        return found.map { Int($0) }
    }

    package func write(innerRowsOf ids: IDs, to target: UnsafeMutablePointer<Int64>) throws {
        guard let remap = root as? Remap else {
            throw EmbedCompressError.invalidArgument("the table must be a remap, not \(type(of: root).kind)")
        }
        _ = try check(ids, .raise)
        let context = LookupContext(onInvalid: .raise)
        forEachBlock(count: ids.count) { start, count, scratch in
            ids.copy(from: start, count: count, rows: rows, to: scratch)
            remap.write(innerRowsOf: IDBlock(ids: scratch, count: count), to: target + start, context)
        }
        _ = try context.finish()
    }

    /// `rows` ids over this table: `id % modulus`.
    public func remapped(rows: Int, modulo modulus: Int) throws -> Table {
        Table(try Remap(self, rows: rows, modulo: modulus))
    }

    /// `rows` ids over this table: `id / divisor`.
    public func remapped(rows: Int, dividedBy divisor: Int) throws -> Table {
        Table(try Remap(self, rows: rows, dividedBy: divisor))
    }

    /// `rows` ids over this table, each of which goes to a row that looks random, another one for each seed: in 64-bit
    /// arithmetic without overflow checks, with shifts that bring in zeros,
    ///
    ///     h = seed + (id + 1) * 0x9E3779B97F4A7C15
    ///     h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9
    ///     h = (h ^ (h >> 27)) * 0x94D049BB133111EB
    ///     row = (((h ^ (h >> 31)) >> 32) * self.rows) >> 32
    ///
    /// - Parameter seed: At least 0.
    public func remapped(rows: Int, hashedWith seed: Int) throws -> Table {
        Table(try Remap(self, rows: rows, hashedWith: seed))
    }

    /// Ids over this table: `map[id]`, where -1 stands for a row of zeros.
    public func remapped(through map: [Int]) throws -> Table {
        try remapped(rows: map.count, through: map, blockRows: 1)
    }

    /// `rows` ids over this table: `map[id / blockRows] * blockRows + id % blockRows`, where an entry of -1 stands for a
    /// block of zeros.
    public func remapped(rows: Int, through map: [Int], blockRows: Int) throws -> Table {
        try map.withUnsafeBufferPointer {
            Table(try Remap(map: IntegerArray($0), blockRows: blockRows, rows: rows, inner: root) as any Node)
        }
    }
}
