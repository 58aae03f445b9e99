/// A piece of a compressed table: a store, which holds bytes, or a route, which sends ids to inner tables and puts
/// their rows together.
public protocol Expression: Sendable {
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
    var children: [(name: String, expression: any Expression)] { get }
}

extension Expression {
    /// Every byte of this piece and all below it.
    public var storedBytes: Int { children.reduce(ownBytes) { $0 + $1.expression.storedBytes } }
    public var children: [(name: String, expression: any Expression)] { [] }

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
protocol Node: Expression {
    /// Whether the ids of blocks may be anything, and change meanwhile: the node checks each as it uses it, and takes
    /// those outside `0 ..< rows` for -1. Callers have checked them once; they then need not copy them.
    var takesAnyIDs: Bool { get }
    /// Writes the rows of a block of ids. Ids are in `-1 ..< rows`; -1 gives zeros.
    func gather(_ ids: IDBlock, into output: RowBlock, context: LookupContext)
    /// Adds the weighted sums of a block's segments to their outputs.
    func accumulate(_ block: BagBlock, context: LookupContext)
    /// Rows `range` on the same memory; the range has been checked.
    func sliced(_ range: Range<Int>) throws -> any Node
    /// The same with the rows of every store at that alignment, in new memory unless they lie so already. Reports the
    /// rows of every store.
    func aligned(to rowAlignment: Int, progress: ProgressCounter) throws -> any Node
    /// Lets go of the pages of mapped files that the rows lie in: they are read again when they are next touched.
    func discardPages()
    /// Hands out fields and arrays; `init(from:)` takes them back.
    func encode(into encoder: inout NodeEncoder)
    /// Checks everything that can be checked without reading all of an array.
    init(from decoder: inout NodeDecoder) throws
}

extension Node {
    var takesAnyIDs: Bool { false }
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

/// Every piece that a file can hold.
let nodeKinds: [any Node.Type] = [
    Dense.self, Uniform.self, Codebook.self, Product.self, TensorTrain.self, Sparse.self, SharedArray.self,
    HashNetwork.self,
    Remap.self, Combine.self, Columns.self, Partition.self, Project.self, Rotate.self,
]

/// Trees deeper than this are refused: nothing sensible needs them, and lookups recurse.
let maximumTreeDepth = 32

/// For every piece with inner tables, when it is made.
func checkDepth(of node: any Node) throws {
    if node.depth > maximumTreeDepth { throw EmbedCompressError.format(.treeTooDeep(limit: maximumTreeDepth)) }
}

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
