/// The last number up to `high` for which it holds, found by halving; `low`, which is not asked, if it does for none above.
func lastWhere(_ low: Int, _ high: Int, _ holds: (Int) throws -> Bool) rethrows -> Int {
    var (low, high) = (low, high)
    while low < high {
        let middle = low + (high - low + 1) / 2
        if try holds(middle) { low = middle } else { high = middle - 1 }
    }
    return low
}
