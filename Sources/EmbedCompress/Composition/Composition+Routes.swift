extension Remap {
    /// Exactly one of the fields `modulo`, `divisor` and `hash` (the seed), with `rows`; or the array `map`, (rows,)
    /// integers, where -1 stands for zeros, or with the field `block` one for each block of so many rows.
    init(composing parts: inout Composition) throws {
        let inner = try parts.inner()
        let modulus = try parts.optionalInteger("modulo")
        let divisor = try parts.optionalInteger("divisor")
        let seed = try parts.optionalInteger("hash")
        let block = try parts.optionalInteger("block")
        let rows = try parts.optionalInteger("rows")
        let map = parts.optionalArray("map")
        guard [modulus != nil, divisor != nil, seed != nil, map != nil].filter({ $0 }).count == 1 else {
            throw EmbedCompressError.invalidArgument("give exactly one of modulo, divisor, hash and map")
        }
        if let map {
            try self.init(map: map.integers(), block: block, rows: rows, inner: inner)
            return
        }
        guard block == nil else { throw EmbedCompressError.invalidArgument("block goes with map only") }
        guard let rows else {
            throw EmbedCompressError.invalidArgument("rows is needed with modulo, divisor and hash")
        }
        let function: Function
        if let modulus {
            function = .modulo(modulus: modulus, offset: 0)
        } else if let divisor {
            function = .quotient(divisor: divisor, offset: 0)
        } else {
            let seed = seed ?? 0
            guard seed >= 0 else { throw EmbedCompressError.invalidArgument("seed must not be negative, not \(seed)") }
            function = .hash(seed: seed, offset: 0)
        }
        try self.init(function, rows: rows, inner: inner)
    }

    private init(map: IntegerArray, block: Int?, rows: Int?, inner: any Node) throws {
        if let block {
            guard let rows else { throw EmbedCompressError.invalidArgument("rows is needed with block") }
            try self.init(map: map, blockRows: block, rows: rows, inner: inner)
            return
        }
        if let rows, rows != map.count {
            throw EmbedCompressError.invalidArgument("map has \(map.count) entries, not \(rows)")
        }
        try self.init(map: map, blockRows: 1, rows: map.count, inner: inner)
    }
}

extension Combination {
    /// Field: `operation`.
    init(composing parts: inout Composition) throws {
        try self.init(parts.children, operation: parts.choice("operation", Operation.self, default: .sum))
    }
}

extension Columns {
    init(composing parts: inout Composition) throws { try self.init(parts.children) }
}

extension Partition {
    /// `assignment`: (rows,) integers, for each id which table it is a row of. Without it tables have the next ids.
    init(composing parts: inout Composition) throws {
        if let assignment = parts.optionalArray("assignment") {
            try self.init(parts.children, assignment: assignment.integers())
        } else {
            try self.init(parts.children, ranks: nil)
        }
    }
}

extension Project {
    /// `matrix`: (inner.dimension, dimension) numbers; `bias`: (dimension,) numbers, if any. Field: `element`, "f32" or "f16",
    /// what the matrix is kept as. What is of that type is used where it lies.
    init(composing parts: inout Composition) throws {
        let inner = try parts.inner()
        let element = try parts.choice("element", ScaleType.self, default: .float32)
        let array = try parts.array("matrix")
        let matrix = try array.numbers(axes: 2, as: element)
        guard array.shape[0] == inner.dimension else {
            throw EmbedCompressError.invalidArgument(
                "the matrix has \(array.shape[0]) rows, not the table's \(inner.dimension) columns")
        }
        let dimension = array.shape[1]
        guard (1...maximumDimension).contains(dimension) else {
            throw EmbedCompressError.invalidArgument(
                "a table needs from 1 to \(maximumDimension) columns, not \(dimension)")
        }
        var bias: Bytes?
        if let array = parts.optionalArray("bias") {
            bias = try array.numbers(axes: 1, as: .float32)
            guard array.shape == [dimension] else {
                throw EmbedCompressError.format(
                    .wrongTensor(
                        name: array.name, expected: "\(dimension) numbers", found: array.summary))
            }
        }
        try self.init(matrix: matrix, bias: bias, element: element, dimension: dimension, inner: inner)
    }
}

extension Rotate {
    /// One table and the field `seed`, or two tables: the inner one, and the vectors of reflections. `offset`: (dimension,)
    /// numbers to add to each row, if any. `direction`: "inverse" or "forward".
    init(composing parts: inout Composition) throws {
        let offset = try parts.optionalArray("offset")?.numbers(axes: 1, as: .float32)
        let direction = try parts.choice("direction", Direction.self, default: .inverse)
        if parts.children.count == 2 {
            try self.init(
                inner: parts.children[0], vectors: parts.children[1], direction: direction, offset: offset)
        } else {
            let seed = try parts.integer("seed", 0...Int.max)
            try self.init(inner: parts.inner(), seed: seed, direction: direction, offset: offset)
        }
    }
}

extension Normalize {
    /// One table. No fields.
    init(composing parts: inout Composition) throws { try self.init(try parts.inner()) }
}
