/// Finds the bits of a row whose values are nearest to it: Viterbi's algorithm over the states of a trellis.
///
/// The cost of a state is the squared error of the columns that have it, plus the least cost of the states that lead there,
/// which differ in the bits that the row leaves behind. A row's bits are a ring: a first search over the columns about its seam
/// finds how the ring is likely to close there, and a second one, over the whole row, has to close it so.
///
/// A step computes the costs of all `2^stateBits` states, sixteen at a time, and keeps of those that differ in their lowest bits
/// only, which the next step leaves behind, the least. Costs are not negative, so that whole numbers in their lowest bits,
/// which say what was left behind, keep their order.
struct TrellisSearch: Sendable {
    let columns: TrellisColumns
    /// Columns that have the same state, and the bits that it leaves behind. Of a trivial type: nothing is counted where it
    /// is used.
    private struct Step {
        let first: Int
        let count: Int
        let left: Int
        /// Where each column's values begin in ``tables``.
        var tables = SIMD4<Int>()
        /// Where the step's marks begin in ``marks``.
        var marks = 0

        var columns: Range<Int> { first..<first + count }
    }

    private let steps: [Step]
    /// Values of all states, those that differ in the lowest bits only that a step leaves behind apart, in the order of its
    /// marks.
    private let tables: [Float]
    /// What states have in the bits that they leave behind, in the order of ``Walk/order(_:known:)``.
    private let marks: [UInt32]
    /// The values of all states in their order, for columns after 0, 1 and more columns that share their state.
    private let values: [[Float]]
    /// How many columns right before a column share its state.
    private let shared: [Int]

    /// Columns on each side of the seam that are searched first.
    private let seamColumns: Int
    /// Rows of fewer steps are searched so often.
    private static let shortRow = 24
    private static let shortRounds = 3
    /// The cost of a state that can't be.
    private static let never: Float = 1e30

    /// - Parameter seamColumns: How many columns on each side of the seam are searched for how the ring closes. More of them
    ///   take longer, and find better ends where rows are short.
    init(_ columns: TrellisColumns, seamColumns: Int) {
        self.columns = columns
        self.seamColumns = seamColumns
        let code = columns.code
        var (run, first) = (0, 0)
        var (shared, steps): ([Int], [Step]) = ([], [])
        var (tables, marks): ([Float], [UInt32]) = ([], [])
        var (knownTables, knownMarks): ([Int: Int], [Int: Int]) = ([:], [:])
        for (column, own) in columns.bits.enumerated() {
            shared.append(run)
            run = own == 0 ? run + 1 : 0
            guard own > 0 else { continue }
            var step = Step(first: first, count: column + 1 - first, left: Int(own))
            let kept = code.stateCount >> step.left
            if knownMarks[step.left] == nil {
                knownMarks[step.left] = marks.count
                marks += (0..<1 << step.left).map { UInt32(Self.reversed($0, bits: step.left)) }
            }
            step.marks = knownMarks[step.left] ?? 0
            for (number, column) in step.columns.enumerated() {
                let key = shared[column] * 16 + step.left
                if knownTables[key] == nil {
                    knownTables[key] = tables.count
                    let multiplier = code.multiplier(after: shared[column])
                    tables += (0..<code.stateCount).map { place in
                        let state = (place % kept) << step.left | Self.reversed(place / kept, bits: step.left)
                        return TrellisCode.value(state, multiplier)
                    }
                }
                step.tables[number] = knownTables[key] ?? 0
            }
            steps.append(step)
            first = column + 1
        }
        (self.shared, self.steps, self.tables, self.marks) = (shared, steps, tables, marks)
        values = (0...(shared.max() ?? 0)).map { run in
            let multiplier = code.multiplier(after: run)
            return (0..<code.stateCount).map { TrellisCode.value($0, multiplier) }
        }
    }

    /// The lowest bits of a number in the opposite order.
    private static func reversed(_ number: Int, bits: Int) -> Int {
        (0..<bits).reduce(0) { $0 << 1 | number >> $1 & 1 }
    }

    /// The value of a column's state.
    @inline(__always)
    func value(_ state: UInt16, column: Int) -> Float { values[shared[column]][Int(state)] }

    /// Floats of scratch that a search works in: costs of states, and twice the same as they are put in order.
    var scratchFloats: Int { 3 * columns.code.stateCount + 16 << TrellisCode.mostColumnBits }
    /// Bytes of scratch: the bits that each state leaves behind.
    var scratchBytes: Int { Self.scratchBytes(columns) }
    static func scratchBytes(_ columns: TrellisColumns) -> Int {
        columns.bits.reduce(0) { $0 + ($1 == 0 ? 0 : columns.code.stateCount >> Int($1)) }
    }

