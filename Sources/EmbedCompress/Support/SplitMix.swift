/// The function that SplitMix64 (Steele, Lea and Flood, 2014) puts a counter through: every bit of the result depends on
/// every bit of the number.
@inline(__always)
func mixed(_ number: UInt64) -> UInt64 {
    let first = (number ^ (number &>> 30)) &* 0xBF58_476D_1CE4_E5B9
    let second = (first ^ (first &>> 27)) &* 0x94D0_49BB_1331_11EB
    return second ^ (second &>> 31)
}

/// What the counter of SplitMix64 rises by.
let mixStep: UInt64 = 0x9E37_79B9_7F4A_7C15
