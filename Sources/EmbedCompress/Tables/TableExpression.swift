/// A piece of a compressed table: a store, which holds bytes, or a route, which sends ids to inner tables and puts
/// their rows together.
public protocol TableExpression: Sendable {
    /// The name of this kind of piece in files.
    static var kind: String { get }
    /// Ids are `0 ..< rows`.
    var rows: Int { get }
    /// Columns of a row.
    var dimension: Int { get }
    /// Every byte that this piece holds itself, maps and scales included, inner tables excluded.
    var ownBytes: Int { get }
    /// One line about this piece, for people.
    var summary: String { get }
    /// The inner tables, with the names of the fields that hold them.
    var children: [(name: String, expression: any TableExpression)] { get }
}

extension TableExpression {
    /// Every byte of this piece and all below it. An array that several of them are on, as slices of a table are, counts
    /// once.
    public var storedBytes: Int {
        bytesOfPieces - ((self as? any Node).map { NodeEncoder.repeatedBytes(of: $0) } ?? 0)
    }
    /// The same, with an array counted for each piece that is on it.
    var bytesOfPieces: Int { children.reduce(ownBytes) { $0 + $1.expression.bytesOfPieces } }
    public var children: [(name: String, expression: any TableExpression)] { [] }

    /// Levels of the tree, at least 1.
    var depth: Int { 1 + (children.map(\.expression.depth).max() ?? 0) }

    /// The tree, a line for each piece.
    func tree(name: String? = nil, indent: String = "") -> String {
        let label = name.map { "\($0): " } ?? ""
        var text = "\(indent)\(label)\(summary)  [\(rows) x \(dimension)]  \(ownBytes.grouped) bytes"
        for child in children {
            text += "\n" + child.expression.tree(name: child.name, indent: indent + "  ")
        }
        return text
    }
}

/// What the core asks of every piece. Adding one is a file with a type of this protocol and a line in ``nodeKinds``.
protocol Node: TableExpression {
    /// Whether the ids of blocks may be anything, and change meanwhile: the node checks each as it uses it, and takes
    /// those outside `0 ..< rows` for -1. Callers have checked them once; they then need not copy them.
    var takesAnyIDs: Bool { get }
    /// The most bytes of ``Scratch`` that a block takes on a thread, those of inner tables not counted.
    var ownScratchBytes: Int { get }
    /// Writes the rows of a block of ids. Ids are in `-1 ..< rows`; -1 gives zeros.
    func gather(_ ids: IDBlock, into output: RowBlock, context: LookupContext)
    /// Adds the weighted sums of a block's segments to their outputs.
    func accumulate(_ block: BagBlock, context: LookupContext)
    /// The most ids of a bag whose sum ``writeSums(of:)`` writes; -1 where it writes none.
    var longestShortBag: Int { get }
    /// Writes the sums or means of the first bags of so few ids. Returns how many there are.
    func writeSums(of bags: ShortBags) -> Int
    /// Rows `range` on the same memory; the range has been checked.
    func sliced(_ range: Range<Int>) throws -> any Node
    /// The same with the rows of every store at that alignment, in new memory unless they lie so already. Reports the
    /// rows of every store.
    func aligned(to rowAlignment: Int, progress: ProgressCounter) throws -> any Node
    /// Lets go of the pages of mapped files that the rows lie in: they are read again when they are next touched.
    func discardPages()
    /// Checks what `init(from:)` leaves to lookups: the rules over all of the node's own arrays. Tells of their bytes.
    func verify(_ arrays: ArrayCheck) throws
    /// Hands out fields and arrays; `init(from:)` takes them back.
    func encode(into encoder: inout NodeEncoder)
    /// Checks everything that can be checked without reading all of an array.
    init(from decoder: inout NodeDecoder) throws
    /// Puts a node together from plain fields, arrays in their natural form, and inner tables.
    init(composing parts: inout Composition) throws
    /// The bytes that a node of that description holds itself; nil if they are too many to count.
    static func plannedBytes(_ plan: NodePlan) throws -> Int?
}

extension Node {
    var takesAnyIDs: Bool { false }
    var longestShortBag: Int { -1 }
    func writeSums(of bags: ShortBags) -> Int { 0 }
    /// What a block's ids, segments and rows take, and the rows of a tile.
    var ownScratchBytes: Int { blockScratchBytes + tileBytes(dimension: dimension) }

    /// The same, and what the inner table takes that takes most.
    var scratchBytes: Int {
        ownScratchBytes + (children.lazy.map { ($0.expression as? any Node)?.scratchBytes ?? 0 }.max() ?? 0)
    }

    /// For nodes whose arrays can hold anything.
    func verify(_ arrays: ArrayCheck) throws {}
    func discardPages() { for case let child as any Node in children.map(\.expression) { child.discardPages() } }

    /// What ``accumulate(_:context:)`` does, by gathering rows: for nodes that have no faster way to a sum.
    func accumulateGathered(_ block: BagBlock, context: LookupContext) {
        let capacity = tileRows(dimension: dimension)
        let stride = (dimension + 15) / 16 * 16
        Scratch.with(capacity * stride, of: Float.self) { rows in
            var sums = SegmentSums(block, columns: dimension)
            for start in Swift.stride(from: 0, to: block.ids.count, by: capacity) {
                let count = min(capacity, block.ids.count - start)
                gather(block.ids.range(start, count), into: RowBlock(base: rows, stride: stride), context: context)
                sums.add(UnsafePointer(rows), stride: stride, first: start, count: count)
            }
        }
    }
}

/// Every piece that a file can hold: this module's, and stores that others register.
let nodeKinds = Registry<any Node.Type>([
    Dense.self, Uniform.self, Codebook.self, Product.self, Sparse.self, SharedArray.self, TensorTrain.self,
    HashNetwork.self, Trellis.self, PackedFloats.self, Remap.self, Combination.self, Columns.self, Partition.self,
    Project.self, Rotate.self, Normalize.self,
])

/// More than enough for a block's ids, pointers, parts and segments.
let blockScratchBytes = 64 << 10

extension Int {
    /// With commas between thousands.
    var grouped: String {
        var digits = Array(String(magnitude))
        var place = digits.count - 3
        while place > 0 {
            digits.insert(",", at: place)
            place -= 3
        }
        return (self < 0 ? "-" : "") + String(digits)
    }
}
