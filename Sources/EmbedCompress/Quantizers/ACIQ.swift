#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// ACIQ: clips at a multiple of the row's spread that is the best for a Gaussian or a Laplace distribution.
///
/// Banner, Nahshan and Soudry, "Post training 4-bit quantization of convolutional networks for rapid-deployment", 2019
/// (arXiv 1810.05723), whose constants these are. Their estimate of a Gaussian's standard deviation comes from the
/// row's extent and the number of its values; a Laplace distribution's scale is the mean distance from the mean. Of the
/// two, the one is taken whose ratio of mean distance to standard deviation is nearer the row's. Ranges end at the
/// row's smallest and largest value: where the clip lies beyond half the extent, this is ASYM. Two passes over the row.
struct ACIQ: RangeSearch {
    let bits: Int

    /// The best clips for 1 to 8 bits, in standard deviations of a Gaussian and in scales of a Laplace distribution.
    private static let gaussian: [Float] = [1.24, 1.71, 2.15, 2.55, 2.93, 3.28, 3.61, 3.92]
    private static let laplace: [Float] = [1.86, 2.83, 3.89, 5.03, 6.2, 7.41, 8.64, 9.89]
    /// `0.35 / 2 * (1 + sqrt(pi * ln 4))`, in the estimate of the standard deviation.
    private static let extentShare: Float = 0.540_2
    /// Between the mean distances in standard deviations of a Gaussian, 0.7979, and of a Laplace distribution, 0.7071.
    private static let midway: Float = 0.752_5

    func ranges(of batch: RowBatch) -> Ranges {
        let count = Float(batch.count)
        let middle = (batch.minimum + batch.maximum) * 0.5
        // Sums of differences from the middle, which are small where values are large.
        var sum = Floats16()
        for column in 0..<batch.count { sum += batch.columns[column] - middle }
        let mean = middle + sum / count
        let extent = batch.maximum - batch.minimum
        // In units of a power of two, in which squares neither overflow nor vanish.
        let (unit, inverse) = Self.powers(extent)
        var distance = Floats16()
        var square = Floats16()
        for column in 0..<batch.count {
            let difference = (batch.columns[column] - mean) * inverse
            distance += difference.replacing(with: -difference, where: difference .< 0)
            square += difference * difference
        }
        distance /= count
        let deviation = (square / count).squareRoot()
        let estimate = extent * (Self.extentShare / (2 * logf(count)).squareRoot())
        let isGaussian = distance .> deviation * Self.midway
        let clip = (distance * Self.laplace[bits - 1] * unit).replacing(
            with: estimate * Self.gaussian[bits - 1], where: isGaussian)
        let isNarrower = clip .< extent * 0.5
        let low = (mean - clip).replacing(with: batch.minimum, where: mean - clip .< batch.minimum)
        let high = (mean + clip).replacing(with: batch.maximum, where: mean + clip .> batch.maximum)
        return batch.format.ranges(
            batch.minimum.replacing(with: low, where: isNarrower),
            batch.maximum.replacing(with: high, where: isNarrower))
    }

    /// The powers of two not above some numbers that are not negative, and their inverses; 2^126 at most, and 2^-126 at
    /// least.
    private static func powers(_ numbers: Floats16) -> (Floats16, inverse: Floats16) {
        var bits = unsafeBitCast(numbers, to: SIMD16<UInt32>.self) & 0x7F80_0000
        bits = pointwiseMax(pointwiseMin(bits, SIMD16(repeating: 0x7E80_0000)), SIMD16(repeating: 0x0080_0000))
        return (unsafeBitCast(bits, to: Floats16.self), unsafeBitCast(0x7F00_0000 &- bits, to: Floats16.self))
    }
}

extension Method {
    static let aciq = Method.ranges(
        name: "aciq", title: "ACIQ",
        paper: "Banner et al. 2019, arXiv 1810.05723; in Guan et al. 2019, arXiv 1911.02079",
        summary: "clips where a Gaussian or Laplace distribution should be", cost: "two passes over the row",
        takesWeights: false, fallback: .optional, bits: paperWidths
    ) { _, format in ACIQ(bits: format.bits) }
}
