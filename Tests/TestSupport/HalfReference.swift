import Foundation

/// IEEE 754 binary16, by its definition.
public enum HalfReference {
    /// `(-1)^sign * 2^(exponent - 15) * 1.fraction`, or `0.fraction * 2^-14` where the exponent field is 0.
    public static func value(_ bits: UInt16) -> Double {
        let sign: Double = bits & 0x8000 == 0 ? 1 : -1
        let exponent = Int(bits >> 10) & 31
        let fraction = Double(bits & 0x3FF) / 1024
        switch exponent {
        case 0: return sign * fraction * pow(2, -14)
        case 31: return fraction == 0 ? sign * .infinity : .nan
        default: return sign * (1 + fraction) * pow(2, Double(exponent - 15))
        }
    }

    /// Values of the halves 0 to 0x7BFF, and 2^16 in the place of infinity: what lies nearer to it rounds to infinity.
    private static let magnitudes: [Double] = (0...0x7BFF).map { value(UInt16($0)) } + [65536]

    /// The nearest half; of two that are equally near, the one whose last bit is 0.
    public static func nearest(_ value: Float) -> UInt16 {
        if value.isNaN { return 0x7E00 }
        let sign: UInt16 = value.sign == .minus ? 0x8000 : 0
        let magnitude = Double(value.magnitude)
        var low = 0
        var high = magnitudes.count - 1
        if magnitude >= magnitudes[high] { return sign | 0x7C00 }
        while high - low > 1 {
            let middle = (low + high) / 2
            if magnitudes[middle] <= magnitude { low = middle } else { high = middle }
        }
        let below = magnitude - magnitudes[low]
        let above = magnitudes[high] - magnitude
        let code = below < above || (below == above && low % 2 == 0) ? low : high
        return sign | UInt16(code)
    }

    /// `value` as a half stores it.
    public static func rounded(_ value: Float) -> Float { Float(self.value(nearest(value))) }
}
