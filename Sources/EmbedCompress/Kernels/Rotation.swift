internal import CEmbedCompress.Walsh

/// A randomised Hadamard rotation of rows: an orthogonal map after which the coordinates of any row look like numbers
/// from a normal distribution. Nothing but a seed says which.
///
/// Each step flips the signs of random coordinates and transforms a window of `n` of them by Walsh and Hadamard, where
/// `n` is the largest power of two up to the dimension `d`. Where `n` is `d` there are two steps. Else there are four,
/// on the first and the last `n` coordinates by turns, and between the second and the third step the coordinates of the
/// two halves are paired: `a` and `b` become `(a + b) / √2` and `(a - b) / √2`. (Without pairs, windows that hardly
/// overlap would keep what they begin with.) The first half of the steps spreads what comes in as a few large
/// numbers, and the second half makes sums of it: the coordinates of a unit vector have a kurtosis near 3 then.
///
/// Ailon and Chazelle, "Approximate nearest neighbors and the fast Johnson-Lindenstrauss transform", 2006. `2 d log d`
/// or `4 n log n` additions a row. Every instruction set gives the same bits.
struct Rotation: Sendable {
    let dimension: Int
    let seed: Int
    /// Coordinates of a window.
    private let window: Int
    /// Where the windows of the steps start.
    private let starts: [Int]
    /// For each step and coordinate a sign, times what makes the step orthogonal.
    private let factors: Bytes

    /// Coordinates that are paired with as many from the end; 0 where there is one window.
    private var pairs: Int { window == dimension ? 0 : dimension / 2 }

    /// The largest power of two up to the dimension.
    private static func window(_ dimension: Int) -> Int { 1 << (Int.bitWidth - 1 - dimension.leadingZeroBitCount) }

    /// Bytes of what a rotation keeps.
    static func byteCount(dimension: Int) -> Int {
        (window(dimension) == dimension ? 2 : 4) * dimension * MemoryLayout<Float>.size
    }

    init(dimension: Int, seed: Int) throws {
        self.dimension = dimension
        self.seed = seed
        window = Self.window(dimension)
        starts = window == dimension ? [0, 0] : [0, dimension - window, 0, dimension - window]
        factors = Bytes(try ByteStorage.allocate(Self.byteCount(dimension: dimension)))
        let target = factors.mutablePointer.assumingMemoryBound(to: Float.self)
        let scale = 1 / Float(window).squareRoot()
        var random = SeededRandom(seed: seed)
        for (step, start) in starts.enumerated() {
            var signs: UInt64 = 0
            for column in 0..<dimension {
                signs = column % 64 == 0 ? random.next() : signs >> 1
                var factor: Float = signs & 1 == 0 ? 1 : -1
                if start <= column, column < start + window { factor *= scale }
                // Pairs are made before this step.
                if step == 2, column < pairs || column >= dimension - pairs { factor *= Float(0.5).squareRoot() }
                target[step * dimension + column] = factor
            }
        }
    }

    /// Rotates `count` rows, `stride` floats apart, where they are.
    func rotate(_ rows: UnsafeMutablePointer<Float>, stride: Int, count: Int) {
        forEachTile(rows, stride: stride, count: count) { rows, count in
            for step in 0..<starts.count {
                let (start, factors) = (starts[step], self.factors(step))
                for index in 0..<count {
                    let row = rows + index &* stride
                    if step == 2, pairs > 0 { pair(row) }
                    multiply(row, factors, outside: start)
                    Walsh.transform(row + start, window, factors + start, Before.self)
                }
            }
        }
    }

    /// Rotates rows back.
    func restore(_ rows: UnsafeMutablePointer<Float>, stride: Int, count: Int) {
        forEachTile(rows, stride: stride, count: count) { rows, count in
            for step in (0..<starts.count).reversed() {
                let (start, factors) = (starts[step], self.factors(step))
                for index in 0..<count {
                    let row = rows + index &* stride
                    Walsh.transform(row + start, window, factors + start, After.self)
                    multiply(row, factors, outside: start)
                    if step == 2, pairs > 0 { pair(row) }
                }
            }
        }
    }

