/// A codebook in ascending order, as rows are encoded with it.
struct SortedBook {
    /// `count` entries as stored.
    let entries: UnsafePointer<Float>
    /// `count - 1` floats: a value above number `i` is nearer to an entry after `i` than to any up to `i`.
    let bounds: UnsafePointer<Float>
    let count: Int

    /// Rounds ascending centers to the stored type and fills what is left of the `count` entries with the last.
    ///
    /// - Parameters:
    ///   - centers: At least one, at most `count`.
    ///   - space: Room for `2 * count` floats.
    init(
        _ centers: UnsafeBufferPointer<Double>, count: Int, type: ScaleType, space: UnsafeMutablePointer<Float>
    ) {
        let bounds = space + count
        for index in 0..<count {
            let center = Float(centers[min(index, centers.count - 1)])
            space[index] = type == .float16 ? floatFromHalf(halfFromFloat(center)) : center
        }
        for index in 0..<count - 1 { bounds[index] = Self.middle(space[index], space[index + 1]) }
        self.init(entries: space, bounds: bounds, count: count)
    }

    private init(entries: UnsafePointer<Float>, bounds: UnsafePointer<Float>, count: Int) {
        (self.entries, self.bounds, self.count) = (entries, bounds, count)
    }

    /// Ascending entries as they lie in a table, with bounds computed now.
    ///
    /// - Parameter space: Room for `2 * count` floats.
    init(stored entries: UnsafeRawPointer, type: ScaleType, count: Int, space: UnsafeMutablePointer<Float>) {
        for index in 0..<count {
            switch type {
            case .float16: space[index] = floatFromHalf((entries + 2 * index).loadUnaligned(as: UInt16.self))
            case .float32: space[index] = (entries + 4 * index).loadUnaligned(as: Float.self)
            }
        }
        for index in 0..<count - 1 { space[count + index] = Self.middle(space[index], space[index + 1]) }
        self.init(entries: space, bounds: space + count, count: count)
    }

    /// Stored entries with bounds computed before.
    init(stored space: UnsafePointer<Float>, count: Int) {
        self.init(entries: space, bounds: space + count, count: count)
    }

    /// The largest float that is not above the middle of two entries.
    private static func middle(_ low: Float, _ high: Float) -> Float {
        let exact = (Double(low) + Double(high)) / 2
        let near = Float(exact)
        return Double(near) > exact ? near.nextDown : near
    }

    /// The codes of the nearest entries.
    @inline(__always)
    func codes(_ values: Floats16) -> Floats16 {
        var codes = Floats16()
        let one = Floats16(repeating: 1)
        for index in 0..<count &- 1 {
            codes += Floats16().replacing(with: one, where: values .> bounds[index])
        }
        return codes
    }

    /// Writes the entries.
    func store(_ type: ScaleType, to target: UnsafeMutableRawPointer) {
        for index in 0..<count {
            switch type {
            case .float16:
                (target + 2 * index).storeBytes(of: halfFromFloat(entries[index]).littleEndian, as: UInt16.self)
            case .float32: (target + 4 * index).storeBytes(of: entries[index], as: Float.self)
            }
        }
    }
}
