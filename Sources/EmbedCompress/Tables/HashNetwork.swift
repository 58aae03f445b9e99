/// Rows that a small network makes of hashes of their ids: no table at all.
///
/// k hash functions ((a x + b) mod p) mod m give an id a vector of k numbers, uniform or normal; layers follow, each a
/// matrix and a bias (with the batch norm of training folded in), with Mish between them and nothing after the last.
///
/// Kang et al., "Learning to Embed Categorical Features without Embedding Tables for Recommendation" (DHE), KDD 2021
/// (arXiv 2010.10784). Weights are numbers in f32 or f16, or inner tables of codes with a row for each input, which are
/// decoded once, when the network is made: 4 bytes for each weight in memory. Bytes: those of the layers, 4 or 2 for a weight
/// or those of the inner tables, and 4 for a bias, 24 for a hash function and 8 for m. A row takes as many multiplications
/// as there are weights. Ids are below 2^32.
public struct HashNetwork: Node {
    public static let kind = "hash_network"

    /// A layer: `inputs x outputs` weights, row after row, and as many biases as outputs.
    public struct Layer: Sendable {
        public let weights: [Float]
        public let biases: [Float]

        public init(weights: [Float], biases: [Float]) { (self.weights, self.biases) = (weights, biases) }
    }

    /// How hashes become the numbers that the first layer takes.
    public enum Encoding: String, Sendable, CaseIterable {
        /// 2 h / (m - 1) - 1
        case uniform
        /// Pairs of independent normal numbers from pairs of hashes (Box and Muller, 1958).
        case normal
    }

    /// The constants of the hash functions: I64, one of each for each function.
    struct Constants: Sendable {
        let factors: Bytes
        let summands: Bytes
        let moduli: Bytes
    }

    public let rows: Int
    /// Results of each layer.
    let widths: [Int]
    /// m
    public let buckets: Int
    public let encoding: Encoding
    /// The type of weights; nil if they are those of inner tables.
    public var element: ScaleType? { inner.isEmpty ? weights.first?.type : nil }
    /// Added to ids; not 0 in slices.
    let offset: Int
    private let constants: Constants
    private let hashes: IDHashes
    /// Those of inner tables are decoded.
    private let weights: [NumberArray]
    private let biases: [NumberArray]
    /// Tables with the weights of each layer; none if the node has them itself.
    private let inner: [any Node]
    /// Valid as long as the arrays are.
    nonisolated(unsafe) private let layers: [HashLayers.Layer]

    public var dimension: Int { widths.last ?? 1 }
    public var ownBytes: Int {
        Self.constantBytes(hashes: hashes.count)
            + (inner.isEmpty ? weights + biases : biases).reduce(0) { $0 + $1.bytes.count }
    }
    public var children: [(name: String, expression: any TableExpression)] {
        inner.enumerated().map { ("weights\($0)", $1) }
    }

    /// Three numbers of each hash function, and m.
    private static func constantBytes(hashes: Int) -> Int { 24 * hashes + 8 }

    /// Of the node itself; nil if they are too many to count.
    ///
    /// - Parameter element: Of weights; nil if inner tables have them.
    static func byteCount(hashes: Int, widths: [Int], element: ScaleType?) -> Int? {
        let weights = zip([hashes] + widths, widths).map { Checked.product($0, $1, element?.byteCount ?? 0) }
        let biases = widths.map { Checked.product($0, ScaleType.float32.byteCount) }
        return Checked.sum(of: [constantBytes(hashes: hashes)] + weights + biases)
    }
    public var summary: String {
        "HashNetwork \(hashes.count) hashes of \(buckets.grouped) buckets, \(encoding.rawValue), layers of "
            + widths.map(String.init).joined(separator: ", ") + (element.map { " in \($0.rawValue)" } ?? "")
    }

    static let mostHashes = 1 << 16
    static let mostLayers = 64
    static let mostWidth = 1 << 16
    static let mostBuckets = Int(Int32.max)
    /// Of the weights of a layer that an inner table has, on average over the layers.
    static let mostDecodedBytes = 1 << 20
    /// Ids are below: with factors below 2^31 no product needs more than 63 bits.
    static let mostRows = 1 << 32