    /// Some rows at a time, which the first-level cache holds, go through a step together: what one step has written is
    /// settled before the next reads it at other places, and rows don't wait for each other.
    @inline(__always)
    private func forEachTile(
        _ rows: UnsafeMutablePointer<Float>, stride: Int, count: Int,
        _ body: (_ rows: UnsafeMutablePointer<Float>, _ count: Int) -> Void
    ) {
        let tile = max(min(4096 / dimension, 16), 1)
        withExtendedLifetime(factors.storage) {
            var first = 0
            while first < count {
                body(rows + first &* stride, min(tile, count &- first))
                first &+= tile
            }
        }
    }

    @inline(__always)
    private func factors(_ step: Int) -> UnsafePointer<Float> {
        factors.pointer.assumingMemoryBound(to: Float.self) + step &* dimension
    }

    /// Multiplies the coordinates that are not in a window.
    @inline(__always)
    private func multiply(
        _ row: UnsafeMutablePointer<Float>, _ factors: UnsafePointer<Float>, outside start: Int
    ) {
        let count = dimension &- window
        if count == 0 { return }
        let first = start == 0 ? window : 0
        let (row, factors) = (row + first, factors + first)
        for chunk in 0..<count &>> 4 {
            store16(load16(row + chunk &* 16) * load16(factors + chunk &* 16), to: row + chunk &* 16)
        }
        var column = count & ~15
        if count & 8 != 0 {
            store8(load8(row + column) * load8(factors + column), to: row + column)
            column &+= 8
        }
        while column < count {
            row[column] *= factors[column]
            column &+= 1
        }
    }

    private func pair(_ row: UnsafeMutablePointer<Float>) {
        let count = pairs
        let (left, right) = (row, row + (dimension &- count))
        for chunk in 0..<count &>> 4 {
            let (a, b) = (load16(left + chunk &* 16), load16(right + chunk &* 16))
            store16(a + b, to: left + chunk &* 16)
            store16(a - b, to: right + chunk &* 16)
        }
        var column = count & ~15
        if count & 8 != 0 {
            let (a, b) = (load8(left + column), load8(right + column))
            store8(a + b, to: left + column)
            store8(a - b, to: right + column)
            column &+= 8
        }
        while column < count {
            let (a, b) = (left[column], right[column])
            (left[column], right[column]) = (a + b, a - b)
            column &+= 1
        }
    }
}

@inline(__always)
private func load8(_ source: UnsafePointer<Float>) -> SIMD8<Float> {
    UnsafeRawPointer(source).loadUnaligned(as: SIMD8<Float>.self)
}

@inline(__always)
private func store8(_ value: SIMD8<Float>, to target: UnsafeMutablePointer<Float>) {
    UnsafeMutableRawPointer(target).storeBytes(of: value, as: SIMD8<Float>.self)
}

/// When a transform's values are multiplied by factors. A type, so that each case is compiled on its own.
private protocol Factors {
    static var comeFirst: Bool { get }
}
private enum Before: Factors { static var comeFirst: Bool { true } }
private enum After: Factors { static var comeFirst: Bool { false } }

/// The fast Walsh-Hadamard transform: value `i` becomes the sum over `j` of `(-1)^popcount(i & j)` times value `j`.
private enum Walsh {
    /// - Parameters:
    ///   - count: A power of two.
    ///   - factors: One for each value.
    @inline(__always)
    static func transform<When: Factors>(
        _ values: UnsafeMutablePointer<Float>, _ count: Int, _ factors: UnsafePointer<Float>, _: When.Type
    ) {
        guard count >= 64 else { return transformFew(values, count, factors, When.self) }
        let isLast = count == 64 && !When.comeFirst
        var place = 0
        while place < count {
            @inline(__always)
            func load(_ chunk: Int) -> Floats16 {
                let loaded = load16(values + (place &+ 16 &* chunk))
                return ec_walsh16(When.comeFirst ? loaded * load16(factors + (place &+ 16 &* chunk)) : loaded)
            }
            let four = Four(load(0), load(1), load(2), load(3)).transformed
            if isLast {
                four.store(to: values + place, 16, factors + place)
            } else {
                four.store(to: values + place, 16)
            }
            place &+= 64
        }
        var step = 64
        while step &* 4 <= count {
            if !When.comeFirst, step &* 4 == count {
                fours(values, count, step) { $0.store(to: values + $1, step, factors + $1) }
            } else {
                fours(values, count, step) { $0.store(to: values + $1, step) }
            }
            step &*= 4
        }
        if step < count { twos(values, step, factors, When.self) }
    }

