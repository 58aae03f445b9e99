internal import CEmbedCompress.Shims

/// What the floats of a table have in common, and how many exceptions exponents of fewer bits would leave: the first of two
/// passes over a table on its way to ``PackedFloats``.
struct FloatPacking {
    /// More rows than one in so many with exceptions would make lookups slow.
    private static let leastRowsOfException = 16

    private let source: any Node
    private let traits: Traits

    private struct Traits {
        /// Mantissa bits that any value has.
        var mantissa: UInt32 = 0
        /// Whether each value is one of f16.
        var areHalves = true
        /// How many values have exponents so far below the largest of their row, exponents of 0 not counted.
        var values = [Int](repeating: 0, count: 256)
        /// How many rows have their farthest there.
        var rows = [Int](repeating: 0, count: 256)

        mutating func add(_ other: Traits) {
            mantissa |= other.mantissa
            areHalves = areHalves && other.areHalves
            for distance in 0..<256 {
                values[distance] += other.values[distance]
                rows[distance] += other.rows[distance]
            }
        }

        mutating func add(_ row: UnsafePointer<Float>, count: Int) {
            let largest = largestExponent(row, count: count)
            var farthest = 0
            for column in 0..<count {
                let bits = row[column].bitPattern
                mantissa |= bits & mantissaMask
                areHalves = areHalves && floatFromHalf(halfFromFloat(row[column])).bitPattern == bits
                let exponent = exponent(row[column])
                guard exponent > 0 else { continue }
                // A row that changes meanwhile may have a larger exponent now.
                let distance = max(largest - exponent, 0)
                values[distance] += 1
                farthest = max(farthest, distance)
            }
            rows[farthest] += 1
        }
    }

    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for a row that is not finite.
    init(_ source: any Node, firstRow: Int, progress: ProgressCounter) throws {
        let lock = Lock()
        var all = Traits()
        try RowReader.forEachBlock(of: source, progress: progress) { first, count, values in
            try checkFinite(values, count, source.dimension, firstRow: firstRow + first)
            var block = Traits()
            for index in 0..<count { block.add(values.row(index), count: source.dimension) }
            lock.withLock { all.add(block) }
        }
        (self.source, traits) = (source, all)
    }

    /// The type of the fewest bytes that has every value.
    var element: Dense.Element {
        if traits.areHalves { return .float16 }
        return traits.mantissa & 0xffff == 0 ? .bfloat16 : .float32
    }

    /// The fewest bits that hold every mantissa.
    private var mantissaBits: Int { PackedFloatBits.floatMantissaBits - min(traits.mantissa.trailingZeroBitCount, 23) }

    /// Values and rows that are exceptions with exponents of so many bits.
    private func exceptions(_ exponentBits: Int) -> (values: Int, rows: Int) {
        // Code 0 is not one of those that count from the lowest exponent.
        let first = 1 << exponentBits - 1
        return (traits.values[first...].reduce(0, +), traits.rows[first...].reduce(0, +))
    }

    private func layout(_ exponentBits: Int) throws -> PackedFloats.Layout {
        try PackedFloats.Layout(
            dimension: source.dimension, mantissaBits: mantissaBits, exponentBits: exponentBits,
            marksRows: exceptions(exponentBits).values > 0)
    }

    /// The bytes of a table with exponents of so many bits; nil if there is none, or they are too many to count.
    private func bytes(_ exponentBits: Int) -> Int? {
        guard let layout = try? layout(exponentBits) else { return nil }
        let values = exceptions(exponentBits).values
        return Checked.sum(of: [
            Checked.product(source.rows, layout.spacing.rowBytes),
            Sparse.bytes(
                nonzeros: values, rows: source.rows, dimension: source.dimension, layout: .coordinates,
                element: .float32),
        ])
    }

    /// The bits of exponents that take the fewest bytes of those that leave few rows with exceptions; nil if none do.
    func bestExponentBits() -> (bits: Int, bytes: Int)? {
        PackedFloats.Layout.exponentWidths.compactMap { bits in
            exceptions(bits).rows * Self.leastRowsOfException <= source.rows
                ? bytes(bits).map { (bits: bits, bytes: $0) } : nil
        }.min { $0.bytes < $1.bytes }
    }

