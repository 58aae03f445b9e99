extension Dense {
    /// `values`: (rows, dimension) of f32, f16 or bf16, used where they lie.
    init(composing parts: inout Composition) throws {
        try parts.checkNoChildren()
        let values = try parts.array("values")
        guard let element = Element(values.type), values.shape.count == 2 else {
            throw EmbedCompressError.invalidArgument(
                "values must be f32, f16 or bf16 of shape (rows, dimension), not \(values.summary)")
        }
        try self.init(values.bytes, element: element, rows: values.shape[0], dimension: values.shape[1])
    }
}

extension PackedFloats {
    /// `values`: (rows, dimension) of finite f32, f16 or bf16. Field: `exponent_bits`. Mantissas have as many bits as the values
    /// need, and values whose exponents don't fit become exceptions.
    init(composing parts: inout Composition) throws {
        let exponentBits = try parts.integer("exponent_bits", Layout.exponentWidths)
        let values = try Dense(composing: &parts)
        let watch = ProgressCounter(total: 0, callback: nil)
        self = try FloatPacking(values, firstRow: 0, progress: watch).packed(
            exponentBits: exponentBits, progress: watch)
    }
}

extension SharedArray {
    /// `array`: (M,) of f32 or f16, used where it lies, or an inner table whose rows are the array, with the field `count`,
    /// M, if the last one is not whole. Fields: `rows`, `dimension`, `block`, `seed` (64 bits), `signs`.
    init(composing parts: inout Composition) throws {
        let (rows, dimension, block) = (
            try parts.integer("rows"), try parts.integer("dimension"), try parts.integer("block")
        )
        let seed = UInt64(bitPattern: Int64(try parts.optionalInteger("seed") ?? 0))
        let hasSigns = try parts.flag("signs")
        guard parts.children.isEmpty else {
            let count = try parts.optionalInteger("count")
            try self.init(
                parts.inner(), count: count, rows: rows, dimension: dimension, block: block, seed: seed,
                hasSigns: hasSigns)
            return
        }
        let array = try parts.array("array")
        guard array.shape.count == 1 else {
            throw EmbedCompressError.invalidArgument("array must have one axis, not \(array.shape.count)")
        }
        let (bytes, element) = try array.floats()
        try self.init(
            bytes, element: element, rows: rows, dimension: dimension, block: block, seed: seed, hasSigns: hasSigns)
    }
}

extension TensorTrain {
    /// `core0`, `core1`, `core2`: (N0, d0, R1), (N1, R1, d1, R2), (N2, R2, d2), all f32 or all f16, used where they lie; or
    /// three inner tables, with a slice in each row, and the fields `columns0`, `columns1`, `columns2`, `rank1`, `rank2`. Field:
    /// `rows`, N0 N1 N2 if not given.
    init(composing parts: inout Composition) throws {
        guard parts.children.isEmpty else {
            try self.init(ofTables: &parts)
            return
        }
        let cores = [try parts.array("core0"), try parts.array("core1"), try parts.array("core2")]
        let shapes = cores.map(\.shape)
        guard shapes.map(\.count) == [3, 4, 3] else {
            throw EmbedCompressError.invalidArgument(
                "cores must have the shapes (N0, d0, R1), (N1, R1, d1, R2) and (N2, R2, d2)")
        }
        guard shapes[0][2] == shapes[1][1], shapes[1][3] == shapes[2][1] else {
            throw EmbedCompressError.invalidArgument(
                "cores must agree on their ranks, but \(shapes[0]), \(shapes[1]) and \(shapes[2]) do not")
        }
        let element = try commonType(of: cores, called: ("cores", { "core \($0)" }))
        let bytes = try cores.map { try $0.floats().bytes }
        let shape = TrainShape(
            rows: (shapes[0][0], shapes[1][0], shapes[2][0]), columns: (shapes[0][1], shapes[1][2], shapes[2][2]),
            ranks: (shapes[0][2], shapes[1][3]))
        try self.init(
            bytes[0], bytes[1], bytes[2], element: element, rows: Self.rows(of: shape, &parts), shape: shape)
    }

    private init(ofTables parts: inout Composition) throws {
        func size(_ field: String) throws -> Int { try parts.integer(field, 1...maximumDimension) }
        guard parts.children.count == 3 else {
            throw EmbedCompressError.invalidArgument(
                "a tensor train has three inner tables or none, not \(parts.children.count)")
        }
        let nodes = (parts.children[0], parts.children[1], parts.children[2])
        let shape = TrainShape(
            rows: (nodes.0.rows, nodes.1.rows, nodes.2.rows),
            columns: try (size("columns0"), size("columns1"), size("columns2")),
            ranks: try (size("rank1"), size("rank2")))
        try self.init(nodes, rows: Self.rows(of: shape, &parts), shape: shape)
    }

