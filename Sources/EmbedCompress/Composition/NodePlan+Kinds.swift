// How many bytes a described node takes itself, by kind. What states them is what the nodes themselves are laid out by.

extension Dense {
    static func plannedBytes(_ plan: NodePlan) throws -> Int? {
        let spacing = try Self.spacing(
            dimension: plan.dimension, element: plan.choice("element", Element.self), rowAlignment: plan.rowAlignment())
        return Checked.product(plan.rows, spacing.rowBytes)
    }
}

extension Uniform {
    static func plannedBytes(_ plan: NodePlan) throws -> Int? {
        let scope = try plan.choice("scope", Scope.self, default: .row)
        let layout = try Layout(
            dimension: plan.dimension, bits: plan.integer("bits", 1...16),
            group: plan.integer("group", 1...plan.dimension, default: plan.dimension),
            scaleType: plan.choice("scale", ScaleType.self), scope: scope, rowAlignment: plan.rowAlignment())
        return layout.byteCount(rows: plan.rows)
    }
}

extension Codebook {
    static func plannedBytes(_ plan: NodePlan) throws -> Int? {
        let scope = try plan.choice("scope", Scope.self)
        let layout = try Layout(
            dimension: plan.dimension, bits: plan.integer("bits", 1...8),
            entryType: plan.choice("entries", ScaleType.self), scope: scope,
            clusters: scope == .cluster ? plan.integer("clusters", 1...maximumClusters) : nil,
            rowScale: plan.has("row_scale") ? plan.choice("row_scale", ScaleType.self) : nil,
            rowAlignment: plan.rowAlignment())
        return layout.byteCount(rows: plan.rows)
    }
}

extension Product {
    static func plannedBytes(_ plan: NodePlan) throws -> Int? {
        let layout = try Layout(
            dimension: plan.dimension, parts: plan.integer("parts", 1...maximumDimension),
            bits: plan.integer("bits", bitWidths), mode: plan.choice("mode", Mode.self, default: .concatenate),
            element: plan.choice("element", ScaleType.self), rowAlignment: plan.rowAlignment())
        return layout.byteCount(rows: plan.rows)
    }
}

extension Trellis {
    /// `code_bytes`: bytes of the bits of a row.
    static func plannedBytes(_ plan: NodePlan) throws -> Int? {
        let dimension = plan.dimension
        let codeBytes = try plan.integer("code_bytes", 1...dimension)
        let spacing = try RowSpacing(unpaddedBytes: codeBytes + 1, alignment: plan.rowAlignment())
        return Checked.sum(of: [Checked.product(plan.rows, spacing.rowBytes), tableBytes(dimension: dimension)])
    }
}

extension PackedFloats {
    static func plannedBytes(_ plan: NodePlan) throws -> Int? {
        let layout = try Layout(
            dimension: plan.dimension, mantissaBits: plan.integer("mantissa_bits", 0...Layout.floatMantissaBits),
            exponentBits: plan.integer("exponent_bits", Layout.exponentWidths), marksRows: !plan.children.isEmpty,
            rowAlignment: plan.rowAlignment())
        return Checked.product(plan.rows, layout.spacing.rowBytes)
    }
}

extension Sparse {
    /// Without `layout`, that of fewer bytes.
    static func plannedBytes(_ plan: NodePlan) throws -> Int? {
        let (rows, dimension) = (plan.rows, plan.dimension)
        let element = try plan.choice("element", ScaleType.self)
        let nonzeros = try plan.integer("nonzeros", 0...Int.max)
        let least = leastLayout(nonzeros: nonzeros, rows: rows, dimension: dimension, element: element)
        let layout = try plan.choice("layout", Layout.self, default: least)
        return bytes(
            nonzeros: nonzeros, rows: rows, dimension: dimension, layout: layout, element: element,
            indexType: plan.has("index") ? try plan.choice("index", IndexType.self) : nil)
    }
}

extension SharedArray {
    static func plannedBytes(_ plan: NodePlan) throws -> Int? {
        let count = try plan.integer("count", 1...mostCount)
        guard plan.children.isEmpty else { return constantBytes }
        let element = try plan.choice("element", ScaleType.self)
        return Checked.sum(of: [Checked.product(count, element.byteCount), constantBytes])
    }
}

