/// The remainder by a number, without a division: exact for numbers below 2^63 and a little more, and divisors from 2 to
/// 2^31.
struct Remainder {
    private let divisor: UInt64
    /// 2^64 / divisor, rounded down.
    private let reciprocal: UInt64

    init(_ divisor: UInt64) {
        self.divisor = divisor
        // 2^64 - 1 gives the same quotient unless the divisor is a power of two.
        let quotient = UInt64.max / divisor
        reciprocal = UInt64.max % divisor == divisor - 1 ? quotient + 1 : quotient
    }

    /// The quotient found is the right one or one less: what the reciprocal lacks is below 1, so the product with a number
    /// below 2^64 lacks less than 2^64.
    @inline(__always)
    func of(_ number: UInt64) -> UInt64 {
        let quotient = number.multipliedFullWidth(by: reciprocal).high
        let rest = number &- quotient &* divisor
        return rest >= divisor ? rest &- divisor : rest
    }
}

/// k hash functions ((a x + b) mod p) mod m, and the vectors that they make of ids.
final class IDHashes: Sendable {
    private struct Function {
        let factor: UInt64
        let summand: UInt64
        let modulus: Remainder
    }

    /// Bytes of what is kept of a hash function.
    static let functionBytes = MemoryLayout<Function>.stride

    private let functions: [Function]
    private let buckets: Int
    private let encoding: HashNetwork.Encoding

    /// Factors a and summands b are below 2^31, moduli p from 2 to 2^31 - 1, buckets m from 2 to 2^31 - 1; ids are below
    /// 2^32. The caller has checked that. The constants are copied, so that nobody changes them meanwhile.
    init(
        _ constants: [(factor: UInt64, summand: UInt64, modulus: UInt64)], buckets: Int,
        encoding: HashNetwork.Encoding
    ) {
        functions = constants.map { Function(factor: $0.factor, summand: $0.summand, modulus: Remainder($0.modulus)) }
        self.buckets = buckets
        self.encoding = encoding
    }

    var count: Int { functions.count }

    /// The hashes of an id: `count` whole numbers below the buckets, as floats.
    func hash(_ id: UInt64, to target: UnsafeMutablePointer<Float>) {
        let remainder = Remainder(UInt64(buckets))
        functions.withUnsafeBufferPointer { functions in
            for index in 0..<functions.count {
                let function = functions[index]
                let hash = function.modulus.of(function.factor &* id &+ function.summand)
                target[index] = Float(Int32(truncatingIfNeeded: remainder.of(hash)))
            }
        }
    }

    /// The vector of an id: `count` numbers, and up to fifteen of any value after them.
    func encode(_ id: UInt64, to target: UnsafeMutablePointer<Float>) {
        hash(id, to: target)
        switch encoding {
        case .uniform:
            let scale = Floats16(repeating: 2 / Float(buckets - 1))
            for index in stride(from: 0, to: count, by: 16) {
                store16(
                    multiplyAdd(load16(target + index), scale, Floats16(repeating: -1), isExact: true),
                    to: target + index)
            }
        case .normal:
            let share = Floats16(repeating: 1 / Float(buckets))
            for index in stride(from: 0, to: count, by: 32) {
                Self.normals(target + index, share: share, count: min(count &- index, 32))
            }
        }
    }

    /// Of hashes g and h that are neighbours: sqrt(-2 log((g + 1) / m)) times the cosine and the sine of 2 pi h / m.
    @inline(__always)
    private static func normals(_ target: UnsafeMutablePointer<Float>, share: Floats16, count: Int) {
        var (even, odd) = (Floats16(), Floats16())
        for pair in 0..<count / 2 {
            even[pair] = target[2 &* pair]
            odd[pair] = target[2 &* pair &+ 1]
        }
        let radius = (Floats16(repeating: -2) * logarithm((even + Floats16(repeating: 1)) * share))
        let clamped = mostOf(radius, Floats16()).squareRoot()
        let (sine, cosine) = turn(odd * share)
        let (first, second) = (clamped * cosine, clamped * sine)
        for pair in 0..<count / 2 {
            target[2 &* pair] = first[pair]
            target[2 &* pair &+ 1] = second[pair]
        }
    }
}

/// Layers that a block of vectors goes through.
struct HashLayers {
    struct Layer {
        let weights: Matrix
        let biases: UnsafePointer<Float>
    }

    /// Vectors that go through the layers together: more would leave the second-level cache.
    static let most = 128
    /// Floats of as many, where layers are wide.
    private static let mostFloats = 1 << 22

    /// Floats of a vector of hashes and of a layer's results, and the vectors that go through the layers together.
    private static func sizes(hashes: Int, widths: [Int]) -> (codeStride: Int, stride: Int, rows: Int) {
        let (codeStride, stride) = (MatrixProduct.stride(hashes), MatrixProduct.stride(widths.dropLast().max() ?? 1))
        return (codeStride, stride, max(min(most, mostFloats / (codeStride + 2 * stride)), 1))
    }

    /// What a block takes.
    static func scratchBytes(hashes: Int, widths: [Int]) -> Int {
        let (codeStride, stride, rows) = sizes(hashes: hashes, widths: widths)
        return rows * (codeStride + 2 * stride) * MemoryLayout<Float>.size
    }

    /// - Parameters:
    ///   - widths: Of each layer's result; the last one is the dimension.
    static func gather(
        _ ids: IDBlock, offset: Int, hashes: IDHashes, layers: [Layer], widths: [Int], into output: RowBlock
    ) {
        let (codeStride, stride, room) = sizes(hashes: hashes.count, widths: widths)
        let rows = min(room, ids.count)
        Scratch.with(rows * (codeStride + 2 * stride), of: Float.self) { codes in
            let buffers = (codes + rows * codeStride, codes + rows * (codeStride + stride))
            for first in Swift.stride(from: 0, to: ids.count, by: rows) {
                let count = min(rows, ids.count - first)
                for index in 0..<count {
                    let id = max(ids.ids[first + index], 0) &+ Int64(offset)
                    hashes.encode(UInt64(bitPattern: id), to: codes + index * codeStride)
                }
                var (input, inputStride) = (codes, codeStride)
                for (number, layer) in layers.enumerated() {
                    if number == layers.count - 1 {
                        MatrixProduct.multiply(
                            input, stride: inputStride, count: count, by: layer.weights, start: .row(layer.biases),
                            into: RowBlock(base: output.row(first), stride: output.stride))
                    } else {
                        let target = number % 2 == 0 ? buffers.0 : buffers.1
                        MatrixProduct.multiply(
                            input, stride: inputStride, count: count, by: layer.weights, start: .row(layer.biases),
                            into: RowBlock(base: target, stride: stride))
                        activate(target, stride: stride, rows: count, columns: widths[number])
                        (input, inputStride) = (target, stride)
                    }
                }
                for index in 0..<count where ids.ids[first + index] < 0 {
                    output.row(first + index).update(repeating: 0, count: widths[widths.count - 1])
                }
            }
        }
    }

    private static func activate(_ base: UnsafeMutablePointer<Float>, stride: Int, rows: Int, columns: Int) {
        for row in 0..<rows {
            let values = base + row &* stride
            var column = 0
            while column < columns {
                store16(mish(load16(values + column)), to: values + column)
                column &+= 16
            }
        }
    }
}