    /// Finds the states of a row's columns.
    ///
    /// - Parameters:
    ///   - row: Of each column what its factor times its value is to be near to.
    ///   - factors: Of each column.
    ///   - states: One for each column.
    ///   - floats: `scratchFloats` of scratch.
    ///   - bytes: `scratchBytes` of scratch.
    func encode(
        _ row: UnsafePointer<Float>, _ factors: UnsafePointer<Float>, states: UnsafeMutablePointer<UInt16>,
        floats: UnsafeMutablePointer<Float>, bytes: UnsafeMutablePointer<UInt8>
    ) {
        if steps.count == 1 { return encodeAlone(row, factors, states: states) }
        let stateCount = columns.code.stateCount
        steps.withUnsafeBufferPointer { steps in
            tables.withUnsafeBufferPointer { tables in
                marks.withUnsafeBufferPointer { marks in
                    guard let tables = tables.baseAddress, let marks = marks.baseAddress else { return }
                    let walk = Walk(
                        steps: steps, tables: tables, marks: marks, stateCount: stateCount, row: row, factors: factors,
                        costs: floats, traces: bytes)
                    let seam = min(seamColumns, max(steps.count / 2, 1))
                    var closing = 0
                    walk.run(from: steps.count - seam, count: min(2 * seam, steps.count), closing: nil) { step, state in
                        if step == 0 { closing = state }
                    }
                    // Rows of few steps are gone round again, from elsewhere: never to a larger error.
                    for round in 0..<(steps.count < Self.shortRow ? Self.shortRounds : 1) {
                        let start = round * steps.count / Self.shortRounds
                        if round > 0 { closing = Int(states[steps[start].first]) }
                        walk.run(from: start, count: steps.count, closing: closing) { step, state in
                            for column in steps[step].columns { states[column] = UInt16(truncatingIfNeeded: state) }
                        }
                    }
                }
            }
        }
    }

    /// The same for columns that all have one state: tries all bits that there are.
    private func encodeAlone(
        _ row: UnsafePointer<Float>, _ factors: UnsafePointer<Float>, states: UnsafeMutablePointer<UInt16>
    ) {
        let own = steps[0].left
        var least = Float.infinity
        states.update(repeating: 0, count: columns.dimension)
        for ring in 0..<1 << own {
            let state = (0..<columns.code.stateBits).reduce(0) { $0 | (ring >> ($1 % own) & 1) << $1 }
            var error: Float = 0
            for column in steps[0].columns {
                let difference = row[column] - factors[column] * value(UInt16(state), column: column)
                error += difference * difference
            }
            guard error < least else { continue }
            least = error
            for column in steps[0].columns { states[column] = UInt16(state) }
        }
    }

    /// A search over steps of a row.
    private struct Walk {
        let steps: UnsafeBufferPointer<Step>
        let tables: UnsafePointer<Float>
        let marks: UnsafePointer<UInt32>
        let stateCount: Int
        let row: UnsafePointer<Float>
        let factors: UnsafePointer<Float>
        /// Of states, by what they have left behind.
        let costs: UnsafeMutablePointer<Float>
        let traces: UnsafeMutablePointer<UInt8>

        /// Searches `count` steps from `first` on, around the row's end, and calls `body` with the best state of each, the last
        /// one first.
        ///
        /// - Parameter closing: A state: where `count` steps make a ring, the last step's state is the first one's but for the
        ///   bits that it leaves behind, and what both have in common is to be that of this one. nil: anything.
        func run(from first: Int, count: Int, closing: Int?, _ body: (_ step: Int, _ state: Int) -> Void) {
            func index(_ number: Int) -> Int { (first + number) % steps.count }
            costs.update(repeating: closing == nil ? 0 : TrellisSearch.never, count: stateCount)
            let common = closing.map { $0 & (stateCount >> steps[index(count - 1)].left - 1) }
            if let common {
                let apart = stateCount >> steps[index(count - 1)].left
                for state in stride(from: common, to: stateCount, by: apart) { costs[state] = 0 }
            }
            // How many states the costs are of: all, and after a step those that differ in what is kept.
            var known = stateCount
            var least = Floats16()
            var trace = traces
            for number in 0..<count {
                let step = steps[index(number)]
                least = advance(step, known: known, least: least, trace)
                known = stateCount >> step.left
                trace += known
            }
            var kept = common ?? 0
            if common == nil { for candidate in 0..<known where costs[candidate] < costs[kept] { kept = candidate } }
            for number in stride(from: count - 1, through: 0, by: -1) {
                let step = steps[index(number)]
                trace -= stateCount >> step.left
                let state = kept << step.left | Int(trace[kept])
                body(index(number), state)
                guard number > 0 else { break }
                kept = state & (stateCount >> steps[index(number - 1)].left - 1)
            }
        }

