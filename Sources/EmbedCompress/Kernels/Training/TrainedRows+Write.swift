internal import CEmbedCompress.Shims

/// How rows that are written become those of a format.
package struct RowRounding: Sendable {
    package var rounding: RowOptimizer.Rounding
    /// How far scales of codes move against their slopes.
    package var scaleRate: Double
    package var seed: Int
    /// The number of the step, which random numbers belong to, from 1 on.
    package var step: Int

    package init(rounding: RowOptimizer.Rounding = .stochastic, scaleRate: Double = 0, seed: Int = 0, step: Int = 1) {
        (self.rounding, self.scaleRate, self.seed, self.step) = (rounding, scaleRate, seed, step)
    }

    func check() throws {
        guard scaleRate >= 0, scaleRate <= Double(Float.greatestFiniteMagnitude) else {
            throw EmbedCompressError.invalidArgument("scale_rate must be finite and not negative, not \(scaleRate)")
        }
        guard step >= 1 else { throw EmbedCompressError.invalidArgument("step must be at least 1, not \(step)") }
    }
}

extension TrainedRows {
    /// Writes rows, rounded. Values beyond the codes become the last of them; scales don't double.
    ///
    /// With slopes, a row's scale s is learnt first, by a rule without a state. If it is less than half or more than twice
    /// of what the row fits in, it becomes that. Then it moves with the gradient that LSQ has for it (Esser et al., ICLR
    /// 2020): with g the slopes of the row that was rounded to the nearest codes, v = w / s, and q(v) the nearest code,
    /// `u = sum(g * (q(v) - v))`, where beyond the codes v counts as 0. Then `s *= 1 - scaleRate * u / |g|`, by factors
    /// of 1/2 to 2.
    ///
    /// - Parameters:
    ///   - ids: Rising ones, so that each is there once.
    ///   - values: `ids.count * dimension` numbers.
    ///   - slopes: As many, or nil where scales stay.
    /// - Throws: ``EmbedCompressError/invalidID(position:id:rows:)`` for an id outside `[0, rows)`, and
    ///   ``EmbedCompressError/invalidArgument(_:)`` for ids that don't rise, slopes that are not finite, and slopes of
    ///   rows of floats. Nothing is then written.
    package func write(
        _ ids: IDs, values: UnsafePointer<Float>, slopes: UnsafePointer<Float>?, _ how: RowRounding
    ) throws {
        try how.check()
        guard !format.isScaled || scales != nil else {
            throw EmbedCompressError.invalidArgument("scales must not be null")
        }
        guard format.isScaled || slopes == nil else {
            throw EmbedCompressError.invalidArgument("slopes are for rows of codes, which have scales")
        }
        try ids.requireValid(rows: rows)
        for position in 1..<max(ids.count, 1) where ids[position] <= ids[position - 1] {
            throw EmbedCompressError.invalidArgument("ids must rise, but the one at position \(position) does not")
        }
        if let slopes {
            try BatchGradients(values: slopes, rows: ids.count).checkFinite(dimension: dimension, "slopes")
        }
        switch format {
        case .float32: write(ids, RowWrite<TrainedFloats>(self, values, slopes, how))
        case .bfloat16: write(ids, RowWrite<TrainedBrainFloats>(self, values, slopes, how))
        case .float16: write(ids, RowWrite<TrainedHalves>(self, values, slopes, how))
        case .int16: write(ids, RowWrite<TrainedInt16>(self, values, slopes, how))
        case .int8: write(ids, RowWrite<TrainedInt8>(self, values, slopes, how))
        case .int4: write(ids, RowWrite<TrainedInt4>(self, values, slopes, how))
        }
    }

    private func write<Elements>(_ ids: IDs, _ rows: RowWrite<Elements>) {
        Parallel.forEach(count: ids.count, grain: max(Self.grain / dimension, 1)) { range in
            for position in range {
                // Read again: a caller's array may change.
                let id = ids[position]
                if UInt64(bitPattern: id) < UInt64(self.rows) { rows.write(Int(id), from: position) }
            }
        }
    }
}

/// Values that become rows, one after the other.
private struct RowWrite<Elements: TrainedElements> {
    let row: TrainedRow<Elements>
    let values: UnsafePointer<Float>
    let slopes: UnsafePointer<Float>?
    let isStochastic: Bool
    let scaleRate: Float
    let stepKey: UInt64

    init(
        _ rows: TrainedRows, _ values: UnsafePointer<Float>, _ slopes: UnsafePointer<Float>?, _ how: RowRounding
    ) {
        (row, self.values, self.slopes) = (TrainedRow(rows), values, slopes)
        (isStochastic, scaleRate) = (how.rounding == .stochastic, Float(how.scaleRate))
        stepKey = RandomBits.stepKey(seed: how.seed, step: how.step)
    }

    func write(_ number: Int, from position: Int) {
        let source = values + position &* row.dimension
        var scale: Float = 1
        if let limit = Elements.limit, let scales = row.scales {
            scale = row.scale(number)
            if scale == 0 { scale = .leastNormalMagnitude }
            if let slopes {
                scale = moved(begun(scale, source, limit), source, slopes + position &* row.dimension, limit)
            }
            scales[number] = scale
        }
        let random = RandomBits(stepKey: stepKey, row: number)
        var column = 0
        while column < row.dimension {
            let exact = first16(source + column, count: row.dimension &- column)
            let scaled = Elements.limit == nil ? exact : exact / scale
            let rounded =
                isStochastic ? Elements.random(scaled, random.bits(from: column)) : Elements.nearest(scaled)
            row.write(rounded, row: number, column: column)
            column &+= 16
        }
    }

    /// A scale that is near what a row fits in.
    @inline(__always)
    private func begun(_ scale: Float, _ source: UnsafePointer<Float>, _ limit: Float) -> Float {
        var (least, most, column) = (Floats16(), Floats16(), 0)
        while column < row.dimension {
            let values = first16(source + column, count: row.dimension &- column)
            (least, most) = (leastOf(values, least), mostOf(values, most))
            column &+= 16
        }
        let (lowest, highest) = (-ec_least16(least), -ec_least16(-most))
        guard highest < .infinity, lowest < .infinity,
            let fitting = fittingScale(lowest: lowest, highest: highest, limit: limit)
        else { return scale }
        return fitting > scale * 2 || fitting < scale / 2 ? fitting : scale
    }

    /// A scale after its step.
    @inline(__always)
    private func moved(
        _ scale: Float, _ source: UnsafePointer<Float>, _ slopes: UnsafePointer<Float>, _ limit: Float
    ) -> Float {
        var (products, squares, column) = (Floats16(), Floats16(), 0)
        while column < row.dimension {
            let count = row.dimension &- column
            let exact = first16(source + column, count: count) / scale
            let slope = first16(slopes + column, count: count)
            let inside = leastOf(mostOf(exact, Floats16(repeating: -limit)), Floats16(repeating: limit - 1))
            let change = rounded(inside) - Floats16().replacing(with: exact, where: inside .== exact)
            products += slope * change
            squares += slope * slope
            column &+= 16
        }
        let relative = scaleRate * total(products) / total(squares).squareRoot()
        // Slopes of zeros, or whose squares are beyond the floats, say nothing.
        guard relative.isFinite else { return scale }
        let result = scale * min(max(1 - relative, 0.5), 2)
        return result.isNormal ? result : scale
    }
}