    init(
        _ constants: Constants, buckets: Int, encoding: Encoding, weights: [Bytes], biases: [Bytes],
        widths: [Int], element: ScaleType, rows: Int, offset: Int = 0, inner: [any Node] = []
    ) throws {
        let count = constants.factors.count / 8
        guard (1...Self.mostHashes).contains(count), encoding == .uniform || count % 2 == 0,
            [constants.factors, constants.summands, constants.moduli].allSatisfy({ $0.count == 8 * count }),
            (2...Self.mostBuckets).contains(buckets)
        else {
            throw EmbedCompressError.invalidArgument(
                "there must be from 1 to \(Self.mostHashes) hash functions, an even number for the encoding 'normal', "
                    + "each with a factor, a summand and a modulus, and from 2 to \(Self.mostBuckets) buckets")
        }
        guard (1...Self.mostLayers).contains(widths.count), weights.count == widths.count,
            biases.count == widths.count, widths.dropLast().allSatisfy({ (1...Self.mostWidth).contains($0) }),
            let dimension = widths.last, (1...maximumDimension).contains(dimension)
        else {
            throw EmbedCompressError.invalidArgument(
                "a hash network has from 1 to \(Self.mostLayers) layers of 1 to \(Self.mostWidth) results, the last of "
                    + "up to \(maximumDimension)")
        }
        guard rows >= 0, offset >= 0, let end = Checked.sum(rows, offset), end <= Self.mostRows else {
            throw EmbedCompressError.invalidArgument(
                "\(rows) rows from row \(offset) on are out of range: a hash network has at most \(Self.mostRows)")
        }
        for (index, width) in widths.enumerated() {
            let inputs = index == 0 ? count : widths[index - 1]
            guard weights[index].count == Checked.product(inputs, width, element.byteCount),
                biases[index].count == 4 * width
            else {
                throw EmbedCompressError.invalidArgument(
                    "layer \(index) needs \(inputs) x \(width) weights and \(width) biases")
            }
        }
        self.rows = rows
        self.widths = widths
        self.buckets = buckets
        self.encoding = encoding
        self.inner = inner
        self.offset = offset
        self.constants = constants
        hashes = try Self.hashes(constants, count: count, buckets: buckets, encoding: encoding)
        self.weights = weights.map { NumberArray($0, type: element) }
        // Kernels read biases in whole vectors, where they lie as floats do.
        let padded = try biases.map { try Self.padded($0) }
        self.biases = padded.map { NumberArray($0, type: .float32) }
        layers = zip(weights, padded).enumerated().map { index, layer in
            HashLayers.Layer(
                weights: Matrix(
                    layer.0, rows: index == 0 ? count : widths[index - 1], columns: widths[index], element: element),
                biases: layer.1.pointer.assumingMemoryBound(to: Float.self))
        }
    }

    /// The weights of inner tables, in f32.
    ///
    /// Only codes are taken: of other tables a few bytes might stand for weights without end. A file's nodes may share
    /// arrays, so that what is decoded of a network is limited to what readers allow its inner nodes beside their arrays.
    static func decoded(_ tables: [any Node]) throws -> [Bytes] {
        let sizes = tables.map { Checked.product($0.rows, $0.dimension, MemoryLayout<Float>.size) }
        guard let size = Checked.sum(of: sizes), size <= mostDecodedBytes * tables.count else {
            throw EmbedCompressError.invalidArgument(
                "inner tables of a hash network make weights of at most \(mostDecodedBytes) bytes for each layer, on "
                    + "average, once they are decoded")
        }
        return try tables.enumerated().map { index, node in
            guard node is Uniform || node is Codebook else {
                throw EmbedCompressError.invalidArgument(
                    "the inner tables of a hash network are stores of codes, uniform or codebook, but weights "
                        + "\(index) are a table of the kind '\(type(of: node).kind)'")
            }
            // No overflow: it was checked above.
            let count = node.rows * node.dimension * MemoryLayout<Float>.size
            try Allocation.require(count)
            let bytes = Bytes(try ByteStorage.allocate(count))
            try Table(node).decode(
                0..<node.rows, into: bytes.mutablePointer.bindMemory(to: Float.self, capacity: count / 4))
            return bytes
        }
    }

    /// The same bytes, with room to read past their end and at the address of a float.
    private static func padded(_ bytes: Bytes) throws -> Bytes {
        let isAligned = UInt(bitPattern: bytes.pointer) % UInt(MemoryLayout<Float>.alignment) == 0
        if isAligned, bytes.readableCount - bytes.count >= 64 { return bytes }
        return try withExtendedLifetime(bytes.storage) { try Bytes(copying: bytes.buffer) }
    }

