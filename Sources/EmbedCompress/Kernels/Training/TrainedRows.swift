internal import CEmbedCompress.Shims

/// A table that is trained in the form in which it is stored, in a caller's memory: nothing of its size is made.
package struct TrainedRows {
    /// How the elements of rows are stored.
    package enum Format: Sendable {
        case float32, bfloat16, float16, int16, int8, int4

        /// Bits of an element.
        var bits: Int {
            switch self {
            case .float32: return 32
            case .bfloat16, .float16, .int16: return 16
            case .int8: return 8
            case .int4: return 4
            }
        }

        /// Whether rows are codes times a scale.
        package var isScaled: Bool { self == .int16 || self == .int8 || self == .int4 }
    }

    /// `rows` rows of ``rowBytes`` each.
    package let elements: UnsafeMutableRawPointer
    /// A number for each row, if the format has scales.
    package let scales: UnsafeMutablePointer<Float>?
    /// What the optimizer keeps for each element, row after row; nil if it keeps nothing.
    package let elementState: UnsafeMutablePointer<Float>?
    /// What the optimizer keeps for each row.
    package let rowState: UnsafeMutablePointer<Float>?
    package let rows: Int
    package let dimension: Int
    package let format: Format

    package init(
        elements: UnsafeMutableRawPointer, scales: UnsafeMutablePointer<Float>?,
        elementState: UnsafeMutablePointer<Float>?, rowState: UnsafeMutablePointer<Float>?, rows: Int, dimension: Int,
        format: Format
    ) {
        (self.elements, self.scales, self.elementState, self.rowState) = (elements, scales, elementState, rowState)
        (self.rows, self.dimension, self.format) = (rows, dimension, format)
    }

    /// Of a row: its elements without gaps, and up to the next byte.
    package static func rowBytes(_ format: Format, dimension: Int) -> Int { (dimension * format.bits + 7) / 8 }

    package var rowBytes: Int { Self.rowBytes(format, dimension: dimension) }

    /// Writes the rows that positions of a batch have in this table, as floats, to their places in an output of the whole
    /// batch. Ids of other tables are left out.
    ///
    /// - Parameter first: The id of the table's first row.
    func gather(
        _ ids: IDs, _ positions: Range<Int>, from first: Int, into output: UnsafeMutablePointer<Float>
    ) {
        switch format {
        case .float32: gather(ids, positions, from: first, into: output, TrainedRow<TrainedFloats>(self))
        case .bfloat16: gather(ids, positions, from: first, into: output, TrainedRow<TrainedBrainFloats>(self))
        case .float16: gather(ids, positions, from: first, into: output, TrainedRow<TrainedHalves>(self))
        case .int16: gather(ids, positions, from: first, into: output, TrainedRow<TrainedInt16>(self))
        case .int8: gather(ids, positions, from: first, into: output, TrainedRow<TrainedInt8>(self))
        case .int4: gather(ids, positions, from: first, into: output, TrainedRow<TrainedInt4>(self))
        }
    }

    private func gather<Elements>(
        _ ids: IDs, _ positions: Range<Int>, from first: Int, into output: UnsafeMutablePointer<Float>,
        _ row: TrainedRow<Elements>
    ) {
        for position in positions {
            prefetch(ids, position &+ Self.idsAhead, from: first, row)
            guard let number = number(ids[position], from: first) else { continue }
            let target = output + position &* dimension
            row.read(number) { values, column, count in
                write16(values, to: target + column, count: count, replaces: true)
            }
        }
    }

    /// Adds the rows that bags have in this table to their sums in an output of all bags, times their weights.
    func add(
        _ bags: Bags, _ range: Range<Int>, from first: Int, to output: UnsafeMutablePointer<Float>
    ) {
        switch format {
        case .float32: add(bags, range, from: first, to: output, TrainedRow<TrainedFloats>(self))
        case .bfloat16: add(bags, range, from: first, to: output, TrainedRow<TrainedBrainFloats>(self))
        case .float16: add(bags, range, from: first, to: output, TrainedRow<TrainedHalves>(self))
        case .int16: add(bags, range, from: first, to: output, TrainedRow<TrainedInt16>(self))
        case .int8: add(bags, range, from: first, to: output, TrainedRow<TrainedInt8>(self))
        case .int4: add(bags, range, from: first, to: output, TrainedRow<TrainedInt4>(self))
        }
    }

    private func add<Elements>(
        _ bags: Bags, _ range: Range<Int>, from first: Int, to output: UnsafeMutablePointer<Float>,
        _ row: TrainedRow<Elements>
    ) {
        for bag in range {
            let target = output + bag &* dimension
            for position in bags.places(bag) {
                prefetch(bags.ids, position &+ Self.idsAhead, from: first, row)
                guard let number = number(bags.ids[position], from: first) else { continue }
                let factor = bags.weights.map { $0[position] } ?? 1
                row.read(number) { values, column, count in
                    write16(values * factor, to: target + column, count: count, replaces: false)
                }
            }
        }
    }

    /// The row of an id, if it is of this table. Ids are checked whenever they are read, as a caller's array may change.
    @inline(__always)
    private func number(_ id: Int64, from first: Int) -> Int? {
        let number = Int(truncatingIfNeeded: id) &- first
        return UInt(bitPattern: number) < UInt(bitPattern: rows) ? number : nil
    }

    /// Asks for the row that a later position has; where it has none here, for the first one, which costs nothing.
    @inline(__always)
    private func prefetch<Elements>(_ ids: IDs, _ position: Int, from first: Int, _ row: TrainedRow<Elements>) {
        if position < ids.count { row.prefetch(number(ids[position], from: first) ?? 0) }
    }

    /// Elements that a thread works through at a time.
    static let grain = 1 << 13
    /// How many rows ahead memory is asked for: rows are read in a few nanoseconds, and stepped in tens of them.
    static let (idsAhead, groupsAhead) = (32, 8)
}

