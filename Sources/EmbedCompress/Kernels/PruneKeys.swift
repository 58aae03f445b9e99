/// The values of a block of rows, as pruning orders them: a key is 0 for a zero, and rises with the magnitude, or with the
/// magnitude times the square root of the value's weight.
struct PruneKeys {
    let values: FloatBlock
    let weights: FloatBlock?
    let dimension: Int
    /// Whether a row has one weight for all its columns.
    let areByRow: Bool

    private static var lowBits: UInt32 { 15 }
    /// How many values the highest and the lowest bits of keys have.
    static var highCount: Int { 1 << 17 }
    static var lowCount: Int { 1 << 15 }

    static func key(high: UInt32, low: UInt32) -> UInt32 { high << lowBits | low }

    /// Calls `body` with each value's column and key.
    @inline(__always)
    private func forEach(_ row: Int, _ body: (Int, UInt32) -> Void) {
        let values = values.row(row)
        // The lowest bits of the smallest key are zeros, so that no other value's highest bits are those of a zero.
        let least = 1 &<< Self.lowBits
        guard let weights = weights?.row(row) else {
            for column in 0..<dimension {
                let bits = values[column].bitPattern & 0x7fff_ffff
                body(column, bits == 0 ? 0 : bits &+ least)
            }
            return
        }
        for column in 0..<dimension {
            let magnitude = values[column].magnitude
            let score = magnitude * weights[areByRow ? 0 : column].squareRoot()
            body(column, magnitude == 0 ? 0 : score.bitPattern &+ least)
        }
    }

    func countHighBits(rows: Int, in bins: UnsafeMutablePointer<Int>) {
        for row in 0..<rows { forEach(row) { _, key in bins[Int(key &>> Self.lowBits)] &+= 1 } }
    }

    /// Of keys with those highest bits.
    func countLowBits(rows: Int, high: UInt32, in bins: UnsafeMutablePointer<Int>) {
        for row in 0..<rows {
            forEach(row) { _, key in
                if key &>> Self.lowBits == high { bins[Int(key & (1 &<< Self.lowBits &- 1))] &+= 1 }
            }
        }
    }

    /// How many of a row's keys are above `threshold`, and how many are equal to it.
    func counts(_ row: Int, above threshold: UInt32) -> (above: Int, equal: Int) {
        var (above, equal) = (0, 0)
        forEach(row) { _, key in
            above &+= key > threshold ? 1 : 0
            equal &+= key == threshold ? 1 : 0
        }
        return (above, equal)
    }

    /// Stores the values of a row whose keys are above `threshold`, and the first `ties` of those equal to it: at the
    /// `positions` that were counted for them. Returns whether there are as many.
    func put(
        _ row: Int, above threshold: UInt32, ties: Int, of tableRow: Int, at positions: Range<Int>,
        in builder: SparseBuilder
    ) -> Bool {
        let values = values.row(row)
        var (position, left) = (positions.lowerBound, ties)
        forEach(row) { column, key in
            guard key >= threshold, key > threshold || left > 0 else { return }
            if key == threshold { left &-= 1 }
            if position < positions.upperBound {
                builder.put(values[column], row: tableRow, column: column, at: position)
            }
            position &+= 1
        }
        return position == positions.upperBound
    }
}

/// A histogram that threads fill together, each in one of its own.
final class PruneHistogram: @unchecked Sendable {
    private let bins: Int
    private let lock = Lock()
    private var all: [Buffer<Int>] = []
    private var free: [Buffer<Int>] = []

    init(bins: Int) { self.bins = bins }

    /// Calls `body` with a histogram that no other thread has.
    func use(_ body: (UnsafeMutablePointer<Int>) -> Void) throws {
        let own = try lock.withLock { () throws -> Buffer<Int> in
            if let one = free.popLast() { return one }
            let one = try Buffer(repeating: 0, count: bins)
            all.append(one)
            return one
        }
        body(own.base)
        lock.withLock { free.append(own) }
    }

    /// Once no thread uses one.
    func total() throws -> [Int] {
        var sums = try [Int](allocating: 0, count: bins)
        for one in all { for bin in 0..<bins { sums[bin] += one[bin] } }
        return sums
    }
}

/// The least magnitude that is beyond f16, whose largest number is 65504.
let leastHalfOverflow: Float = 65_520

/// What to say of a row that has a value which does not fit f16.
func halfOverflow(_ values: RowValues, row: Int) -> EmbedCompressError {
    for column in 0..<values.count where values.base[column].magnitude >= leastHalfOverflow {
        return .invalidArgument(
            "row \(row) has \(values.base[column]) in column \(column), which does not fit f16: use value_dtype f32")
    }
    return .invalidArgument("row \(row) does not fit f16")
}
