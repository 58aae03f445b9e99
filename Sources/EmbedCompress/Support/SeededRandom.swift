/// SplitMix64 (Steele, Lea and Flood, 2014): the same numbers from a seed on every machine and for every version of the
/// standard library.
struct SeededRandom {
    private var state: UInt64

    init(seed: Int) { state = UInt64(bitPattern: Int64(seed)) }

    mutating func next() -> UInt64 {
        state &+= mixStep
        return mixed(state)
    }

    /// A number of `0 ..< bound`, which must be positive.
    mutating func below(_ bound: Int) -> Int { Int(next().multipliedFullWidth(by: UInt64(bound)).high) }

    /// So many different numbers of `0 ..< bound`, rising, each choice of them as likely as any other (Floyd's method); no
    /// more than there are.
    mutating func distinct(_ count: Int, below bound: Int) -> [Int] {
        var chosen = Set<Int>()
        for last in max(bound - count, 0)..<bound {
            let number = below(last + 1)
            if !chosen.insert(number).inserted { chosen.insert(last) }
        }
        return chosen.sorted()
    }
}
