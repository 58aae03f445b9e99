/// A codebook of as many negative as positive levels: codes of the nearest levels, and how well they hold a row at a
/// scale.
struct SymmetricBook: Sendable {
    let bits: Int
    /// The positive levels, ascending, then how far each is from the next, then the bounds between it and the next.
    private let floats: Bytes
    /// For more than 4 bits: what is nearest to the middle of each of ``cellCount`` cells, and the least index of a level
    /// in a cell.
    private let nearest: Bytes
    private let least: Bytes
    private let cellsPerUnit: Float

    /// Enough for no more than one bound in each.
    private static let cellCount = 4096
    private var half: Int { 1 << (bits - 1) }

    /// - Parameter levels: The `2^(bits - 1)` positive ones, ascending, as stored.
    init(bits: Int, levels: [Float]) throws {
        self.bits = bits
        let half = levels.count
        floats = Bytes(try ByteStorage.allocate(3 * half * MemoryLayout<Float>.size))
        let target = floats.mutablePointer.assumingMemoryBound(to: Float.self)
        for index in 0..<half {
            let next = index + 1 < half ? levels[index + 1] : .infinity
            target[index] = levels[index]
            target[half + index] = next - levels[index]
            target[2 * half + index] = (levels[index] + next) / 2
        }
        cellsPerUnit = Float(Self.cellCount - 1) / (levels.last ?? 1)
        nearest = Bytes(try ByteStorage.allocate(Self.cellCount * MemoryLayout<Float>.size))
        least = Bytes(try ByteStorage.allocate(Self.cellCount))
        let cells = nearest.mutablePointer.assumingMemoryBound(to: Float.self)
        let indices = least.mutablePointer.assumingMemoryBound(to: UInt8.self)
        var (index, low) = (0, 0)
        for cell in 0..<Self.cellCount {
            while Float(cell) / cellsPerUnit > target[2 * half + index] { index += 1 }
            // A little early, for what is rounded on the way to a cell.
            while (Float(cell) - 0.501) / cellsPerUnit > target[2 * half + low] { low += 1 }
            cells[cell] = levels[index]
            indices[cell] = UInt8(truncatingIfNeeded: low)
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

    // MARK: - Levels of magnitudes

    /// The levels nearest to sixteen magnitudes, and their indices.
    @inline(__always)
    private func levels<Levels: HalfCount>(_: Levels.Type, _ magnitudes: Floats16) -> (Floats16, indices: Floats16) {
        let half = Levels.count > 0 ? Levels.count : self.half
        let levels = floats.pointer.assumingMemoryBound(to: Float.self)
        let bounds = levels + 2 &* half
        if Levels.count > 0 {
            var (level, index) = (Floats16(repeating: levels[0]), Floats16())
            for next in 0..<half &- 1 {
                let isAbove = magnitudes .> Floats16(repeating: bounds[next])
                level += Floats16().replacing(with: Floats16(repeating: levels[half &+ next]), where: isAbove)
                index += Floats16().replacing(with: Floats16(repeating: 1), where: isAbove)
            }
            return (level, index)
        }
        let indices = least.pointer.assumingMemoryBound(to: UInt8.self)
        let cells = self.cells(magnitudes * Floats16(repeating: cellsPerUnit))
        var (level, index) = (Floats16(), Floats16())
        for lane in 0..<16 {
            let low = Int(indices[Int(cells[lane])])
            let found = low &+ (magnitudes[lane] > bounds[low] ? 1 : 0)
            level[lane] = levels[found]
            index[lane] = Float(found)
        }
        return (level, index)
    }

    @inline(__always)
    private func cells(_ places: Floats16) -> SIMD16<UInt32> {
        // A float between 2^23 and 2^24 has no bits below one: its low bits are the nearest whole number.
        let last = Floats16(repeating: Float(Self.cellCount - 1))
        return unsafeBitCast(leastOf(places, last) + 8_388_608, to: SIMD16<UInt32>.self) & UInt32(Self.cellCount - 1)
    }

    // MARK: - Scores

    /// The score of the levels nearest to `factor` times each of `count` magnitudes, which zeros follow up to a multiple
    /// of sixteen.
    func score(_ magnitudes: UnsafePointer<Float>, count: Int, factor: Float) -> Score {
        switch bits {
        case 1: return score(HalfOf1.self, magnitudes, count, factor)
        case 2: return score(HalfOf2.self, magnitudes, count, factor)
        case 3: return score(HalfOf4.self, magnitudes, count, factor)
        case 4: return score(HalfOf8.self, magnitudes, count, factor)
        default: return score(ManyLevels.self, magnitudes, count, factor)
        }
    }

    @inline(__always)
    private func score<Levels: HalfCount>(
        _: Levels.Type, _ magnitudes: UnsafePointer<Float>, _ count: Int, _ factor: Float
    ) -> Score {
        sums(magnitudes, count) { levels(Levels.self, $0 * Floats16(repeating: factor)).0 }
    }

    /// About the same, in less time where there are many levels.
    func quickScore(_ magnitudes: UnsafePointer<Float>, count: Int, factor: Float) -> Score {
        guard bits > 4 else { return score(magnitudes, count: count, factor: factor) }
        let nearest = nearest.pointer.assumingMemoryBound(to: Float.self)
        let scale = Floats16(repeating: factor * cellsPerUnit)
        return sums(magnitudes, count) {
            let cells = cells($0 * scale)
            var level = Floats16()
            for lane in 0..<16 { level[lane] = nearest[Int(cells[lane])] }
            return level
        }
    }

    @inline(__always)
    private func sums(_ magnitudes: UnsafePointer<Float>, _ count: Int, _ levels: (Floats16) -> Floats16) -> Score {
        var (product, square) = (Floats16(), Floats16())
        for chunk in 0..<(count &+ 15) &>> 4 {
            let magnitude = load16(magnitudes + chunk &* 16)
            let level = levels(magnitude)
            product += magnitude * level
            square += level * level
        }
        // Zeros after the row have the first level.
        let first = floats.pointer.assumingMemoryBound(to: Float.self)[0]
        return Score(product: total(product), square: total(square) - Float((16 &- count) & 15) * first * first)
    }

    // MARK: - Codes

    /// Writes the codes of the levels nearest to a row's values, packed to the bit.
    func encode(_ row: RowValues, to target: UnsafeMutableRawPointer) {
        switch bits {
        case 1: encode(row, HalfOf1.self, Codes1.self, to: target)
        case 2: encode(row, HalfOf2.self, Codes2.self, to: target)
        case 3: encode(row, HalfOf4.self, Codes3.self, to: target)
        case 4: encode(row, HalfOf8.self, Codes4.self, to: target)
        case 5: encode(row, ManyLevels.self, Codes5.self, to: target)
        case 6: encode(row, ManyLevels.self, Codes6.self, to: target)
        case 7: encode(row, ManyLevels.self, Codes7.self, to: target)
        default: encode(row, ManyLevels.self, Codes8.self, to: target)
        }
    }

    @inline(__always)
    private func encode<Levels: HalfCount, Format: CodeFormat>(
        _ row: RowValues, _: Levels.Type, _: Format.Type, to target: UnsafeMutableRawPointer
    ) {
        let half = Floats16(repeating: Float(self.half))
        row.pack(as: Format.self, to: target) { values in
            let indices = levels(Levels.self, mostOf(values, -values)).indices
            return (half - 1 - indices).replacing(with: half + indices, where: values .> 0)
        }
    }
}

/// Positive levels; 0 for more than 8. A type, so that loops over few are unrolled.
private protocol HalfCount { static var count: Int { get } }
private enum HalfOf1: HalfCount { static var count: Int { 1 } }
private enum HalfOf2: HalfCount { static var count: Int { 2 } }
private enum HalfOf4: HalfCount { static var count: Int { 4 } }
private enum HalfOf8: HalfCount { static var count: Int { 8 } }
private enum ManyLevels: HalfCount { static var count: Int { 0 } }
