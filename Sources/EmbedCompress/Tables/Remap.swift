/// Inner row = f(id): modulo, quotient, or an explicit map in which -1 stands for a row of zeros.
///
/// `Remap(modulo, Dense)` is the hashing trick with the simplest hash; `Remap(array, Dense)` is row pruning or
/// deduplication. Own bytes: none, or those of the map.
public struct Remap: Node {
    public static let kind = "remap"

    /// Where an id goes.
    enum Function: Sendable {
        /// `(id + offset) % modulus`
        case modulo(modulus: Int, offset: Int)
        /// `(id + offset) / divisor`
        case quotient(divisor: Int, offset: Int)
        /// Int32 entries, little endian, one for each id.
        case map32(Bytes)
        /// Int64 entries, for inner tables of more than 2^31 rows.
        case map64(Bytes)
    }

    private enum FunctionName: String, CaseIterable {
        case modulo, quotient, map32, map64
    }

    let function: Function
    public let rows: Int
    let inner: any Node

    public var dimension: Int { inner.dimension }
    public var children: [(name: String, expression: any Expression)] { [("inner", inner)] }
    public var ownBytes: Int {
        switch function {
        case .modulo, .quotient: return 0
        case .map32(let map), .map64(let map): return map.count
        }
    }
    public var summary: String {
        switch function {
        case .modulo(let modulus, let offset): return "Remap \(Self.shifted(offset)) % \(modulus)"
        case .quotient(let divisor, let offset): return "Remap \(Self.shifted(offset)) / \(divisor)"
        case .map32: return "Remap map[id], 32-bit entries"
        case .map64: return "Remap map[id], 64-bit entries"
        }
    }
    private static func shifted(_ offset: Int) -> String { offset == 0 ? "id" : "(id + \(offset))" }

    /// Checks that every id of a computed function has an inner row; entries of a map are checked where they are used.
    init(_ function: Function, rows: Int, inner: any Node) throws {
        self.function = function
        self.rows = rows
        self.inner = inner
        guard rows >= 0 else { throw EmbedCompressError.invalidArgument("rows must not be negative, not \(rows)") }
        switch function {
        case .modulo(let modulus, let offset):
            guard modulus > 0, modulus <= inner.rows || (rows == 0 && inner.rows == 0) else {
                throw EmbedCompressError.invalidArgument(
                    "modulus must be from 1 to the inner table's \(inner.rows) rows, not \(modulus)")
            }
            try Self.checkOffset(offset, rows: rows)
        case .quotient(let divisor, let offset):
            guard divisor > 0 else {
                throw EmbedCompressError.invalidArgument("divisor must be at least 1, not \(divisor)")
            }
            try Self.checkOffset(offset, rows: rows)
            guard rows == 0 || (offset + rows - 1) / divisor < inner.rows else {
                throw EmbedCompressError.invalidArgument(
                    "the last id \(rows - 1) goes to inner row \((offset + rows - 1) / divisor), "
                        + "but the inner table has \(inner.rows) rows")
            }
        case .map32(let map), .map64(let map):
            guard map.count == rows * entryBytes else {
                throw EmbedCompressError.invalidArgument("a map of \(map.count) bytes does not have \(rows) entries")
            }
        }
        try checkDepth(of: self)
    }

    private static func checkOffset(_ offset: Int, rows: Int) throws {
        guard offset >= 0, Checked.sum(offset, rows) != nil else {
            throw EmbedCompressError.invalidArgument("offset \(offset) with \(rows) rows is out of range")
        }
    }

    /// A route through an explicit map, which is copied in the narrowest entries that hold it.
    init(map: UnsafeBufferPointer<Int64>, inner: any Node) throws {
        for (position, entry) in map.enumerated() where entry < -1 || entry >= Int64(inner.rows) {
            throw EmbedCompressError.invalidArgument(
                "map entry \(entry) at position \(position) must be -1 or a row of the inner table's \(inner.rows)")
        }
        if inner.rows <= Int(Int32.max) {
            let bytes = Bytes(try ByteStorage.allocate(map.count * 4))
            let entries = bytes.mutablePointer.bindMemory(to: Int32.self, capacity: map.count)
            for (position, entry) in map.enumerated() { entries[position] = Int32(truncatingIfNeeded: entry) }
            try self.init(.map32(bytes), rows: map.count, inner: inner)
        } else {
            let bytes = try Bytes(copying: UnsafeRawBufferPointer(map))
            try self.init(.map64(bytes), rows: map.count, inner: inner)
        }
    }