    @inline(__always)
    private static func fours(
        _ values: UnsafeMutablePointer<Float>, _ count: Int, _ step: Int, _ store: (Four, Int) -> Void
    ) {
        var block = 0
        while block < count {
            var place = block
            while place < block &+ step {
                let source = values + place
                let four = Four(
                    load16(source), load16(source + step), load16(source + 2 &* step), load16(source + 3 &* step))
                store(four.transformed, place)
                place &+= 16
            }
            block &+= 4 &* step
        }
    }

    /// The last level, where their number is odd.
    @inline(__always)
    private static func twos<When: Factors>(
        _ values: UnsafeMutablePointer<Float>, _ step: Int, _ factors: UnsafePointer<Float>, _: When.Type
    ) {
        var place = 0
        while place < step {
            let (a, b) = (load16(values + place), load16(values + (place &+ step)))
            if When.comeFirst {
                store16(a + b, to: values + place)
                store16(a - b, to: values + (place &+ step))
            } else {
                store16((a + b) * load16(factors + place), to: values + place)
                store16((a - b) * load16(factors + (place &+ step)), to: values + (place &+ step))
            }
            place &+= 16
        }
    }

    /// Up to 32 values.
    @inline(__always)
    private static func transformFew<When: Factors>(
        _ values: UnsafeMutablePointer<Float>, _ count: Int, _ factors: UnsafePointer<Float>, _: When.Type
    ) {
        if count < 16 {
            if When.comeFirst { for index in 0..<count { values[index] *= factors[index] } }
            var step = 1
            while step < count {
                for index in 0..<count where index & step == 0 {
                    let (a, b) = (values[index], values[index &+ step])
                    (values[index], values[index &+ step]) = (a + b, a - b)
                }
                step &*= 2
            }
            if !When.comeFirst { for index in 0..<count { values[index] *= factors[index] } }
            return
        }
        for place in stride(from: 0, to: count, by: 16) {
            let loaded = load16(values + place)
            let result = ec_walsh16(When.comeFirst ? loaded * load16(factors + place) : loaded)
            let isLast = count == 16 && !When.comeFirst
            store16(isLast ? result * load16(factors + place) : result, to: values + place)
        }
        if count == 32 { twos(values, 16, factors, When.self) }
    }

    /// Four vectors that are transformed across.
    private struct Four {
        let (first, second, third, fourth): (Floats16, Floats16, Floats16, Floats16)

        @inline(__always)
        init(_ first: Floats16, _ second: Floats16, _ third: Floats16, _ fourth: Floats16) {
            (self.first, self.second, self.third, self.fourth) = (first, second, third, fourth)
        }

        @inline(__always)
        var transformed: Four {
            let (a, b) = (first + second, first - second)
            let (c, d) = (third + fourth, third - fourth)
            return Four(a + c, b + d, a - c, b - d)
        }

        @inline(__always)
        func store(to target: UnsafeMutablePointer<Float>, _ step: Int) {
            store16(first, to: target)
            store16(second, to: target + step)
            store16(third, to: target + 2 &* step)
            store16(fourth, to: target + 3 &* step)
        }

        @inline(__always)
        func store(to target: UnsafeMutablePointer<Float>, _ step: Int, _ factors: UnsafePointer<Float>) {
            store16(first * load16(factors), to: target)
            store16(second * load16(factors + step), to: target + step)
            store16(third * load16(factors + 2 &* step), to: target + 2 &* step)
            store16(fourth * load16(factors + 3 &* step), to: target + 3 &* step)
        }
    }
}
