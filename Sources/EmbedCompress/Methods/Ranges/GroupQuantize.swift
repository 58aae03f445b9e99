// Uniform quantization of a matrix in groups, each with a range of its own, as one table (Q-BERT, Shen et al. 2020, arXiv
// 1909.05840). An element is `scale * code + bias`, with codes of 0 to 2^bits - 1.
//
// Groups of rows, blocks and the tensor are one `Uniform` table. Groups of columns are a `Combination`: codes, whose scale is
// 1 and bias 0, times a row of scales, plus a row of biases, both `Dense`. A group's numbers are repeated for each of its
// rows or columns: a table of its own for each group would cost more in a file's header.

/// How the range of a group is chosen.
public enum GroupRanges: String, Sendable, CaseIterable {
    /// From its least to its largest element.
    case minMax = "min_max"
    /// That of least squared error, as the method of that name finds it. A group has up to 1,048,576 elements.
    case leastSquares = "least_squares"

    package init(named name: String) throws {
        guard let ranges = Self(rawValue: name) else {
            let names = Self.allCases.map(\.rawValue).joined(separator: ", ")
            throw EmbedCompressError.invalidArgument("ranges must be one of \(names), not '\(name)'")
        }
        self = ranges
    }
}

extension Table {
    /// This table as a matrix, quantized in groups.
    ///
    /// - Parameters:
    ///   - bits: Of a code, 1 to 8.
    ///   - scaleType: Of scales and biases; always f32 with ``MatrixGroups/tensor``.
    ///   - progress: Told of rows.
    /// - Returns: A table of the bytes that ``MatrixGroups/storedBytes(rows:columns:bits:scaleType:)`` states.
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for an option out of range, or a value that is not finite or
    ///   does not fit f16 scales.
    public func groupQuantized(
        bits: Int = 4, groups: MatrixGroups = .columns(groups: 128), ranges: GroupRanges = .minMax,
        scaleType: ScaleType = .float16, progress callback: ProgressCallback? = nil
    ) throws -> Table {
        let encoder = try GroupEncoder(root, groups, bits: bits, scaleType: scaleType, passes: 2, callback)
        return Table(try reading { try encoder.encoded(with: encoder.ranges(ranges)) })
    }

    /// The same with given ranges: the codes are the nearest ones, 0 where the scale of a group is not positive.
    ///
    /// - Parameters:
    ///   - scales: One for each group, line by line: of all blocks of a row before those of the next. They are rounded to
    ///     the type that stores them, and so are the biases.
    public func groupQuantized(
        bits: Int = 4, groups: MatrixGroups, scales: [Float], biases: [Float], scaleType: ScaleType = .float16,
        progress: ProgressCallback? = nil
    ) throws -> Table {
        try scales.withUnsafeBufferPointer { scales in
            try biases.withUnsafeBufferPointer { biases in
                try groupQuantized(
                    bits: bits, groups: groups, scales: scales, biases: biases, scaleType: scaleType,
                    progress: progress)
            }
        }
    }

    /// The same for ranges in a caller's memory.
    package func groupQuantized(
        bits: Int, groups: MatrixGroups, scales: UnsafeBufferPointer<Float>, biases: UnsafeBufferPointer<Float>,
        scaleType: ScaleType, progress callback: ProgressCallback?
    ) throws -> Table {
        let encoder = try GroupEncoder(root, groups, bits: bits, scaleType: scaleType, passes: 1, callback)
        let count = encoder.grid.count
        guard scales.count == count, biases.count == count else {
            throw EmbedCompressError.invalidArgument(
                "there must be a scale and a bias for each of \(count) groups, not \(scales.count) and \(biases.count)")
        }
        let numbers = try GroupScales(count: count)
        if let scales = scales.baseAddress, let biases = biases.baseAddress {
            numbers.scales.update(from: scales, count: count)
            numbers.biases.update(from: biases, count: count)
        }
        do {
            try numbers.round(to: encoder.storedType)
        } catch {
            // A row that is not finite has ranges that are not: it is what is wrong.
            try reading(encoder.checkRows)
            throw error
        }
        return Table(try reading { try encoder.encoded(with: numbers) })
    }