    private var entryBytes: Int {
        if case .map32 = function { return 4 }
        return 8
    }

    init(from decoder: inout NodeDecoder) throws {
        let function: Function
        switch try decoder.choice("function", FunctionName.self) {
        case .modulo:
            function = .modulo(
                modulus: try decoder.integer("modulus", 1...Int.max), offset: try decoder.integer("offset", 0...Int.max)
            )
        case .quotient:
            function = .quotient(
                divisor: try decoder.integer("divisor", 1...Int.max), offset: try decoder.integer("offset", 0...Int.max)
            )
        case .map32: function = .map32(try decoder.tensor("map", type: .i32, shape: [decoder.rows]))
        case .map64: function = .map64(try decoder.tensor("map", type: .i64, shape: [decoder.rows]))
        }
        let inner = try decoder.child("inner")
        guard inner.dimension == decoder.dimension else {
            throw EmbedCompressError.format(
                .invalidField(
                    node: Self.kind, field: "dimension", expected: "that of the inner table, \(inner.dimension)"))
        }
        do {
            try self.init(function, rows: decoder.rows, inner: inner)
        } catch EmbedCompressError.invalidArgument(let text) {
            throw EmbedCompressError.format(.invalidField(node: Self.kind, field: "function", expected: text))
        }
    }

    func encode(into encoder: inout NodeEncoder) {
        switch function {
        case .modulo(let modulus, let offset):
            encoder.set("function", FunctionName.modulo.rawValue)
            encoder.set("modulus", modulus)
            encoder.set("offset", offset)
        case .quotient(let divisor, let offset):
            encoder.set("function", FunctionName.quotient.rawValue)
            encoder.set("divisor", divisor)
            encoder.set("offset", offset)
        case .map32(let map):
            encoder.set("function", FunctionName.map32.rawValue)
            encoder.add("map", type: .i32, shape: [rows], bytes: map)
        case .map64(let map):
            encoder.set("function", FunctionName.map64.rawValue)
            encoder.add("map", type: .i64, shape: [rows], bytes: map)
        }
        encoder.add("inner", inner)
    }

    func sliced(_ range: Range<Int>) throws -> any Node {
        func part(_ map: Bytes) throws -> Bytes {
            guard let part = map.range(range.lowerBound * entryBytes, range.count * entryBytes) else {
                throw EmbedCompressError.invalidArgument("rows \(range) are not within the \(rows) rows of the table")
            }
            return part
        }
        let function: Function
        switch self.function {
        case .modulo(let modulus, let offset): function = .modulo(modulus: modulus, offset: offset + range.lowerBound)
        case .quotient(let divisor, let offset):
            function = .quotient(divisor: divisor, offset: offset + range.lowerBound)
        case .map32(let map): function = .map32(try part(map))
        case .map64(let map): function = .map64(try part(map))
        }
        return try Remap(function, rows: range.count, inner: inner)
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
                let modulus = Int64(modulus)
                let offset = Int64(offset)
                for index in 0..<ids.count {
                    let id = ids.ids[index]
                    target[index] = id < 0 ? -1 : (id &+ offset) % modulus
                }
            case .quotient(let divisor, let offset):
                let divisor = Int64(divisor)
                let offset = Int64(offset)
                for index in 0..<ids.count {
                    let id = ids.ids[index]
                    target[index] = id < 0 ? -1 : (id &+ offset) / divisor
                }
            case .map32(let map):
                let entries = map.pointer
                fill(target, ids, context) { Int64((entries + $0 * 4).loadUnaligned(as: Int32.self)) }
            case .map64(let map):
                let entries = map.pointer
                fill(target, ids, context) { (entries + $0 * 8).loadUnaligned(as: Int64.self) }
            }
            body(IDBlock(ids: UnsafePointer(target), count: ids.count))
        }
    }

    /// Entries may come from a file that nobody has read through: each is checked here.
    @inline(__always)
    private func fill(
        _ target: UnsafeMutablePointer<Int64>, _ ids: IDBlock, _ context: LookupContext, entry: (Int) -> Int64
    ) {
        let limit = Int64(inner.rows)
        for index in 0..<ids.count {
            let id = Int(truncatingIfNeeded: ids.ids[index])
            var next = id < 0 ? -1 : entry(id)
            if next < -1 || next >= limit {
                context.recordBadEntry(position: id, entry: Int(truncatingIfNeeded: next), rows: inner.rows)
                next = -1
            }
            target[index] = next
        }
    }
}