    private static func rows(of shape: TrainShape, _ parts: inout Composition) throws -> Int {
        if let rows = try parts.optionalInteger("rows") { return rows }
        guard let rows = Checked.product(shape.rows.0, shape.rows.1, shape.rows.2) else {
            throw EmbedCompressError.invalidArgument("the cores have more rows than ids can tell apart")
        }
        return rows
    }
}

extension HashNetwork {
    /// `factors`, `summands`, `moduli`: (k,) integers; `weights0` and so on: (inputs, outputs), all f32 or all f16, used
    /// where they lie, or an inner table of codes for each layer; `biases0` and so on: (outputs,). Fields: `rows`, `buckets`,
    /// `encoding`.
    init(composing parts: inout Composition) throws {
        let constants = Constants(
            factors: try parts.integers("factors").wide(), summands: try parts.integers("summands").wide(),
            moduli: try parts.integers("moduli").wide())
        let biases = parts.numberedArrays("biases")
        let tables = parts.children
        if !tables.isEmpty {
            guard tables.count == biases.count else {
                throw EmbedCompressError.invalidArgument(
                    "there must be a table of weights for each of \(biases.count) biases, not \(tables.count)")
            }
            let widths = tables.map(\.dimension)
            try Self.checkShapes(tables, hashes: constants.factors.count / 8, widths: widths)
            try self.init(
                constants, buckets: parts.integer("buckets"),
                encoding: parts.choice("encoding", Encoding.self, default: .uniform), weights: Self.decoded(tables),
                biases: biases.map { try $0.numbers(axes: 1, as: .float32) }, widths: widths, element: .float32,
                rows: parts.integer("rows"), inner: tables)
            return
        }
        let weights = parts.numberedArrays("weights")
        guard !weights.isEmpty, weights.count == biases.count, weights.allSatisfy({ $0.shape.count == 2 }) else {
            throw EmbedCompressError.invalidArgument("weights must be matrices, at least one, and biases as many")
        }
        let element = try commonType(of: weights, called: ("weights 0", { "weights \($0)" }))
        try self.init(
            constants, buckets: parts.integer("buckets"),
            encoding: parts.choice("encoding", Encoding.self, default: .uniform),
            weights: weights.map { try $0.floats().bytes },
            biases: biases.map { try $0.numbers(axes: 1, as: .float32) }, widths: weights.map { $0.shape[1] },
            element: element, rows: parts.integer("rows"))
    }
}

extension Sparse {
    /// What ``Layout`` says, or the one of fewer bytes.
    private enum Choice: String, CaseIterable {
        case auto, csr, coo
    }

    /// `matrix`: (rows, dimension) of f32 or f16, whose zeros are left out. Or `data`: (z,), f32 or f16, and `indices`: the
    /// column of each, with the field `dimension`; and either `indptr`: (rows + 1,), where each row's values begin, or
    /// `row_indices`: the row of each value, in ascending order, with the field `rows`. Field: `layout`.
    init(composing parts: inout Composition) throws {
        try parts.checkNoChildren()
        let choice = try parts.choice("layout", Choice.self, default: .auto)
        if let matrix = parts.optionalArray("matrix") {
            guard matrix.shape.count == 2 else {
                throw EmbedCompressError.invalidArgument("matrix must have two axes, not \(matrix.shape.count)")
            }
            let element = try matrix.floats().type
            guard let values = try matrix.floatArray() else {
                throw EmbedCompressError.invalidArgument("matrix must be f32 or f16, not \(matrix.summary)")
            }
            self = try SparseBuilder.sparse(values, rows: matrix.shape[0], dimension: matrix.shape[1], element) {
                Self.layout(choice, nonzeros: $0, rows: matrix.shape[0], dimension: matrix.shape[1], element: element)
            }
            return
        }
        let (data, indices) = (parts.optionalArray("data"), parts.optionalArray("indices"))
        let (indptr, rowIndices) = (parts.optionalArray("indptr"), parts.optionalArray("row_indices"))
        let dimension = try parts.optionalInteger("dimension", 1...maximumDimension)
        guard let data, let indices, let dimension, (indptr == nil) != (rowIndices == nil) else {
            throw EmbedCompressError.invalidArgument("give data, indices, dimension, and either indptr or row_indices")
        }
        let element = try data.floats().type
        let columns = try indices.integers()
        guard let values = try data.floatArray(), data.shape.count == 1, columns.count == values.count else {
            throw EmbedCompressError.invalidArgument(
                "indices must be as many as data, \(data.count), not \(columns.count)")
        }
        let given = try parts.optionalInteger("rows", 0...maximumRows)
        let owners: SparseOwners
        if let indptr {
            owners = try .pointers(indptr.integers(), rows: given)
        } else {
            guard let rowIndices, let given else {
                throw EmbedCompressError.invalidArgument("rows is needed with row_indices")
            }
            owners = try .rows(rowIndices.integers(), rows: given)
        }
        let rows = try owners.check(values: values.count)
        let longest = Self.longestRow(dimension: dimension)
        if let row = owners.firstRow(longerThan: longest, rows: rows, values: values.count) {
            throw EmbedCompressError.format(.longRow(row: row, limit: longest))
        }
        for index in 0..<columns.count where !(0..<dimension).contains(columns[index]) {
            throw EmbedCompressError.invalidArgument(
                "indices must be from 0 to \(dimension - 1), but value \(index) is in column \(columns[index])")
        }
        let layout = Self.layout(choice, nonzeros: values.count, rows: rows, dimension: dimension, element: element)
        let builder = try SparseBuilder(
            layout, nonzeros: values.count, rows: rows, dimension: dimension, element: element)
        owners.forEach(rows: rows, values: values.count, everyRow: layout == .compressedRows, builder.startRow) {
            builder.put(values[$1], row: $0, column: columns[$1], at: $1)
        }
        self = try builder.sparse()
    }