        /// Goes on to the columns of a step, whose states have one of the first `known` costs, that of their lowest bits, less
        /// the least of them. Returns the least of the new ones. Both are in all lanes.
        private func advance(
            _ step: Step, known: Int, least: Floats16, _ trace: UnsafeMutablePointer<UInt8>
        ) -> Floats16 {
            let kept = stateCount >> step.left
            let groups = 1 << step.left
            let ordered = order(step, known: known, less: least)
            let target = costs
            // As many costs as differ in neither what is left behind nor what is new: they repeat.
            let mask = max(known >> step.left, 16) - 1
            let apart = mask + 1
            let marked = SIMD16<UInt32>(repeating: ~UInt32(truncatingIfNeeded: groups - 1))
            let (table, marks) = (tables + step.tables[0], marks + step.marks)
            let (wanted, factor) = (
                Floats16(repeating: row[step.first]), Floats16(repeating: -factors[step.first])
            )
            var newLeast = Floats16(repeating: .infinity)
            /// For a number of groups that the compiler knows, and columns that are alone, loops are unrolled.
            @inline(__always)
            func find(_ groups: Int, isAlone: Bool) {
                var place = 0
                while place < kept {
                    var best = Floats16(repeating: .infinity)
                    let start = ordered + (place & mask)
                    var group = 0
                    while group < groups {
                        let error = fused(factor, load16(table + (group &* kept &+ place)), wanted)
                        var cost = fused(error, error, load16(start + group &* apart))
                        if !isAlone { cost += others(of: step, at: group &* kept &+ place) }
                        let bits = unsafeBitCast(cost, to: SIMD16<UInt32>.self) & marked
                        best = leastOf(unsafeBitCast(bits | marks[group], to: Floats16.self), best)
                        group &+= 1
                    }
                    store16(best, to: target + place)
                    newLeast = leastOf(best, newLeast)
                    let left = unsafeBitCast(best, to: SIMD16<UInt32>.self) & ~marked
                    var bytes = SIMD16<UInt8>()
                    for lane in 0..<16 { bytes[lane] = UInt8(truncatingIfNeeded: left[lane]) }
                    UnsafeMutableRawPointer(trace + place).storeBytes(of: bytes, as: SIMD16<UInt8>.self)
                    place &+= 16
                }
            }
            switch (step.left, step.count) {
            case (1, 1): find(2, isAlone: true)
            case (2, 1): find(4, isAlone: true)
            case (3, 1): find(8, isAlone: true)
            case (4, 1): find(16, isAlone: true)
            case (_, 1): find(groups, isAlone: true)
            default: find(groups, isAlone: false)
            }
            return leastLane(newLeast)
        }

        /// The squared errors of a step's columns after the first one.
        private func others(of step: Step, at place: Int) -> Floats16 {
            var sum = Floats16()
            for number in 1..<step.count {
                let column = step.first &+ number
                let error = fused(
                    Floats16(repeating: -factors[column]), load16(tables + (step.tables[number] &+ place)),
                    Floats16(repeating: row[column]))
                sum = fused(error, error, sum)
            }
            return sum
        }

        /// The costs less the least one, those of states that differ in their lowest `left` bits only apart: those of the lowest
        /// bits 0 first, then of others in the order of ``reversed(_:bits:)``. Each has sixteen or more, if need be the same
        /// again.
        private func order(_ step: Step, known: Int, less base: Floats16) -> UnsafePointer<Float> {
            let left = step.left
            if known >> left == 0 {
                // Of what is left behind, the lowest bits say all.
                for group in 0..<1 << left {
                    let cost = costs[Int(marks[step.marks + group]) & (known - 1)]
                    store16(Floats16(repeating: cost) - base, to: costs + stateCount + group * 16)
                }
                return UnsafePointer(costs + stateCount)
            }
            // The first pass reads the costs; the others take turns between two copies.
            var (source, target) = (costs, costs + stateCount)
            var (width, first) = (known, base)
            for _ in 0..<left {
                var part = 0
                if width > 16 {
                    while part < known {
                        split(source + part, width, less: first, to: target + part)
                        part &+= width
                    }
                } else {
                    while part < known {
                        store16(split(load16(source + part), width) - first, to: target + part)
                        part &+= 16
                    }
                }
                (source, target) = (target, source == costs ? costs + 2 &* stateCount : source)
                (width, first) = (width &>> 1, Floats16())
            }
            guard width < 16 else { return UnsafePointer(source) }
            for group in 0..<1 << left {
                store16(repeated(source + group &* width, width), to: target + group &* 16)
            }
            return UnsafePointer(target)
        }