    /// The constants are few: they are read and checked at once.
    private static func hashes(_ constants: Constants, count: Int, buckets: Int, encoding: Encoding) throws -> IDHashes
    {
        let limit = UInt64(Int32.max)
        return try withExtendedLifetime(constants.factors.storage) {
            try IDHashes(
                (0..<count).map { index in
                    func number(_ bytes: Bytes) -> UInt64 { (bytes.pointer + 8 * index).loadUnaligned(as: UInt64.self) }
                    let (a, b, p) = (
                        number(constants.factors), number(constants.summands), number(constants.moduli)
                    )
                    guard a <= limit, b <= limit, p >= 2, p <= limit else {
                        throw EmbedCompressError.invalidArgument(
                            "hash function \(index) must have a factor and a summand from 0 to \(limit) and a modulus "
                                + "from 2 to \(limit)")
                    }
                    return (a, b, p)
                }, buckets: buckets, encoding: encoding)
        }
    }

    /// Writes the hashes of ids, `ids.count` times as many as there are functions, as floats.
    ///
    /// - Parameters:
    ///   - constants: Of each function ((a x + b) mod p) mod m: a, b and p, `count` of each.
    ///   - buckets: m
    /// - Throws: ``EmbedCompressError/invalidID(position:id:rows:)`` for an id outside `[0, 2^32)`, and
    ///   ``EmbedCompressError/invalidArgument(_:)`` for constants that a table could not have; nothing is then written.
    package static func write(
        hashesOf ids: IDs,
        constants: (factors: UnsafePointer<Int64>, summands: UnsafePointer<Int64>, moduli: UnsafePointer<Int64>),
        count: Int, buckets: Int, to output: UnsafeMutablePointer<Float>
    ) throws {
        func bytes(_ numbers: UnsafePointer<Int64>) throws -> Bytes {
            try Bytes(copying: UnsafeRawBufferPointer(start: numbers, count: 8 * count))
        }
        guard (1...mostHashes).contains(count), (2...mostBuckets).contains(buckets) else {
            throw EmbedCompressError.invalidArgument(
                "there must be from 1 to \(mostHashes) hash functions, and from 2 to \(mostBuckets) buckets")
        }
        let found = Constants(
            factors: try bytes(constants.factors), summands: try bytes(constants.summands),
            moduli: try bytes(constants.moduli))
        let functions = try hashes(found, count: count, buckets: buckets, encoding: .uniform)
        try ids.requireValid(rows: mostRows)
        Parallel.forEach(count: ids.count, grain: max((1 << 13) / count, 1)) { range in
            // Ids of a caller's memory may change; below 2^32 they stay.
            for position in range {
                functions.hash(UInt64(UInt32(truncatingIfNeeded: ids[position])), to: output + position &* count)
            }
        }
    }

    /// - Parameters:
    ///   - factors: a of each hash function, from 0 to 2^31 - 1; as many summands b and moduli p, from 2 on.
    ///   - buckets: m
    public init(
        factors: [Int64], summands: [Int64], moduli: [Int64], buckets: Int, encoding: Encoding = .uniform,
        layers: [Layer], rows: Int
    ) throws {
        func bytes<Number>(_ values: [Number]) throws -> Bytes { try values.withUnsafeBytes { try Bytes(copying: $0) } }
        try self.init(
            Constants(factors: bytes(factors), summands: bytes(summands), moduli: bytes(moduli)), buckets: buckets,
            encoding: encoding, weights: layers.map { try bytes($0.weights) },
            biases: layers.map { try bytes($0.biases) },
            widths: layers.map(\.biases.count), element: .float32, rows: rows)
    }