    private static func layout(
        _ choice: Choice, nonzeros: Int, rows: Int, dimension: Int, element: ScaleType
    ) -> Layout {
        switch choice {
        case .csr: return .compressedRows
        case .coo: return .coordinates
        case .auto: return leastLayout(nonzeros: nonzeros, rows: rows, dimension: dimension, element: element)
        }
    }
}

/// How somebody says which row each non-zero is of.
enum SparseOwners {
    /// Where each row's values begin, and where the last one's end.
    case pointers(IntegerArray, rows: Int?)
    /// The row of each value, in ascending order.
    case rows(IntegerArray, rows: Int)

    /// Checks them, and returns the number of rows.
    func check(values count: Int) throws -> Int {
        switch self {
        case .pointers(let pointers, let rows):
            let found = pointers.count - 1
            if let rows, rows != found {
                throw EmbedCompressError.invalidArgument(
                    "indptr must have \(Checked.sum(rows, 1) ?? Int.max) entries for \(rows) rows, not \(pointers.count)"
                )
            }
            var rises = found >= 0 && pointers[0] == 0 && pointers[found] == count
            for row in 0..<max(found, 0) where pointers[row] > pointers[row + 1] { rises = false }
            guard rises else {
                throw EmbedCompressError.invalidArgument("indptr must rise from 0 to the \(count) values")
            }
            return found
        case .rows(let owners, let rows):
            var rises = owners.count == count
            for index in 0..<max(owners.count - 1, 0) where owners[index] > owners[index + 1] { rises = false }
            guard rises else {
                throw EmbedCompressError.invalidArgument("row_indices must be as many as indices, in ascending order")
            }
            guard count == 0 || (owners[0] >= 0 && owners[count - 1] < rows) else {
                throw EmbedCompressError.invalidArgument("row_indices must be from 0 to \(rows - 1)")
            }
            return rows
        }
    }

    /// The first row of more than `limit` values, once they are checked; nil if there is none.
    func firstRow(longerThan limit: Int, rows: Int, values count: Int) -> Int? {
        guard count > limit else { return nil }
        switch self {
        case .pointers(let pointers, _):
            return (0..<rows).first { pointers[$0 + 1] - pointers[$0] > limit }
        case .rows(let owners, _):
            return (0..<count - limit).first { owners[$0] == owners[$0 + limit] }.map { owners[$0] }
        }
    }

    /// Calls `start` with each row, and the one after the last, and where its values begin, and `body` with each value and
    /// its row.
    ///
    /// - Parameter everyRow: false where nobody needs `start`: rows without values are then skipped.
    func forEach(
        rows: Int, values count: Int, everyRow: Bool, _ start: (_ row: Int, _ position: Int) -> Void,
        _ body: (_ row: Int, _ position: Int) -> Void
    ) {
        if case .rows(let owners, _) = self, !everyRow {
            for position in 0..<count { body(owners[position], position) }
            return
        }
        var position = 0
        for row in 0..<rows {
            start(row, position)
            while position < count, isOwned(position, by: row) {
                body(row, position)
                position += 1
            }
        }
        start(rows, position)
    }

    private func isOwned(_ position: Int, by row: Int) -> Bool {
        switch self {
        case .pointers(let pointers, _): return position < pointers[row + 1]
        case .rows(let owners, _): return owners[position] == row
        }
    }
}
