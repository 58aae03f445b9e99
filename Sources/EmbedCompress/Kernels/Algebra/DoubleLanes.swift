internal import CEmbedCompress.Shims

// Eight f64 numbers at a time, and sums over vectors of them in an order that depends on their length alone.

typealias Doubles8 = SIMD8<Double>

@inline(__always)
func load8(_ source: UnsafePointer<Double>) -> Doubles8 {
    UnsafeRawPointer(source).loadUnaligned(as: Doubles8.self)
}

@inline(__always)
func store8(_ value: Doubles8, to target: UnsafeMutablePointer<Double>) {
    UnsafeMutableRawPointer(target).storeBytes(of: value, as: Doubles8.self)
}

/// `a * b + c`, fused where the processor can.
@inline(__always)
func fused(_ a: Doubles8, _ b: Doubles8, _ c: Doubles8) -> Doubles8 {
    hasWideRegisters ? c.addingProduct(a, b) : a * b + c
}

@inline(__always)
func total(_ value: Doubles8) -> Double {
    let four = value.lowHalf + value.highHalf
    let two = four.lowHalf + four.highHalf
    return two[0] + two[1]
}

/// The product of two vectors.
func dot(_ x: UnsafePointer<Double>, _ y: UnsafePointer<Double>, _ count: Int) -> Double {
    var (first, second) = (Doubles8(), Doubles8())
    var index = 0
    while index &+ 16 <= count {
        first = fused(load8(x + index), load8(y + index), first)
        second = fused(load8(x + (index &+ 8)), load8(y + (index &+ 8)), second)
        index &+= 16
    }
    var sum = total(first + second)
    while index < count {
        sum += x[index] * y[index]
        index &+= 1
    }
    return sum
}

/// y += factor * x.
func addMultiple(_ factor: Double, _ x: UnsafePointer<Double>, to y: UnsafeMutablePointer<Double>, _ count: Int) {
    let factors = Doubles8(repeating: factor)
    var index = 0
    while index &+ 8 <= count {
        store8(fused(factors, load8(x + index), load8(y + index)), to: y + index)
        index &+= 8
    }
    while index < count {
        y[index] += factor * x[index]
        index &+= 1
    }
}

/// x *= factor.
func multiply(_ x: UnsafeMutablePointer<Double>, by factor: Double, _ count: Int) {
    for index in 0..<count { x[index] *= factor }
}