        /// The first `width` numbers, 1, 2, 4 or 8, and then the same again.
        @inline(__always)
        private func repeated(_ numbers: UnsafePointer<Float>, _ width: Int) -> Floats16 {
            let bytes = UnsafeRawPointer(numbers)
            if width == 1 { return Floats16(repeating: numbers[0]) }
            if width == 8 {
                let eight = bytes.loadUnaligned(as: SIMD8<Float>.self)
                return Floats16(lowHalf: eight, highHalf: eight)
            }
            if width == 4 { return repeated(bytes.loadUnaligned(as: SIMD4<Float>.self)) }
            let two = SIMD2(numbers[0], numbers[1])
            return repeated(SIMD4(lowHalf: two, highHalf: two))
        }

        /// Writes the even ones of `width` numbers, which are 32 or more, and then the odd ones, less a number.
        @inline(__always)
        private func split(
            _ source: UnsafePointer<Float>, _ width: Int, less base: Floats16, to target: UnsafeMutablePointer<Float>
        ) {
            let half = width &>> 1
            var place = 0
            while place < half {
                let pair = source + 2 &* place
                let both = SIMD32(lowHalf: load16(pair), highHalf: load16(pair + 16))
                store16(both.evenHalf - base, to: target + place)
                store16(both.oddHalf - base, to: target + (half &+ place))
                place &+= 16
            }
        }

        /// Of each `width` numbers, 16, 8, 4 or 2, the even ones, and then the odd ones.
        @inline(__always)
        private func split(_ numbers: Floats16, _ width: Int) -> Floats16 {
            if width == 16 { return Floats16(lowHalf: numbers.evenHalf, highHalf: numbers.oddHalf) }
            if width == 8 { return Floats16(lowHalf: split(numbers.lowHalf), highHalf: split(numbers.highHalf)) }
            if width == 4 {
                let (low, high) = (numbers.lowHalf, numbers.highHalf)
                return Floats16(
                    lowHalf: SIMD8(lowHalf: split(low.lowHalf), highHalf: split(low.highHalf)),
                    highHalf: SIMD8(lowHalf: split(high.lowHalf), highHalf: split(high.highHalf)))
            }
            return numbers
        }
        @inline(__always)
        private func split(_ numbers: SIMD8<Float>) -> SIMD8<Float> {
            SIMD8(lowHalf: numbers.evenHalf, highHalf: numbers.oddHalf)
        }
        @inline(__always)
        private func split(_ numbers: SIMD4<Float>) -> SIMD4<Float> {
            SIMD4(lowHalf: numbers.evenHalf, highHalf: numbers.oddHalf)
        }

        /// The least of all lanes, in every lane: of each lane and those 8, 4, 2 and 1 further on.
        @inline(__always)
        private func leastLane(_ lanes: Floats16) -> Floats16 {
            let two = leastOf(lanes, Floats16(lowHalf: lanes.highHalf, highHalf: lanes.lowHalf))
            let half = SIMD8(lowHalf: two.lowHalf.highHalf, highHalf: two.lowHalf.lowHalf)
            let four = leastOf(two, Floats16(lowHalf: half, highHalf: half))
            let quarter = four.lowHalf.lowHalf
            let eight = leastOf(four, repeated(SIMD4(lowHalf: quarter.highHalf, highHalf: quarter.lowHalf)))
            let last = eight.lowHalf.lowHalf
            return leastOf(eight, repeated(SIMD4(last[1], last[0], last[3], last[2])))
        }

        @inline(__always)
        private func repeated(_ four: SIMD4<Float>) -> Floats16 {
            let eight = SIMD8(lowHalf: four, highHalf: four)
            return Floats16(lowHalf: eight, highHalf: eight)
        }
    }
}

/// `a * b + c`, fused where the processor can: at the baseline level a search may end at other bits.
@inline(__always)
private func fused(_ a: Floats16, _ b: Floats16, _ c: Floats16) -> Floats16 { multiplyAdd(a, b, c, isExact: true) }
