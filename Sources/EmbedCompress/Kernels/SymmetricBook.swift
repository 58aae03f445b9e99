/// A codebook of as many negative as positive levels, and how well it holds a row at a scale.
struct SymmetricBook: Sendable {
    let bits: Int
    /// The positive levels, ascending, then what lies between them and the bounds of the nearest: `3 * half` floats.
    private let floats: Bytes
    /// For more than 4 bits, the level nearest to the middle of each of ``cellCount`` cells.
    private let cells: Bytes
    private let cellsPerUnit: Float

    private static let cellCount = 4096
    private var half: Int { 1 << (bits - 1) }

    /// - Parameter levels: The `2^(bits - 1)` positive ones, ascending, as stored.
    init(bits: Int, levels: [Float]) throws {
        self.bits = bits
        let half = levels.count
        floats = Bytes(try ByteStorage.allocate(3 * half * MemoryLayout<Float>.size))
        let target = floats.mutablePointer.assumingMemoryBound(to: Float.self)
        for index in 0..<half {
            let next = levels[min(index + 1, half - 1)]
            target[index] = levels[index]
            target[half + index] = next - levels[index]
            target[2 * half + index] = (levels[index] + next) / 2
        }
        let last = levels.last ?? 1
        cellsPerUnit = Float(Self.cellCount - 1) / last
        cells = Bytes(try ByteStorage.allocate(Self.cellCount * MemoryLayout<Float>.size))
        let nearest = cells.mutablePointer.assumingMemoryBound(to: Float.self)
        var index = 0
        for cell in 0..<Self.cellCount {
            while index < half - 1, Float(cell) / cellsPerUnit > target[2 * half + index] { index += 1 }
            nearest[cell] = levels[index]
        }
    }

    /// Sums over a row of magnitude times level and of level times level.
    struct Score {
        let product: Float
        let square: Float

        /// Proportional to how much of the squared norm is held, with the scale that holds most.
        var value: Float { product * product / square }
        /// That scale.
        var scale: Float { product / square }
    }

    /// The score of the levels nearest to `factor` times each of `count` magnitudes, which zeros follow up to a multiple
    /// of sixteen.
    func score(_ magnitudes: UnsafePointer<Float>, count: Int, factor: Float) -> Score {
        switch bits {
        case 1: return score(Levels1.self, magnitudes, count, factor)
        case 2: return score(Levels2.self, magnitudes, count, factor)
        case 3: return score(Levels4.self, magnitudes, count, factor)
        case 4: return score(Levels8.self, magnitudes, count, factor)
        default: return score(AnyHalf.self, magnitudes, count, factor)
        }
    }

    /// About the same, in less time where there are many levels.
    func quickScore(_ magnitudes: UnsafePointer<Float>, count: Int, factor: Float) -> Score {
        guard bits > 4 else { return score(magnitudes, count: count, factor: factor) }
        let cells = cells.pointer.assumingMemoryBound(to: Float.self)
        let scale = Floats16(repeating: factor * cellsPerUnit)
        let last = Floats16(repeating: Float(Self.cellCount - 1))
        var (product, square) = (Floats16(), Floats16())
        for chunk in 0..<(count &+ 15) &>> 4 {
            let magnitude = load16(magnitudes + chunk &* 16)
            // A float between 2^23 and 2^24 has no bits below one: its low bits are the nearest cell.
            let places = unsafeBitCast(leastOf(magnitude * scale, last) + 8_388_608, to: SIMD16<UInt32>.self)
            var level = Floats16()
            for lane in 0..<16 { level[lane] = cells[Int(places[lane] & 4095)] }
            product += magnitude * level
            square += level * level
        }
        return finished(product, square, count, cells[0])
    }

    @inline(__always)
    private func score<Levels: HalfCount>(
        _: Levels.Type, _ magnitudes: UnsafePointer<Float>, _ count: Int, _ factor: Float
    ) -> Score {
        let half = Levels.count > 0 ? Levels.count : self.half
        let levels = floats.pointer.assumingMemoryBound(to: Float.self)
        let (steps, bounds) = (levels + half, levels + 2 &* half)
        let first = Floats16(repeating: levels[0])
        let scale = Floats16(repeating: factor)
        var (product, square) = (Floats16(), Floats16())
        for chunk in 0..<(count &+ 15) &>> 4 {
            let magnitude = load16(magnitudes + chunk &* 16)
            let value = magnitude * scale
            var level = first
            for index in 0..<half &- 1 {
                level += Floats16().replacing(
                    with: Floats16(repeating: steps[index]), where: value .> Floats16(repeating: bounds[index]))
            }
            product += magnitude * level
            square += level * level
        }
        return finished(product, square, count, levels[0])
    }

    /// Without the zeros after the row, which have the first level.
    @inline(__always)
    private func finished(_ product: Floats16, _ square: Floats16, _ count: Int, _ first: Float) -> Score {
        Score(product: total(product), square: total(square) - Float((16 &- count) & 15) * first * first)
    }
}

/// Positive levels; 0 where a loop has to count them. A type, so that loops over few are unrolled.
private protocol HalfCount { static var count: Int { get } }
private enum Levels1: HalfCount { static var count: Int { 1 } }
private enum Levels2: HalfCount { static var count: Int { 2 } }
private enum Levels4: HalfCount { static var count: Int { 4 } }
private enum Levels8: HalfCount { static var count: Int { 8 } }
private enum AnyHalf: HalfCount { static var count: Int { 0 } }