    /// The scale and the bias of each group that ``groupQuantized(bits:groups:ranges:scaleType:progress:)`` chooses, as
    /// they are stored, line by line.
    public func groupRanges(
        bits: Int = 4, groups: MatrixGroups = .columns(groups: 128), ranges: GroupRanges = .minMax,
        scaleType: ScaleType = .float16, progress: ProgressCallback? = nil
    ) throws -> (scales: [Float], biases: [Float]) {
        let count = try groups.grid(rows: rows, columns: dimension).count
        var (scales, biases) = (try [Float](allocating: 0, count: count), try [Float](allocating: 0, count: count))
        try scales.withUnsafeMutableBufferPointer { scales in
            try biases.withUnsafeMutableBufferPointer { biases in
                try groupRanges(
                    bits: bits, groups: groups, ranges: ranges, scaleType: scaleType, progress: progress,
                    scales: scales, biases: biases)
            }
        }
        return (scales, biases)
    }

    /// The same into a caller's memory, which has room for all groups.
    package func groupRanges(
        bits: Int, groups: MatrixGroups, ranges: GroupRanges, scaleType: ScaleType,
        progress callback: ProgressCallback?, scales: UnsafeMutableBufferPointer<Float>,
        biases: UnsafeMutableBufferPointer<Float>
    ) throws {
        let encoder = try GroupEncoder(root, groups, bits: bits, scaleType: scaleType, passes: 1, callback)
        let numbers = try reading { try encoder.ranges(ranges) }
        _ = scales.update(fromContentsOf: UnsafeBufferPointer(start: numbers.scales, count: numbers.count))
        _ = biases.update(fromContentsOf: UnsafeBufferPointer(start: numbers.biases, count: numbers.count))
    }
}

/// Chooses ranges of the groups of a table, and encodes its rows with them.
private struct GroupEncoder {
    let source: any Node
    let groups: MatrixGroups
    let grid: GroupGrid
    /// Of the rows of codes.
    let layout: Uniform.Layout
    let scaleType: ScaleType
    let progress: ProgressCounter

    /// - Parameter passes: How often rows are read.
    init(
        _ source: any Node, _ groups: MatrixGroups, bits: Int, scaleType: ScaleType, passes: Int,
        _ callback: ProgressCallback?
    ) throws {
        (self.source, self.groups, self.scaleType) = (source, groups, scaleType)
        grid = try groups.grid(rows: source.rows, columns: source.dimension)
        layout = try groups.codeLayout(grid, bits: bits, scaleType: scaleType)
        progress = ProgressCounter(total: Checked.product(source.rows, passes) ?? Int.max, callback: callback)
    }

    /// Refuses values that are not finite.
    func checkRows() throws {
        try RowReader.forEachBlock(of: source, progress: ProgressCounter(total: source.rows, callback: nil)) {
            first, count, values in
            for row in first..<first + count {
                _ = try finiteExtent(values.row(row - first), count: source.dimension, row: row)
            }
        }
    }

    /// The type of stored scales and biases.
    var storedType: ScaleType { groups == .tensor ? .float32 : scaleType }

    /// Scales and biases as they are stored.
    func ranges(_ ranges: GroupRanges) throws -> GroupScales {
        ranges == .minMax ? try minMax() : try leastSquares()
    }

    private func minMax() throws -> GroupScales {
        let extremes = try GroupExtremes(grid)
        try RowReader.forEachBlock(of: source, progress: progress) { first, count, values in
            try extremes.add(values, first: first, count: count)
        }
        let numbers = try GroupScales(count: grid.count)
        let last = Float((1 << layout.bits) - 1)
        for group in 0..<grid.count {
            let (low, high) = extremes[group]
            let scale = storedType.roundedScale(Floats16(repeating: (high - low) / last), lastCode: last)[0]
            // -0 becomes 0: which of them comes first must not matter.
            (numbers.scales[group], numbers.biases[group]) = (scale, low + 0)
        }
        try numbers.round(to: storedType)
        return numbers
    }

