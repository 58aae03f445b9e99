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

    /// Writes the rows of ids as floats, `ids.count * dimension` of them.
    ///
    /// - Throws: ``EmbedCompressError/invalidID(position:id:rows:)`` for an id outside `[0, rows)`; nothing is then
    ///   written.
    package func gather(_ ids: IDs, into output: UnsafeMutablePointer<Float>) throws {
        try ids.requireValid(rows: rows)
        switch format {
        case .float32: gather(ids, into: output, TrainedRow<TrainedFloats>(self))
        case .bfloat16: gather(ids, into: output, TrainedRow<TrainedBrainFloats>(self))
        case .float16: gather(ids, into: output, TrainedRow<TrainedHalves>(self))
        case .int16: gather(ids, into: output, TrainedRow<TrainedInt16>(self))
        case .int8: gather(ids, into: output, TrainedRow<TrainedInt8>(self))
        case .int4: gather(ids, into: output, TrainedRow<TrainedInt4>(self))
        }
    }

    private func gather<Elements>(
        _ ids: IDs, into output: UnsafeMutablePointer<Float>, _ row: TrainedRow<Elements>
    ) {
        Parallel.forEach(count: ids.count, grain: max(Self.grain / dimension, 1)) { range in
            for position in range {
                // What comes soon is asked for, and checked again, because a caller's array may change.
                if position &+ Self.idsAhead < ids.count {
                    row.prefetch(Int(truncatingIfNeeded: ids[position &+ Self.idsAhead]))
                }
                let (id, target) = (ids[position], output + position &* dimension)
                if UInt64(bitPattern: id) < UInt64(rows) {
                    row.read(Int(id)) { values, column, count in
                        write16(values, to: target + column, count: count, replaces: true)
                    }
                } else {
                    target.update(repeating: 0, count: dimension)
                }
            }
        }
    }

    /// Writes the sums or means of the rows of bags, `bags.count * dimension` floats; an empty bag gives zeros.
    ///
    /// - Throws: ``EmbedCompressError/invalidID(position:id:rows:)`` for an id outside `[0, rows)`, and
    ///   ``EmbedCompressError/invalidArgument(_:)`` for offsets that are none, and for what training has no bags of: maxima,
    ///   ids to leave out, and invalid ids that are not errors. Nothing is then written.
    package func pool(_ bags: Bags, into output: UnsafeMutablePointer<Float>) throws {
        try check(bags)
        try bags.ids.requireValid(rows: rows)
        switch format {
        case .float32: pool(bags, into: output, TrainedRow<TrainedFloats>(self))
        case .bfloat16: pool(bags, into: output, TrainedRow<TrainedBrainFloats>(self))
        case .float16: pool(bags, into: output, TrainedRow<TrainedHalves>(self))
        case .int16: pool(bags, into: output, TrainedRow<TrainedInt16>(self))
        case .int8: pool(bags, into: output, TrainedRow<TrainedInt8>(self))
        case .int4: pool(bags, into: output, TrainedRow<TrainedInt4>(self))
        }
    }

    func check(_ bags: Bags) throws {
        try bags.check()
        guard bags.pooling != .max else {
            throw EmbedCompressError.invalidArgument("the mode of a table that is trained must be sum or mean")
        }
        guard bags.paddingID < 0, bags.onInvalid == .raise else {
            throw EmbedCompressError.invalidArgument(
                "a table that is trained has no padding id, and invalid ids are errors")
        }
        guard bags.count <= Int(Int32.max) else {
            throw EmbedCompressError.invalidArgument("\(bags.count) bags are too many for one step")
        }
        guard let weights = bags.weights, let place = (0..<bags.ids.count).first(where: { !weights[$0].isFinite })
        else {
            return
        }
        throw EmbedCompressError.invalidArgument(
            "weights must be finite, but the one at position \(place) is \(weights[place])")
    }

    private func pool<Elements>(
        _ bags: Bags, into output: UnsafeMutablePointer<Float>, _ row: TrainedRow<Elements>
    ) {
        let ids = bags.ids
        let each = max(ids.count / max(bags.count, 1), 1)
        Parallel.forEach(count: bags.count, grain: max(Self.grain / dimension / each, 1)) { range in
            for bag in range {
                let target = output + bag &* dimension
                let (first, end) = (bags.start(bag), bag == bags.count - 1 ? ids.count : bags.start(bag + 1))
                target.update(repeating: 0, count: dimension)
                guard first < end else { continue }
                for position in first..<end {
                    // What comes soon is asked for, and checked again, because a caller's array may change.
                    if position &+ Self.idsAhead < ids.count {
                        row.prefetch(Int(truncatingIfNeeded: ids[position &+ Self.idsAhead]))
                    }
                    let id = ids[position]
                    guard UInt64(bitPattern: id) < UInt64(rows) else { continue }
                    let factor = bags.weights.map { $0[position] } ?? 1
                    row.read(Int(id)) { values, column, count in
                        let sum = first16(target + column, count: count) + values * factor
                        write16(sum, to: target + column, count: count, replaces: true)
                    }
                }
                if bags.pooling == .mean { for column in 0..<dimension { target[column] /= Float(end - first) } }
            }
        }
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