    /// The second pass.
    func packed(exponentBits: Int, progress: ProgressCounter) throws -> PackedFloats {
        let (layout, wanted) = (try layout(exponentBits), exceptions(exponentBits).values)
        guard let byteCount = Checked.product(source.rows, layout.spacing.rowBytes) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        try Allocation.require(Checked.product(wanted, 2 * MemoryLayout<PackedRowWriter.Exception>.stride))
        let bytes = Bytes(try ByteStorage.allocate(byteCount))
        let target = SharedPointer(bytes.mutablePointer.assumingMemoryBound(to: UInt8.self))
        let lock = Lock()
        var found: [Int: [PackedRowWriter.Exception]] = [:]
        var count = 0
        try RowReader.forEachBlock(of: source, progress: progress) { first, rows, values in
            var writer = PackedRowWriter(layout)
            for index in 0..<rows {
                let row = first + index
                guard
                    writer.write(
                        values.row(index), row: row,
                        to: UnsafeMutableRawPointer(target.base + row * layout.spacing.rowBytes))
                else { throw sourceChanged(row) }
            }
            if writer.exceptions.isEmpty { return }
            try lock.withLock {
                count += writer.exceptions.count
                guard count <= wanted else { throw sourceChanged(first) }
                found[first] = writer.exceptions
            }
        }
        guard count == wanted else { throw sourceChanged(nil) }
        guard wanted > 0 else { return try PackedFloats(bytes, rows: source.rows, layout: layout, exceptions: nil) }
        let builder = try SparseBuilder(
            .coordinates, nonzeros: wanted, rows: source.rows, dimension: source.dimension, element: .float32)
        for (position, one) in found.sorted(by: { $0.key < $1.key }).flatMap(\.value).enumerated() {
            builder.put(one.value, row: one.row, column: one.column, at: position)
        }
        return try PackedFloats(bytes, rows: source.rows, layout: layout, exceptions: builder.sparse())
    }
}

private let mantissaMask: UInt32 = 0x7f_ffff

private func exponent(_ value: Float) -> Int { Int(value.exponentBitPattern) }

private func largestExponent(_ row: UnsafePointer<Float>, count: Int) -> Int {
    var largest = 0
    for column in 0..<count { largest = max(largest, exponent(row[column])) }
    return largest
}

/// Writes rows of packed floats, and keeps their exceptions.
private struct PackedRowWriter {
    struct Exception {
        let row: Int
        let column: Int
        let value: Float
    }

    private let layout: PackedFloats.Layout
    private(set) var exceptions: [Exception] = []

    init(_ layout: PackedFloats.Layout) { self.layout = layout }

    /// Returns whether the layout can hold the row.
    mutating func write(_ values: UnsafePointer<Float>, row: Int, to target: UnsafeMutableRawPointer) -> Bool {
        let (bits, dimension) = (layout.bits, layout.dimension)
        let lowest = max(largestExponent(values, count: dimension) - (1 << bits.exponentBits - 1), 0)
        let dropped = UInt32(PackedFloatBits.floatMantissaBits - bits.mantissaBits)
        let known = exceptions.count
        var writer = BitWriter(target: target + layout.headOffset + bits.headBytes)
        var low = target
        for column in 0..<dimension {
            let pattern = values[column].bitPattern
            let (mantissa, sign) = (pattern & mantissaMask, pattern >> 31)
            guard mantissa & ((1 << dropped) - 1) == 0 else { return false }
            var value: UInt32 = 0
            let exponent = exponent(values[column])
            if exponent == 0 || exponent > lowest {
                let code = UInt32(exponent == 0 ? 0 : exponent - lowest)
                guard code < 1 << bits.exponentBits else { return false }
                value = mantissa >> dropped | code << UInt32(bits.mantissaBits) | sign << UInt32(bits.valueBits - 1)
            } else {
                exceptions.append(Exception(row: row, column: column, value: values[column]))
            }
            for byte in 0..<bits.lowBytes {
                low.storeBytes(of: UInt8(truncatingIfNeeded: value >> UInt32(8 * byte)), as: UInt8.self)
                low += 1
            }
            writer.write(value >> UInt32(8 * bits.lowBytes), bits: bits.codeBits)
        }
        // The last byte, filled up with zeros.
        writer.write(0, bits: (8 - dimension * bits.codeBits % 8) % 8)
        let head = target + layout.headOffset
        head.storeBytes(of: UInt8(truncatingIfNeeded: lowest), as: UInt8.self)
        if bits.marksRows {
            head.storeBytes(of: exceptions.count > known ? 1 : 0, toByteOffset: 1, as: UInt8.self)
        } else if exceptions.count > known {
            return false
        }
        return true
    }
}
