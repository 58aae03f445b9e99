/// The directions in which vectors vary most, in order: orthogonal iteration on some of the vectors.
///
/// Approximate: a few iterations, which order directions well enough for a start of k-means. `2 * vectors * width *
/// directions` steps an iteration, on one thread.
struct PrincipalDirections {
    let width: Int
    /// A multiple of 16.
    let count: Int
    /// `count` numbers of each column, one after the other.
    private let directions: [Floats16]

    private static let iterations = 4
    private static let mostVectors = 4096

    /// - Parameters:
    ///   - data: Vectors of mean zero, or nearly so, one after the other.
    ///   - directions: How many, a multiple of 16 and at most the width rounded up to one.
    ///   - watch: Asked whether to stop.
    init(
        _ data: UnsafePointer<Float>, count vectors: Int, width: Int, directions count: Int,
        random: inout SeededRandom, watch: ProgressCounter
    ) throws {
        self.width = width
        self.count = count
        let chunks = count / 16
        let used = min(vectors, Self.mostVectors)
        // Directions, and their images.
        try Allocation.require(Checked.product(width, chunks, 2, MemoryLayout<Floats16>.stride))
        var current = (0..<width * chunks).map { _ in
            var value = Floats16()
            for lane in 0..<16 { value[lane] = Float(random.below(1 << 16)) - 32_767.5 }
            return value
        }
        Self.orthonormalize(&current, width: width, count: count)
        var image = current
        for _ in 0..<Self.iterations {
            try watch.report()
            for index in image.indices { image[index] = Floats16() }
            current.withUnsafeBufferPointer { current in
                image.withUnsafeMutableBufferPointer { image in
                    Scratch.with(chunks, of: Floats16.self) { products in
                        for index in 0..<used {
                            let vector = data + index * vectors / used * width
                            Self.products(vector, current, width, chunks, to: products)
                            for column in 0..<width {
                                for chunk in 0..<chunks {
                                    let place = column &* chunks &+ chunk
                                    image[place] = fused(products[chunk], vector[column], image[place])
                                }
                            }
                        }
                    }
                }
            }
            Self.orthonormalize(&image, width: width, count: count)
            swap(&current, &image)
        }
        self.directions = current
    }

    /// The coordinates of a vector.
    @inline(__always)
    private static func products(
        _ vector: UnsafePointer<Float>, _ directions: UnsafeBufferPointer<Floats16>, _ width: Int, _ chunks: Int,
        to products: UnsafeMutablePointer<Floats16>
    ) {
        for chunk in 0..<chunks { products[chunk] = Floats16() }
        for column in 0..<width {
            for chunk in 0..<chunks {
                products[chunk] = fused(directions[column &* chunks &+ chunk], vector[column], products[chunk])
            }
        }
    }

    /// Gram and Schmidt's, in the order of directions; those that are nothing new become zeros.
    private static func orthonormalize(_ directions: inout [Floats16], width: Int, count: Int) {
        directions.withUnsafeMutableBytes { bytes in
            let values = bytes.bindMemory(to: Float.self)
            func product(_ a: Int, _ b: Int) -> Double {
                (0..<width).reduce(0) { $0 + Double(values[$1 * count + a]) * Double(values[$1 * count + b]) }
            }
            for direction in 0..<count {
                let before = product(direction, direction)
                // Twice, because rounding leaves something of what is taken away first.
                for _ in 0..<2 {
                    for other in 0..<direction {
                        let share = Float(product(direction, other))
                        for column in 0..<width {
                            values[column * count + direction] -= share * values[column * count + other]
                        }
                    }
                }
                let left = product(direction, direction)
                let scale = left > before * 1e-10 && left > 0 ? Float(1 / left.squareRoot()) : 0
                for column in 0..<width { values[column * count + direction] *= scale }
            }
        }
    }

    /// Writes the coordinates of vectors, `count` for each.
    func project(
        _ data: UnsafePointer<Float>, count vectors: Int, to target: UnsafeMutablePointer<Float>,
        watch: ProgressCounter
    ) throws {
        let (width, chunks) = (width, count / 16)
        try directions.withUnsafeBufferPointer { directions in
            nonisolated(unsafe) let directions = directions
            try Parallel.forEach(count: vectors, grain: 256, progress: watch) { range in
                Scratch.with(chunks, of: Floats16.self) { products in
                    for index in range {
                        Self.products(data + index * width, directions, width, chunks, to: products)
                        for chunk in 0..<chunks {
                            store16(products[chunk], to: target + index * chunks * 16 + chunk * 16)
                        }
                    }
                }
            }
        }
    }

    /// The vector of some coordinates.
    func vector(of coordinates: UnsafePointer<Float>, to target: UnsafeMutablePointer<Float>) {
        let chunks = count / 16
        for column in 0..<width {
            var sum = Floats16()
            for chunk in 0..<chunks { sum += directions[column * chunks + chunk] * load16(coordinates + chunk * 16) }
            target[column] = total(sum)
        }
    }
}
