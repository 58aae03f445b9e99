/// Rows in groups of similar norm, for methods that give larger rows more bytes.
struct NormGroups {
    /// Rows by falling norm.
    let order: [Int]
    /// Where each group begins in the order: those of the largest norms are in group 0.
    let starts: [Int]

    /// Groups with equal sums of norms; those that no row would be in are left out.
    ///
    /// - Parameter most: Groups, at most.
    init(_ sorted: SortedNorms, most: Int) {
        order = sorted.order
        var starts: [Int] = []
        var last = -1
        let total = sorted.total
        for (place, before) in sorted.before.enumerated() {
            let share = total > 0 ? before / total : before
            let number = min(Int(share * Double(most)), most - 1)
            if number != last { starts.append(place) }
            last = number
        }
        self.starts = starts.isEmpty ? [0] : starts
    }

    var count: Int { starts.count }

    /// Places in the order of a group's rows.
    func places(_ group: Int) -> Range<Int> {
        starts[group]..<(group + 1 < starts.count ? starts[group + 1] : order.count)
    }

    /// Numbers of a group's rows, ascending.
    func rows(_ group: Int) throws -> [Int] {
        // The array, and as much again to sort it.
        try Allocation.require(Checked.product(places(group).count, 2, MemoryLayout<Int>.stride))
        return order[places(group)].sorted()
    }

    /// Each row's group.
    var assignment: [Int] {
        get throws {
            var groups = try [Int](allocating: 0, count: order.count)
            for group in starts.indices { for place in places(group) { groups[order[place]] = group } }
            return groups
        }
    }

    /// What it takes to say which group each row is in.
    var assignmentBytes: Int { count < 2 ? 0 : PartRanks.byteCount(ids: order.count, parts: count) ?? Int.max }
}

/// The norms of a table's rows, sorted.
struct SortedNorms {
    /// Rows by falling norm; of equal ones in the order of their numbers.
    let order: [Int]
    /// At each place of the order, the sum of the norms of the rows before.
    let before: [Double]
    let total: Double

    init(squares: [Double]) throws {
        try Allocation.require(Checked.product(squares.count, MemoryLayout<Double>.stride))
        try self.init(squares.map { $0.squareRoot() })
    }

    private init(_ norms: [Double]) throws {
        order = try fallingOrder(norms)
        var sum = 0.0
        try Allocation.require(Checked.product(norms.count, MemoryLayout<Double>.stride))
        before = order.map { row in
            defer { sum += norms[row] }
            return sum
        }
        total = sum
    }
}

/// The indices of numbers that are at least 0, those of the largest first; of equal ones in their order.
func fallingOrder(_ values: [Double]) throws -> [Int] {
    // Numbers that are not negative are ordered as their bits are. Sorted by sixteen bits at a time, the lowest first.
    try Allocation.require(Checked.product(values.count, 3, MemoryLayout<Int>.stride))
    let keys = values.map { ~$0.bitPattern }
    var (order, next) = (Array(keys.indices), [Int](repeating: 0, count: keys.count))
    for shift in stride(from: UInt64(0), to: 64, by: 16) {
        var places = [Int](repeating: 0, count: 1 << 16)
        for key in keys { places[Int(key >> shift & 0xFFFF)] += 1 }
        if places.contains(keys.count) { continue }
        var sum = 0
        for digit in places.indices { (places[digit], sum) = (sum, sum + places[digit]) }
        for index in order {
            let digit = Int(keys[index] >> shift & 0xFFFF)
            next[places[digit]] = index
            places[digit] += 1
        }
        swap(&order, &next)
    }
    return order
}

/// The sum of squares of each row of a table, by which rows are assigned to parts. Reads every row once.
///
/// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for a value that is not finite, or more rows than an assignment has.
func squaredNorms(of source: any Node, progress: ProgressCounter) throws -> [Double] {
    try PartRanks.checkRows(source.rows)
    // Memory that nothing has touched yet: filling it with zeros would keep Ctrl-C waiting.
    try Allocation.require(Checked.product(source.rows, MemoryLayout<Double>.stride))
    return try [Double](unsafeUninitializedCapacity: source.rows) { norms, filled in
        guard let base = norms.baseAddress else { return }
        let target = SharedPointer(base)
        try RowRuns.forEach(of: source, progress: progress) { start, count, values in
            try Parallel.forEach(count: count, grain: 256, progress: progress.watch) { range in
                for index in range {
                    let row = values.row(index)
                    var sum = 0.0
                    for column in 0..<source.dimension { sum += Double(row[column]) * Double(row[column]) }
                    target.base[start + index] = sum
                }
            }
        }
        filled = source.rows
    }
}

/// Refuses a row whose coordinates in other directions, less those of the mean row, might leave the range of f32.
func checkNorm(_ norm: Double, row: Int) throws {
    guard norm < Double(Float.greatestFiniteMagnitude) / 4 else {
        throw EmbedCompressError.invalidArgument("row \(row) has a norm of \(norm), too large for products in f32")
    }
}

/// The same for every row of a table. Reads rows only where that is in question.
///
/// - Parameter largest: The largest magnitude of all.
func checkNorms(of source: any Node, largest: Float, progress: ProgressCounter) throws {
    let dimension = source.dimension
    guard Double(largest) * Double(dimension).squareRoot() > 1e37 else { return }
    for (row, square) in try squaredNorms(of: source, progress: progress.watch).enumerated() {
        try checkNorm(square.squareRoot(), row: row)
    }
}

/// Memory that the threads of a loop write to, each to its own places.
struct SharedPointer<Element>: @unchecked Sendable {
    let base: UnsafeMutablePointer<Element>

    init(_ base: UnsafeMutablePointer<Element>) { self.base = base }
}
