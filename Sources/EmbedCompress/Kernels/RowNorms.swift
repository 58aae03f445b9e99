/// Vectors of squares that are summed in f32 before the sum goes on in f64: the norm is then right to 5e-7.
private let chunksOfSum = 16

/// The squares' sum of a row times `unit`.
private func squareSum(_ row: UnsafePointer<Float>, count: Int, unit: Float) -> Double {
    let whole = count &>> 4
    var sum = 0.0
    var chunk = 0
    while chunk < whole {
        let end = min(chunk &+ chunksOfSum, whole)
        var squares = Floats16()
        while chunk < end {
            let values = load16(row + chunk &* 16) * unit
            squares += values * values
            chunk &+= 1
        }
        sum += Double(total(squares))
    }
    for column in whole &* 16..<count { sum += Double(row[column] * unit) * Double(row[column] * unit) }
    return sum
}

/// Divides a row by its norm. One of zeros, or with a value that is not finite, stays what it is.
func normalizeRow(_ row: UnsafeMutablePointer<Float>, count: Int) {
    var unit: Float = 1
    var sum = squareSum(row, count: count, unit: 1)
    // Squares of very large or very small values leave the range of f32: a power of two brings them back.
    if !(sum > 0x1p-60 && sum < 0x1p120) {
        var largest: Float = 0
        for column in 0..<count { largest = max(largest, row[column].magnitude) }
        guard largest > 0, largest.isFinite else { return }
        unit = Float(sign: .plus, exponent: max(min(-largest.exponent, 126), -126), significand: 1)
        sum = squareSum(row, count: count, unit: unit)
    }
    guard sum > 0, sum.isFinite else { return }
    let inverse = Float(1 / sum.squareRoot())
    let whole = count &>> 4
    for chunk in 0..<whole {
        let values = load16(row + chunk &* 16)
        store16(values * unit * inverse, to: row + chunk &* 16)
    }
    for column in whole &* 16..<count { row[column] = row[column] * unit * inverse }
}
