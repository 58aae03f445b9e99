/// Rounding of a matrix to what codes can say, in groups that share a scale and a bias, for training with rounded weights
/// and activations (Q-BERT, Shen et al. 2020, arXiv 1909.05840).
public enum FakeQuantization {
    /// Elements that a thread works through at a time.
    private static let grain = 1 << 15
    /// A matrix that is one group is cut into lines of so many.
    private static let lineLength = 4096

    /// Rounds on all threads: `scale * clamp(round((value - bias) / scale), 0, last) + bias`, each operation in f32 and
    /// halves to even. With a scale that isn't positive the code is 0. NaN stays NaN.
    ///
    /// - Parameters:
    ///   - values: `rows * columns` numbers.
    ///   - groupRows: Rows of a group, at least 1; the last group along an axis may be smaller.
    ///   - groupColumns: Columns of a group, at least 1.
    ///   - scales: One for each group, those of a line of groups after each other; so are `biases`.
    ///   - last: The largest code.
    ///   - result: `rows * columns` numbers.
    ///   - kept: For each 1 if it is rounded to a code, 0 if it is clipped, or NaN.
    /// - Returns: How many are not kept.
    public static func round(
        _ values: UnsafePointer<Float>, rows: Int, columns: Int, groupRows: Int, groupColumns: Int,
        scales: UnsafePointer<Float>, biases: UnsafePointer<Float>, last: Int, to result: UnsafeMutablePointer<Float>,
        kept: UnsafeMutablePointer<UInt8>
    ) -> Int {
        guard rows > 0, columns > 0 else { return 0 }
        let line = Line(values: values, result: result, kept: kept, last: Float(last))
        let clipped = AtomicInt(0)
        if groupRows >= rows, groupColumns >= columns {
            let group = OneGroup(scale: scales[0], bias: biases[0])
            Parallel.forEach(count: rows * columns, grain: grain) { range in
                var sum = 0
                for start in stride(from: range.lowerBound, to: range.upperBound, by: lineLength) {
                    sum += line.round(from: start, to: min(start + lineLength, range.upperBound), group)
                }
                clipped.add(sum)
            }
            return clipped.value
        }
        let groupsOfLine = (columns - 1) / groupColumns + 1
        Parallel.forEach(count: rows, grain: max(grain / columns, 1)) { range in
            Scratch.with(2 * (columns + 16), of: Float.self) { numbers in
                let spread = SpreadGroups(scales: numbers, biases: numbers + columns + 16)
                var (spreadLine, sum) = (-1, 0)
                for row in range {
                    let (start, first) = (row * columns, row / groupRows * groupsOfLine)
                    if groupColumns >= 16 {
                        for (index, column) in stride(from: 0, to: columns, by: groupColumns).enumerated() {
                            sum += line.round(
                                from: start + column, to: start + min(column + groupColumns, columns),
                                OneGroup(scale: scales[first + index], bias: biases[first + index]))
                        }
                        continue
                    }
                    if first != spreadLine {
                        spread.fill(columns: columns, of: groupColumns, scales: scales + first, biases: biases + first)
                        spreadLine = first
                    }
                    sum += line.round(from: start, to: start + columns, spread)
                }
                clipped.add(sum)
            }
        }
        return clipped.value
    }
}

/// The scales and biases of sixteen columns from an offset on.
private protocol GroupNumbers {
    subscript(offset: Int) -> (scale: Floats16, bias: Floats16) { get }
}

/// One scale and bias for all.
private struct OneGroup: GroupNumbers {
    let scale: Floats16
    let bias: Floats16

    init(scale: Float, bias: Float) {
        self.scale = Floats16(repeating: scale)
        self.bias = Floats16(repeating: bias)
    }

    subscript(_: Int) -> (scale: Floats16, bias: Floats16) {
        @inline(__always) get { (scale, bias) }
    }
}

/// A scale and a bias for each column, with room for sixteen more.
private struct SpreadGroups: GroupNumbers {
    let scales: UnsafeMutablePointer<Float>
    let biases: UnsafeMutablePointer<Float>

    func fill(columns: Int, of size: Int, scales from: UnsafePointer<Float>, biases other: UnsafePointer<Float>) {
        for column in 0..<columns {
            scales[column] = from[column / size]
            biases[column] = other[column / size]
        }
        for column in columns..<columns + 16 { (scales[column], biases[column]) = (0, 0) }
    }

    subscript(offset: Int) -> (scale: Floats16, bias: Floats16) {
        @inline(__always) get { (load16(scales + offset), load16(biases + offset)) }
    }
}

/// What is rounded, and where it goes.
private struct Line {
    let values: UnsafePointer<Float>
    let result: UnsafeMutablePointer<Float>
    let kept: UnsafeMutablePointer<UInt8>
    let last: Float

    /// Rounds elements; returns how many are not kept.
    @inline(__always)
    func round(from start: Int, to end: Int, _ ranges: some GroupNumbers) -> Int {
        var keptOnes = SIMD16<Int32>()
        var place = start
        while place + 16 <= end {
            let (rounded, inside) = rounded(load16(values + place), ranges[place - start])
            store16(rounded, to: result + place)
            UnsafeMutableRawPointer(kept + place).storeBytes(of: bytes(inside), as: SIMD16<UInt8>.self)
            keptOnes &+= inside
            place += 16
        }
        var sum = Int(keptOnes.wrappedSum())
        if place < end {
            var rest = Floats16()
            for lane in 0..<end - place { rest[lane] = values[place + lane] }
            let (rounded, inside) = rounded(rest, ranges[place - start])
            for lane in 0..<end - place {
                result[place + lane] = rounded[lane]
                kept[place + lane] = UInt8(truncatingIfNeeded: inside[lane])
                sum += Int(inside[lane])
            }
        }
        return end - start - sum
    }

    /// Sixteen rounded values, and for each 1 if it is kept.
    @inline(__always)
    private func rounded(_ values: Floats16, _ range: (scale: Floats16, bias: Floats16)) -> (Floats16, SIMD16<Int32>) {
        var divisor = Floats16(repeating: .infinity)
        divisor.replace(with: range.scale, where: range.scale .> 0)
        var codes = (values - range.bias) / divisor
        // One step past the codes is as good as a thousand, and small enough to be rounded.
        codes.replace(with: Floats16(repeating: -1), where: codes .< -1)
        codes.replace(with: Floats16(repeating: last + 1), where: codes .> last + 1)
        codes = EmbedCompress.rounded(codes)
        var inside = SIMD16<Int32>()
        inside.replace(with: SIMD16(repeating: 1), where: codes .>= 0 .& codes .<= last)
        codes.replace(with: Floats16(), where: codes .< 0)
        codes.replace(with: Floats16(repeating: last), where: codes .> last)
        return (codes * range.scale + range.bias, inside)
    }

    @inline(__always)
    private func bytes(_ numbers: SIMD16<Int32>) -> SIMD16<UInt8> {
        var result = SIMD16<UInt8>()
        for lane in 0..<16 { result[lane] = UInt8(truncatingIfNeeded: numbers[lane]) }
        return result
    }
}
