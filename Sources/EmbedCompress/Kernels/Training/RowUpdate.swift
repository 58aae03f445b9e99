internal import CEmbedCompress.Shims

/// A step of one row after the other: its gradients are added up, it is read, moved, rounded and written back.
struct RowUpdate<Elements: TrainedElements> {
    let row: TrainedRow<Elements>
    let elementState: UnsafeMutablePointer<Float>?
    let rowState: UnsafeMutablePointer<Float>?
    let gradients: BatchGradients
    let order: SortedPositions
    /// What the row has in `order` that is row 0 here.
    let firstRow: Int
    let kind: RowOptimizer.Kind
    let isStochastic: Bool
    let stepKey: UInt64
    let learningRate: Float
    let eps: Float
    let decay: Float
    let (beta1, beta2): (Float, Float)
    let (rest1, rest2): (Float, Float)
    let (correction1, correction2): (Float, Float)

    init(
        _ rows: TrainedRows, gradients: BatchGradients, order: SortedPositions, firstRow: Int, optimizer: RowOptimizer
    ) {
        row = TrainedRow(rows)
        (elementState, rowState) = (rows.elementState, rows.rowState)
        (self.gradients, self.order, self.firstRow, kind) = (gradients, order, firstRow, optimizer.kind)
        isStochastic = optimizer.rounding == .stochastic
        stepKey = RandomBits.stepKey(seed: optimizer.seed, step: optimizer.step)
        (learningRate, eps, decay) = (Float(optimizer.learningRate), Float(optimizer.eps), Float(optimizer.weightDecay))
        (beta1, beta2) = (Float(optimizer.beta1), Float(optimizer.beta2))
        (rest1, rest2) = (Float(1 - optimizer.beta1), Float(1 - optimizer.beta2))
        let corrections = optimizer.corrections
        (correction1, correction2) = (Float(corrections.first), Float(corrections.second))
    }

    /// Floats of memory that ``update(_:in:)`` works in.
    static func slotFloats(dimension: Int) -> Int { 2 * padded(dimension) }

    /// Columns of whole lanes.
    static func padded(_ dimension: Int) -> Int { (dimension + 15) & ~15 }

    /// Asks for the memory of a group's row.
    @inline(__always)
    func prefetch(_ group: Int) {
        let number = order.row(group) &- firstRow
        row.prefetch(number)
        if let rowState { ec_prefetch(rowState + number) }
        if let elementState { ec_prefetch(elementState + number &* row.dimension) }
        let position = order.position(order.places(group).lowerBound)
        ec_prefetch(gradients.values + gradients.row(position) &* row.dimension)
    }

    /// Steps the row of a group.
    func update(_ group: Int, in slot: UnsafeMutablePointer<Float>) {
        let (gradient, weight) = (slot, slot + Self.padded(row.dimension))
        addUp(order.places(group), to: gradient)
        step(order.row(group) &- firstRow, against: gradient, weight)
    }

    /// Steps a row against its gradient, which may change; both it and `weight`, which the row is worked on in, have room
    /// for whole lanes, and the gradient zeros in those beyond the row.
    func step(
        _ number: Int, against gradient: UnsafeMutablePointer<Float>, _ weight: UnsafeMutablePointer<Float>
    ) {
        let dimension = row.dimension
        row.read(number) { values, column, _ in store16(values, to: weight + column) }
        if decay != 0, kind != .rowwiseAdam {
            each(dimension) { column, _ in
                store16(load16(gradient + column) + load16(weight + column) * decay, to: gradient + column)
            }
        }
        switch kind {
        case .sgd: move(weight, against: gradient, by: learningRate)
        case .adagrad: adagrad(number, weight, gradient)
        case .rowwiseAdagrad:
            guard let rowState else { return }
            let state = rowState[number] + meanSquare(gradient)
            rowState[number] = state
            move(weight, against: gradient, by: learningRate / (state.squareRoot() + eps))
        case .rowwiseAdam: adam(number, weight, gradient)
        }
        write(weight, row: number)
    }

    /// Calls `body` with every sixteenth column, and how many there are from it on.
    @inline(__always)
    private func each(_ dimension: Int, _ body: (Int, Int) -> Void) {
        var column = 0
        while column < dimension {
            body(column, dimension &- column)
            column &+= 16
        }
    }

    /// The sum of gradients in the order of their positions; zeros in the lanes beyond the row.
    @inline(__always)
    private func addUp(_ places: Range<Int>, to target: UnsafeMutablePointer<Float>) {
        each(row.dimension) { column, count in
            var sum = Floats16()
            for place in places {
                let position = order.position(place)
                let source = gradients.values + (gradients.row(position) &* row.dimension &+ column)
                var values = first16(source, count: count)
                if let factors = gradients.factors { values *= factors[position] }
                sum = place == places.lowerBound ? values : sum + values
            }
            store16(sum, to: target + column)
        }
    }