/// Where the rows of a format are, and what they say.
struct TrainedRow<Elements: TrainedElements> {
    let elements: UnsafeMutableRawPointer
    let scales: UnsafeMutablePointer<Float>?
    let dimension: Int
    let rowBytes: Int

    init(_ rows: TrainedRows) {
        (elements, scales) = (rows.elements, rows.format.isScaled ? rows.scales : nil)
        (dimension, rowBytes) = (rows.dimension, rows.rowBytes)
    }

    /// Asks for a row's memory; any number will do.
    @inline(__always)
    func prefetch(_ row: Int) {
        // Addresses as numbers: one that points nowhere is harmless.
        let place = UInt(bitPattern: elements) &+ UInt(bitPattern: row &* rowBytes)
        ec_prefetch(UnsafeRawPointer(bitPattern: place))
        guard let scales else { return }
        ec_prefetch(UnsafeRawPointer(bitPattern: UInt(bitPattern: scales) &+ UInt(bitPattern: row &* 4)))
    }

    /// The scale of a row: 0 for one that isn't positive and finite, whose row is zeros, and 1 in formats without.
    @inline(__always)
    func scale(_ row: Int) -> Float {
        guard let scales else { return 1 }
        let scale = scales[row]
        return scale > 0 && scale < .infinity ? scale : 0
    }

    /// Calls `body` with sixteen columns after the other, the first of them, and how many from there on are in the row.
    /// Lanes beyond the row are 0.
    @inline(__always)
    func read(_ row: Int, _ body: (Floats16, Int, Int) -> Void) {
        let (source, scale) = (elements + row &* rowBytes, Floats16(repeating: scale(row)))
        var column = 0
        while column &+ 16 <= dimension {
            let values = Elements.load(source + column &* Elements.bits / 8)
            body(Elements.limit == nil ? values : values * scale, column, dimension &- column)
            column &+= 16
        }
        if column < dimension {
            let offset = column &* Elements.bits / 8
            var bytes = Floats16()
            withUnsafeMutableBytes(of: &bytes) {
                $0.copyMemory(from: UnsafeRawBufferPointer(start: source + offset, count: rowBytes &- offset))
            }
            let rest = withUnsafePointer(to: bytes) { Elements.load($0) }
            let values = ec_first_lanes(rest, Floats16(), Int32(truncatingIfNeeded: dimension &- column))
            body(Elements.limit == nil ? values : values * scale, column, dimension &- column)
        }
    }

    /// Writes sixteen columns from `column` on, or those of them that are in the row, of values that the format has.
    @inline(__always)
    func write(_ values: Floats16, row: Int, column: Int) {
        let offset = column &* Elements.bits / 8
        let target = elements + row &* rowBytes + offset
        if column &+ 16 <= dimension { return Elements.store(values, to: target) }
        // A last code of four bits has a neighbour of zeros.
        let rest = Floats16(repeating: -(Elements.limit ?? 0))
        var whole = Floats16()
        withUnsafeMutableBytes(of: &whole) { bytes in
            guard let base = bytes.baseAddress else { return }
            Elements.store(ec_first_lanes(values, rest, Int32(truncatingIfNeeded: dimension &- column)), to: base)
            target.copyMemory(from: base, byteCount: rowBytes &- offset)
        }
    }
}
