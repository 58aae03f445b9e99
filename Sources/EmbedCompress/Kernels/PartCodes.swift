/// Puts the codes of one part into rows of zeros, `rowBytes` apart.
func storeCodes(
    _ codes: UnsafePointer<Int32>, _ rows: Int, part: Int, bits: Int, to target: UnsafeMutableRawPointer, rowBytes: Int
) {
    if bits == 8 {
        for index in 0..<rows {
            (target + (index &* rowBytes &+ part)).storeBytes(
                of: UInt8(truncatingIfNeeded: codes[index]), as: UInt8.self)
        }
        return
    }
    let place = part &* bits
    let (first, shift) = (place &>> 3, place & 7)
    let count = (shift &+ bits &+ 7) &>> 3
    for index in 0..<rows {
        let row = target + (index &* rowBytes &+ first)
        let word = UInt32(truncatingIfNeeded: codes[index]) &<< UInt32(shift)
        for byte in 0..<count {
            let part = UInt8(truncatingIfNeeded: word &>> UInt32(8 &* byte))
            (row + byte).storeBytes(of: (row + byte).load(as: UInt8.self) | part, as: UInt8.self)
        }
    }
}

/// Stores centers of a part plus their means, and changes the centers to what was stored.
///
/// - Parameter unit: What centers and means are multiplied by, but not what is stored.
/// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for a number that the type can't hold.
func store(
    _ centers: UnsafeMutablePointer<Float>, count: Int, _ means: [Float], unit: Float,
    to target: UnsafeMutableRawPointer, _ element: ScaleType
) throws {
    for index in 0..<count {
        for column in 0..<means.count {
            let place = index * means.count + column
            let value = (centers[place] + means[column]) / unit
            switch element {
            case .float32:
                (target + place * 4).storeBytes(of: value, as: Float.self)
                centers[place] = value * unit - means[column]
            case .float16:
                let half = halfFromFloat(value)
                (target + place * 2).storeBytes(of: half, as: UInt16.self)
                centers[place] = floatFromHalf(half) * unit - means[column]
            }
            guard centers[place].isFinite else {
                throw EmbedCompressError.invalidArgument(
                    "an entry of a codebook is \(value), beyond the range of "
                        + (element == .float16 ? "f16 entries (65504); use entry_dtype 'f32'" : "f32 entries"))
            }
        }
    }
}
