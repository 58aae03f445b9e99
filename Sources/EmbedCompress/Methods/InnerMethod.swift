/// A method inside a method, with its options: what compresses the factor of an SVD, or the hot rows of a table.
struct InnerMethod: Sendable {
    /// Rows as they are, in one of three types, or a method of the registry.
    enum Kind: Sendable {
        case plain(Dense.Element)
        case method(Method)
    }

    /// "dense", "f16", "bf16", or a method's name.
    let name: String
    let kind: Kind
    let options: [String: OptionValue]
    private let owner: String
    private let sizes = SizeList()

    /// - Parameter owner: The method that it is part of, for errors.
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` if there is no such method, or it has no such option.
    init(_ name: String, _ options: [String: OptionValue], within owner: String) throws {
        // What is left open is chosen before bytes are counted.
        let options = options.filter { !(["scale_dtype", "entry_dtype"].contains($0.key) && $0.value == "auto") }
        (self.name, self.options, self.owner) = (name, options, owner)
        if let element = Self.plain[name] {
            kind = .plain(element)
        } else if let method = Method.all.first(where: { $0.name == name }) {
            kind = .method(method)
        } else {
            throw EmbedCompressError.invalidArgument(
                "\(owner) has no inner method '\(name)'; give dense, f16, bf16 or a post-training method")
        }
        if name == Method.trellis.name {
            for (option, value) in [("fallback", OptionValue.bool(false)), ("first_stage", "none")] {
                guard let given = options[option], given != value else { continue }
                throw EmbedCompressError.invalidArgument(
                    "\(owner) counts the bytes of its inner method before it looks at rows, so \(option) of trellis must be "
                        + "\(value.text)")
            }
        }
        let known = knownOptions
        if let unknown = options.keys.filter({ !known.contains($0) }).min() {
            throw EmbedCompressError.invalidArgument(
                "neither \(owner) nor its inner method \(name) has the option '\(unknown)'"
                    + (known.isEmpty ? "" : "; those of \(name) are \(known.sorted().joined(separator: ", "))"))
        }
    }

    private static let plain: [String: Dense.Element] = ["dense": .float32, "f16": .float16, "bf16": .bfloat16]

    /// The names of the method's options.
    var knownOptions: Set<String> {
        guard case .method(let method) = kind else { return [] }
        return Set(method.options.map(\.name))
    }

    var isPlain: Bool {
        if case .plain = kind { return true }
        return false
    }

    /// Whether rows are compressed each by itself, with a range of values.
    var isByRow: Bool { isPlain || knownOptions.contains("group") }

    /// Whether every row takes the same bytes, so that bits are all there is to choose.
    var hasFixedRows: Bool {
        isByRow || knownOptions.isDisjoint(with: ["parts", "clusters", "rank", "groups", "tiers"])
    }

    var hasFreeBits: Bool { knownOptions.contains("bits") && (options["bits"] ?? .null) == .null }

    func with(_ option: String, _ value: OptionValue) throws -> InnerMethod {
        try InnerMethod(name, options.merging([option: value]) { _, new in new }, within: owner)
    }

    /// This method with each number of bits that it takes; itself where bits are given or play no part.
    func choices(_ widths: [Int] = [8, 7, 6, 5, 4, 3, 2, 1]) throws -> [InnerMethod] {
        guard hasFreeBits, case .method(let method) = kind,
            let option = method.options.first(where: { $0.name == "bits" })
        else { return [self] }
        return try widths.filter { option.kind.accepts(.integer($0)) }.map { try with("bits", .integer($0)) }
    }

    /// The same with f32 scales, or entries of codebooks, if the options leave them open and f16 ones are not good enough for
    /// some rows.
    ///
    /// - Parameter input: What they are part of.
    func suiting(_ rows: any Node, of input: CompressionInput) throws -> InnerMethod {
        guard case .method = kind,
            let option = ["scale_dtype", "entry_dtype"].first(where: knownOptions.contains),
            options[option] ?? .null == .null, options["bits"] != 16
        else { return self }
        let tried = try choices()[0]
        let losses = try ScaleChoice.losses(of: rows, steps: option == "scale_dtype" ? 255 : 1) {
            sample, type in
            try tried.with(option, .string(type.rawValue)).compress(
                sample, progress: ProgressCounter(total: 0, callback: nil))
        }
        guard let losses else { return self }
        input.wideScales.add(losses)
        return try with(option, .string(ScaleType.float32.rawValue))
    }

    // MARK: - Compressing

    /// How often each row of what it compresses is read.
    var passes: Int {
        guard case .method(let method) = kind else { return 1 }
        return method.passes
    }

    /// The rows of a table, compressed.
    ///
    /// - Parameters:
    ///   - budget: Bytes, for a method that has such an option.
    ///   - progress: Told of ``passes`` readings of each row.
    func compress(_ source: any Node, budget: Int? = nil, progress: ProgressCounter) throws -> any Node {
        switch kind {
        case .plain(let element): return try dense(source, as: element, progress: progress)
        case .method(let method):
            var options = options
            if method.name == Method.trellis.name {
                options["fallback"] = .bool(false)
                // What is chosen by looking at rows takes bytes that have not been counted.
                for option in ["center", "rotation"] where options[option] ?? "auto" == "auto" {
                    options[option] = "none"
                }
            }
            if let budget {
                options["budget"] = .integer(budget)
            } else if options["bits"] != 16 {
                // What rows take has been counted without looking at them.
                for option in ["scale_dtype", "entry_dtype"]
                where knownOptions.contains(option) && options[option] ?? .null == .null {
                    options[option] = .string(ScaleType.float16.rawValue)
                }
            }
            return try method.compress(Table(source), options, progress: progress)
        }
    }

    private func dense(_ source: any Node, as element: Dense.Element, progress: ProgressCounter) throws -> Dense {
        let dimension = source.dimension
        guard let count = Checked.product(source.rows, dimension, element.type.byteCount) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        let bytes = Bytes(try ByteStorage.allocate(count, zeroed: false))
        let target = bytes.mutablePointer
        try RowReader.forEachBlock(of: source, progress: progress) { first, rows, values in
            try checkFinite(values, rows, dimension, firstRow: first)
            for index in 0..<rows {
                let row = values.row(index)
                let place = target + (first + index) * dimension * element.type.byteCount
                switch element {
                case .float32: place.assumingMemoryBound(to: Float.self).update(from: row, count: dimension)
                case .bfloat16:
                    let halves = place.assumingMemoryBound(to: UInt16.self)
                    for column in 0..<dimension { halves[column] = brainFloat(row[column]).littleEndian }
                case .float16:
                    let halves = place.assumingMemoryBound(to: UInt16.self)
                    for column in 0..<dimension {
                        let half = halfFromFloat(row[column])
                        guard half & 0x7C00 != 0x7C00 else {
                            throw EmbedCompressError.invalidArgument(
                                "row \(first + index) does not fit f16: it has \(row[column]) in column \(column)")
                        }
                        halves[column] = half.littleEndian
                    }
                }
            }
        }
        return try Dense(bytes, element: element, rows: source.rows, dimension: dimension)
    }

    // MARK: - Bytes

    /// Bytes of so many rows: exact where each row has the same and what rows share does not depend on their number.
    func bytes(rows: Int, dimension: Int) throws -> Int {
        let size = try size(dimension)
        guard let total = Checked.product(rows, size.row).flatMap({ Checked.sum($0, size.shared) }) else {
            return Int.max
        }
        return total
    }

    /// The bytes of a row, and of what rows share.
    func sizePerRow(_ dimension: Int) throws -> (row: Int, shared: Int) {
        let size = try size(dimension)
        return (size.row, size.shared)
    }

    private struct Size {
        let row: Int
        let shared: Int
    }

    /// As many rows as a codebook of 8 bits has entries, so that codebooks are whole; rows of fractional bits have none.
    private var probeRows: Int { hasFractionalBits ? 1 : 256 }

    private func size(_ dimension: Int) throws -> Size {
        if case .plain(let element) = kind { return Size(row: dimension * element.type.byteCount, shared: 0) }
        // What is exact takes what its rows need, and no more than f32 does.
        if name == Method.exact.name { return Size(row: dimension * MemoryLayout<Float>.size, shared: 0) }
        return try sizes.size(dimension) {
            if isByRow { return Size(row: try probeBytes(1, dimension), shared: 0) }
            let (one, two) = (
                try probeBytes(probeRows, dimension), try probeBytes(2 * probeRows, dimension)
            )
            let row = (two - one) / probeRows
            return Size(row: row, shared: one - row * probeRows)
        }
    }

    /// The bytes of some rows of random numbers.
    private func probeBytes(_ rows: Int, _ dimension: Int) throws -> Int {
        var random = SeededRandom(seed: 0)
        let values = (0..<rows * dimension).map { _ in Float(random.below(1 << 16)) * 0x1p-15 - 1 }
        let node = try compress(
            try Dense(values, rows: rows, dimension: dimension), progress: ProgressCounter(total: 0, callback: nil))
        return node.storedBytes
    }

    /// Sizes that are known, by dimension.
    private final class SizeList: @unchecked Sendable {
        private let lock = Lock()
        private var known: [Int: Size] = [:]

        func size(_ dimension: Int, _ make: () throws -> Size) rethrows -> Size {
            if let size = lock.withLock({ known[dimension] }) { return size }
            let size = try make()
            lock.withLock { known[dimension] = size }
            return size
        }
    }
}

extension InnerMethod: CustomStringConvertible {
    /// As it is written in a call.
    var description: String {
        let given = options.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value.text)" }
        return given.isEmpty ? name : "\(name)(\(given.joined(separator: ", ")))"
    }
}

/// The nearest bf16: the upper half of an f32, rounded to even.
func brainFloat(_ value: Float) -> UInt16 {
    let bits = value.bitPattern
    return UInt16(truncatingIfNeeded: (bits &+ 0x7FFF &+ (bits >> 16 & 1)) >> 16)
}
