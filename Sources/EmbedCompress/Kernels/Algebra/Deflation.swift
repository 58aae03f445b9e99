/// Which vectors of two halves a merge leaves as they are, and how the others are multiplied.
struct Deflation {
    let rows: Int
    /// Rows, and columns, of the first half.
    let half: Int
    /// Rows that change, by rising value, and those that do not.
    private(set) var active: [Int] = []
    private(set) var deflated: [Int] = []
    /// Where a row has numbers other than zero.
    private var sides: [Side]
    /// Active rows of each kind.
    private var counts = (first: 0, both: 0, second: 0)

    private enum Side { case first, both, second }

    init(rows: Int, half: Int) {
        (self.rows, self.half) = (rows, half)
        sides = (0..<rows).map { $0 < half ? .first : .second }
    }

    /// Sorts rows out: those with a weight of nearly zero are vectors of the whole matrix already, and of two with nearly
    /// equal values, one can be turned so that it is.
    ///
    /// - Parameter rising: Rows by value.
    mutating func find(
        _ rising: [Int], values: UnsafeMutablePointer<Double>, weights: inout [Double], strength: Double,
        vectors: UnsafeMutablePointer<Double>, stride: Int
    ) {
        let largest = rising.reduce(0) { max($0, abs(values[$1]), abs(weights[$1])) }
        let tolerance = 4 * Double.ulpOfOne * largest
        var last: Int?
        for row in rising {
            if strength * abs(weights[row]) <= tolerance {
                deflated.append(row)
                continue
            }
            guard let before = last else {
                last = row
                continue
            }
            let length = (weights[row] * weights[row] + weights[before] * weights[before]).squareRoot()
            let (cosine, sine) = (weights[row] / length, -weights[before] / length)
            let gap = values[row] - values[before]
            if abs(gap * cosine * sine) <= tolerance {
                weights[row] = length
                weights[before] = 0
                if sides[row] != sides[before] { (sides[row], sides[before]) = (.both, .both) }
                let (x, y) = (vectors + before * stride, vectors + row * stride)
                for column in 0..<rows {
                    let (a, b) = (x[column], y[column])
                    x[column] = cosine * a + sine * b
                    y[column] = cosine * b - sine * a
                }
                let (low, high) = (values[before], values[row])
                values[before] = low * cosine * cosine + high * sine * sine
                values[row] = low * sine * sine + high * cosine * cosine
                deflated.append(before)
            } else {
                active.append(before)
            }
            last = row
        }
        if let last { active.append(last) }
    }

    /// Copies the vectors: first halves of active rows, then second halves, without what is zero, then deflated rows.
    ///
    /// - Returns: The place of each active row among these: rows of the first half, then of both, then of the second.
    mutating func keep(
        _ vectors: UnsafePointer<Double>, stride: Int, in kept: UnsafeMutablePointer<Double>
    ) -> [Int] {
        let groups = [Side.first, .both, .second].map { side in active.indices.filter { sides[active[$0]] == side } }
        counts = (groups[0].count, groups[1].count, groups[2].count)
        var places = [Int](repeating: 0, count: active.count)
        for (place, index) in groups.joined().enumerated() { places[index] = place }
        var target = kept
        for index in (groups[0] + groups[1]) {
            target.update(from: vectors + active[index] * stride, count: half)
            target += half
        }
        for index in (groups[1] + groups[2]) {
            target.update(from: vectors + active[index] * stride + half, count: rows - half)
            target += rows - half
        }
        for row in deflated {
            target.update(from: vectors + row * stride, count: rows)
            target += rows
        }
        return places
    }

    /// Writes new vectors, then deflated ones.
    ///
    /// - Parameter factors: A row for each new vector: its coordinates in the order of places.
    func multiply(
        _ factors: UnsafePointer<Double>, _ kept: UnsafePointer<Double>, into vectors: UnsafeMutablePointer<Double>,
        stride: Int, progress: (() throws -> Void)?
    ) throws {
        let count = active.count
        for row in 0..<count { (vectors + row * stride).update(repeating: 0, count: rows) }
        let (firsts, seconds) = (counts.first + counts.both, counts.both + counts.second)
        let others = kept + firsts * half
        try DoubleProduct(rows: count, columns: half, depth: firsts).add(
            DoubleOperand(factors, stride: count), DoubleOperand(kept, stride: half), to: vectors, stride: stride
        ) { try progress?() }
        try DoubleProduct(rows: count, columns: rows - half, depth: seconds).add(
            DoubleOperand(factors + counts.first, stride: count), DoubleOperand(others, stride: rows - half),
            to: vectors + half, stride: stride
        ) { try progress?() }
        var source = others + seconds * (rows - half)
        for index in deflated.indices {
            (vectors + (count + index) * stride).update(from: source, count: rows)
            source += rows
        }
    }
}