    @inline(__always)
    private func meanSquare(_ gradient: UnsafePointer<Float>) -> Float {
        var squares = Floats16()
        each(row.dimension) { column, _ in
            let values = load16(gradient + column)
            squares += values * values
        }
        return total(squares) / Float(row.dimension)
    }

    @inline(__always)
    private func move(_ weight: UnsafeMutablePointer<Float>, against gradient: UnsafePointer<Float>, by factor: Float) {
        each(row.dimension) { column, _ in
            store16(load16(weight + column) - load16(gradient + column) * factor, to: weight + column)
        }
    }

    @inline(__always)
    private func adagrad(_ number: Int, _ weight: UnsafeMutablePointer<Float>, _ gradient: UnsafePointer<Float>) {
        guard let elementState else { return }
        let states = elementState + number &* row.dimension
        each(row.dimension) { column, count in
            let slope = load16(gradient + column)
            let state = first16(states + column, count: count) + slope * slope
            write16(state, to: states + column, count: count, replaces: true)
            let moved = load16(weight + column) - slope * learningRate / (state.squareRoot() + eps)
            store16(moved, to: weight + column)
        }
    }

    @inline(__always)
    private func adam(_ number: Int, _ weight: UnsafeMutablePointer<Float>, _ gradient: UnsafePointer<Float>) {
        guard let elementState, let rowState else { return }
        let states = elementState + number &* row.dimension
        let second = rowState[number] * beta2 + meanSquare(gradient) * rest2
        rowState[number] = second
        let divisor = (second / correction2).squareRoot() + eps
        each(row.dimension) { column, count in
            let first = first16(states + column, count: count) * beta1 + load16(gradient + column) * rest1
            write16(first, to: states + column, count: count, replaces: true)
            let before = load16(weight + column)
            let change = first / correction1 / divisor + before * decay
            store16(before - change * learningRate, to: weight + column)
        }
    }

    /// Rounds and writes a row. Its scale doubles as long as a finite value is beyond the codes; codes of so few bits that
    /// what doubling leaves unused is too much have one that fits.
    @inline(__always)
    private func write(_ weight: UnsafePointer<Float>, row number: Int) {
        var scale: Float = 1
        if let limit = Elements.limit, let scales = row.scales {
            scale = grown(row.scale(number), weight, limit)
            scales[number] = scale
        }
        let random = RandomBits(stepKey: stepKey, row: number)
        each(row.dimension) { column, _ in
            let exact = load16(weight + column)
            let values = Elements.limit == nil ? exact : exact / scale
            let rounded =
                isStochastic ? Elements.random(values, random.bits(from: column)) : Elements.nearest(values)
            row.write(rounded, row: number, column: column)
        }
    }

    @inline(__always)
    private func grown(_ before: Float, _ weight: UnsafePointer<Float>, _ limit: Float) -> Float {
        var (least, most) = (Floats16(), Floats16())
        each(row.dimension) { column, _ in
            let values = load16(weight + column)
            least = leastOf(values, least)
            most = mostOf(values, most)
        }
        let (lowest, highest) = (-ec_least16(least), -ec_least16(-most))
        // A row of zeros may have no scale of its own yet.
        var scale = before == 0 ? Float.leastNormalMagnitude : before
        guard highest < .infinity, lowest < .infinity else { return scale }
        if Elements.bits < 8 {
            guard let fitting = fittingScale(lowest: lowest, highest: highest, limit: limit) else { return scale }
            return fitting > scale || fitting < scale / 2 ? fitting : scale
        }
        while highest / scale > limit - 1 || lowest / scale > limit { scale *= 2 }
        return scale
    }
}

/// The least scale of 8 significant bits, with which products with codes are exact, that values fit in; nil for zeros.
///
/// - Parameters:
///   - lowest: Minus the least value; at least 0.
///   - highest: At least 0.
///   - limit: Codes are from `-limit` to `limit - 1`.
@inline(__always)
func fittingScale(lowest: Float, highest: Float, limit: Float) -> Float? {
    let least = max(highest / (limit - 1), lowest / limit)
    return least == 0 ? nil : max(Float(bitPattern: (least.bitPattern &+ 0xFFFF) & 0xFFFF_0000), .leastNormalMagnitude)
}

/// The first `count` of sixteen numbers, or all from 16 on, and zeros. Reads no others.
@inline(__always)
func first16(_ source: UnsafePointer<Float>, count: Int) -> Floats16 {
    if count >= 16 { return load16(source) }
    var values = Floats16()
    for lane in 0..<count { values[lane] = source[lane] }
    return values
}