    init(from decoder: inout NodeDecoder) throws {
        let count = try decoder.integer("hashes", 1...Self.mostHashes)
        let buckets = try decoder.integer("buckets", 2...Self.mostBuckets)
        let encoding = try decoder.choice("encoding", Encoding.self)
        let element = try decoder.optionalChoice("element", ScaleType.self)
        let layers = try decoder.integer("layers", 1...Self.mostLayers)
        let offset = try decoder.integer("offset", 0...Self.mostRows)
        let constants = Constants(
            factors: try decoder.tensor("factors", type: .i64, shape: [count]),
            summands: try decoder.tensor("summands", type: .i64, shape: [count]),
            moduli: try decoder.tensor("moduli", type: .i64, shape: [count]))
        var widths: [Int] = []
        var (weights, biases, inner): ([Bytes], [Bytes], [any Node]) = ([], [], [])
        for index in 0..<layers {
            let width =
                index == layers - 1 ? decoder.dimension : try decoder.integer("width\(index)", 1...Self.mostWidth)
            let name = "weights\(index)"
            if let element {
                let shape = [widths.last ?? count, width]
                weights.append(try decoder.tensor(name, type: element.elementType, shape: shape))
            } else {
                inner.append(try decoder.child(name))
            }
            biases.append(try decoder.tensor("biases\(index)", type: .f32, shape: [width]))
            widths.append(width)
        }
        try decoder.reserve(count * IDHashes.functionBytes + biases.reduce(0) { $0 + $1.count })
        let rows = decoder.rows
        self = try decoder.checking(element == nil ? "children" : "tensors") {
            try Self.checkShapes(inner, hashes: count, widths: widths)
            try decoder.reserve(inner.reduce(0) { $0 + 4 * $1.rows * $1.dimension })
            return try HashNetwork(
                constants, buckets: buckets, encoding: encoding,
                weights: element == nil ? Self.decoded(inner) : weights, biases: biases, widths: widths,
                element: element ?? .float32, rows: rows, offset: offset, inner: inner)
        }
    }

    /// Refuses inner tables of other shapes, before they are decoded.
    static func checkShapes(_ tables: [any Node], hashes: Int, widths: [Int]) throws {
        for (index, node) in tables.enumerated() {
            let inputs = index == 0 ? hashes : widths[index - 1]
            guard node.rows == inputs, node.dimension == widths[index] else {
                throw EmbedCompressError.invalidArgument(
                    "weights \(index) are a table of \(node.rows) x \(node.dimension), not of \(inputs) x "
                        + "\(widths[index])")
            }
        }
    }

    /// A node has either `element` and the tensors `weights0` and so on, or children of these names.
    func encode(into encoder: inout NodeEncoder) {
        encoder.set("hashes", hashes.count)
        encoder.set("buckets", buckets)
        encoder.set("encoding", encoding.rawValue)
        if let element { encoder.set("element", element.rawValue) }
        encoder.set("layers", widths.count)
        for (index, width) in widths.dropLast().enumerated() { encoder.set("width\(index)", width) }
        encoder.set("offset", offset)
        encoder.add("factors", type: .i64, shape: [hashes.count], bytes: constants.factors)
        encoder.add("summands", type: .i64, shape: [hashes.count], bytes: constants.summands)
        encoder.add("moduli", type: .i64, shape: [hashes.count], bytes: constants.moduli)
        for (index, width) in widths.enumerated() {
            let name = "weights\(index)"
            if let element {
                let shape = [index == 0 ? hashes.count : widths[index - 1], width]
                encoder.add(name, type: element.elementType, shape: shape, bytes: weights[index].bytes)
            } else {
                encoder.add(name, inner[index])
            }
            encoder.add("biases\(index)", type: .f32, shape: [width], bytes: biases[index].bytes)
        }
    }

    func sliced(_ range: Range<Int>) throws -> any Node {
        try with(inner, rows: range.count, offset: offset + range.lowerBound)
    }

    func aligned(to rowAlignment: Int, progress: ProgressCounter) throws -> any Node {
        if inner.isEmpty { return self }
        return try with(
            inner.map { try $0.aligned(to: rowAlignment, progress: progress) }, rows: rows, offset: offset)
    }

    private func with(_ inner: [any Node], rows: Int, offset: Int) throws -> HashNetwork {
        try HashNetwork(
            constants, buckets: buckets, encoding: encoding, weights: weights.map(\.bytes),
            biases: biases.map(\.bytes), widths: widths, element: weights.first?.type ?? .float32, rows: rows,
            offset: offset, inner: inner)
    }

    func discardPages() {
        for array in weights { array.bytes.discardPages() }
        for node in inner { node.discardPages() }
    }

    var ownScratchBytes: Int {
        blockScratchBytes + tileBytes(dimension: dimension)
            + HashLayers.scratchBytes(hashes: hashes.count, widths: widths)
    }

    func gather(_ ids: IDBlock, into output: RowBlock, context: LookupContext) {
        HashLayers.gather(ids, offset: offset, hashes: hashes, layers: layers, widths: widths, into: output)
    }

    func accumulate(_ block: BagBlock, context: LookupContext) { accumulateGathered(block, context: context) }
}