extension TensorTrain {
    static func plannedBytes(_ plan: NodePlan) throws -> Int? {
        guard plan.children.isEmpty else { return 0 }
        func size(_ field: String) throws -> Int { try plan.integer(field, 1...Int.max) }
        let shape = TrainShape(
            rows: try (size("rows0"), size("rows1"), size("rows2")),
            columns: try (size("columns0"), size("columns1"), size("columns2")),
            ranks: try (size("rank1"), size("rank2")))
        let element = try plan.choice("element", ScaleType.self)
        return Checked.sum(of: shape.coreCounts.map { $0.flatMap { Checked.product($0, element.byteCount) } })
    }
}

extension HashNetwork {
    static func plannedBytes(_ plan: NodePlan) throws -> Int? {
        let hashes = try plan.integer("hashes", 1...mostHashes)
        let layers = try plan.integer("layers", 1...mostLayers)
        let widths = try (0..<layers - 1).map { try plan.integer("width\($0)", 1...mostWidth) } + [plan.dimension]
        let element = plan.children.isEmpty ? try plan.choice("element", ScaleType.self) : nil
        return byteCount(hashes: hashes, widths: widths, element: element)
    }
}

extension Remap {
    /// A map without `bits` has as many as its entries need; `zeros` is 1 where some of them stand for rows of zeros.
    static func plannedBytes(_ plan: NodePlan) throws -> Int? {
        switch try plan.choice("function", FunctionName.self) {
        case .modulo, .quotient: return 0
        case .hash: return Function.seedBytes
        case .map:
            guard let inner = plan.children.first else {
                throw EmbedCompressError.format(.missingField(node: kind, field: "children.inner"))
            }
            let blockRows = try plan.integer("block_rows", 1...Int.max, default: 1)
            let offset = try plan.integer("offset", 0...blockRows - 1, default: 0)
            guard let ids = Checked.sum(offset, plan.rows) else { return nil }
            let zeros = try plan.integer("zeros", 0...1, default: 0)
            let blocks = Function.blocks(inner.rows, of: blockRows)
            let largest = zeros == 1 ? blocks : blocks - 1
            return PackedMap.byteCount(
                bits: try plan.integer("bits", PackedMap.bitWidths, default: PackedMap.bits(for: largest)),
                shift: try plan.integer("shift", 0...7, default: 0), count: Function.blocks(ids, of: blockRows))
        }
    }
}

extension Combination {
    static func plannedBytes(_ plan: NodePlan) throws -> Int? { 0 }
}

extension Columns {
    static func plannedBytes(_ plan: NodePlan) throws -> Int? { 0 }
}

extension Partition {
    static func plannedBytes(_ plan: NodePlan) throws -> Int? {
        if try plan.choice("by", Basis.self) == .ranges { return 0 }
        try checkCount(plan.children.count)
        let offset = try plan.integer("offset", 0...PartRanks.blockIDs - 1, default: 0)
        guard plan.rows <= PartRanks.maximumRows else {
            throw EmbedCompressError.invalidArgument(
                "an assignment has at most \(PartRanks.maximumRows) ids, not \(plan.rows)")
        }
        return PartRanks.byteCount(ids: offset + plan.rows, parts: plan.children.count)
    }
}

extension Project {
    static func plannedBytes(_ plan: NodePlan) throws -> Int? {
        guard let inner = plan.children.first else {
            throw EmbedCompressError.format(.missingField(node: kind, field: "children.inner"))
        }
        return byteCount(
            innerDimension: inner.dimension, dimension: plan.dimension,
            element: try plan.choice("element", ScaleType.self), hasBias: plan.hasTensor("bias"))
    }
}

extension Rotate {
    static func plannedBytes(_ plan: NodePlan) throws -> Int? {
        byteCount(dimension: plan.dimension, hasSeed: plan.children.count < 2, hasOffset: plan.hasTensor("offset"))
    }
}

extension Normalize {
    static func plannedBytes(_ plan: NodePlan) throws -> Int? { 0 }
}