    /// Groups become the rows of dense tables, whose ranges the method chooses.
    private func leastSquares() throws -> GroupScales {
        let numbers = try GroupScales(count: grid.count)
        let options: [String: OptionValue] = [
            "bits": .integer(layout.bits), "scale_dtype": .string(storedType.rawValue),
        ]
        for (table, group) in try GroupRows(source, grid, progress: progress).tables() {
            let result = try Table(table).compressed(Method.leastSquares.name, options) { _, _ in
                (try? progress.report()) != nil
            }
            guard let uniform = result.root as? Uniform else { continue }
            for row in 0..<uniform.rows {
                (numbers.scales[group(row)], numbers.biases[group(row)]) = uniform.range(ofRow: row)
            }
        }
        return numbers
    }

    /// The table of codes with these scales and biases, which have been rounded.
    func encoded(with numbers: GroupScales) throws -> any Node {
        guard let byteCount = Checked.product(source.rows, layout.rowBytes) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        let bytes = Bytes(try ByteStorage.allocate(byteCount, zeroed: false))
        try RowReader.forEachBlock(of: source, progress: progress) { first, count, values in
            try Scratch.with(GroupCodes.scratchCount(columns: grid.columns), of: Float.self) { scratch in
                var codes = GroupCodes(grid, numbers, scratch: scratch)
                for row in first..<first + count {
                    let (values, target) = (values.row(row - first), bytes.mutablePointer + row * layout.rowBytes)
                    _ = try finiteExtent(values, count: grid.columns, row: row)
                    codes.pack(values, row: row, bits: layout.bits, to: target)
                    if layout.scope == .row { store(numbers, row: row, to: target) }
                }
            }
        }
        guard layout.scope == .table else { return try Uniform(bytes, rows: source.rows, layout: layout) }
        let isTensor = groups == .tensor
        let parameters = Bytes(try ByteStorage.allocate(2 * layout.scaleType.byteCount))
        layout.scaleType.store(
            scale: isTensor ? numbers.scales[0] : 1, bias: isTensor ? numbers.biases[0] : 0,
            at: parameters.mutablePointer)
        let codes = try Uniform(bytes, rows: source.rows, layout: layout, parameters: parameters)
        if isTensor { return codes }
        let product = try Combination([Table(codes), try spread(numbers.scales)], operation: .product)
        return try Combination([Table(product), try spread(numbers.biases)], operation: .sum)
    }

    /// A row's own scales and biases: those of its group, or of each of its blocks.
    private func store(_ numbers: GroupScales, row: Int, to target: UnsafeMutableRawPointer) {
        let first = row / grid.groupRows * grid.groupsPerLine
        for (index, group) in layout.groups.enumerated() {
            layout.scaleType.store(
                scale: numbers.scales[first + index], bias: numbers.biases[first + index],
                at: target + group.parameterOffset)
        }
    }

    /// A table whose rows all have a number for each column.
    private func spread(_ numbers: UnsafeMutablePointer<Float>) throws -> Table {
        let size = scaleType.byteCount
        let bytes = Bytes(try ByteStorage.allocate(size * grid.columns))
        for column in 0..<grid.columns {
            scaleType.store(numbers[column / grid.groupColumns], at: bytes.mutablePointer + column * size)
        }
        let element: Dense.Element = scaleType == .float16 ? .float16 : .float32
        let row = Table(try Dense(bytes, element: element, rows: 1, dimension: grid.columns))
        return try row.remapped(rows: grid.rows, modulo: 1)
    }
}

extension ScaleType {
    /// Stores a number that this type can say.
    func store(_ number: Float, at place: UnsafeMutableRawPointer) {
        switch self {
        case .float16: place.storeBytes(of: halfFromFloat(number).littleEndian, as: UInt16.self)
        case .float32: place.storeBytes(of: number.bitPattern.littleEndian, as: UInt32.self)
        }
    }

    /// Stores a scale and the bias behind it.
    func store(scale: Float, bias: Float, at place: UnsafeMutableRawPointer) {
        store(scale, at: place)
        store(bias, at: place + byteCount)
    }
}
