/// TT: the table as a tensor train of three cores, by TT-SVD.
///
/// Oseledets 2011 (SIAM J. Sci. Comput. 33); as a format of embedding tables TT-Rec (Yin et al., MLSys 2021); a baseline
/// of the VLDB 2024 study (arXiv 2311.15578). Row numbers have three digits and columns three indices, a row's first digit
/// and the first column index going to the first core. The first core holds the leading left singular vectors of the
/// (N0 d0) x (N1 d1 N2 d2) unfolding, the last one the right singular vectors of what is left; both come from Gram
/// matrices in f64. The table is read twice; what is left after the first core is held in memory, as f32.
///
/// Bytes: (N0 d0 R1 + R1 N1 d1 R2 + R2 N2 d2) * (2 for f16, 4 for f32), where N0 N1 N2 >= rows and d0 d1 d2 = d.
extension Method {
    static let tensorTrain = Method(
        name: "tt", title: "TT", family: .decomposition,
        paper: "Oseledets 2011; Yin et al., MLSys 2021, arXiv 2101.11714",
        summary: "a tensor train of three cores, by singular value decompositions of the reshaped table",
        bytesPerRow: "(N0 d0 + N1 d1 R + N2 d2) * R * (2 for f16, 4 for f32) / rows, N0 N1 N2 >= rows, d0 d1 d2 = d",
        cost: "two passes over the table, 2 * rows * d * (N0 d0 + R) operations",
        options: [
            Option(
                "rank", .integer(1...Int.max), default: .null,
                "of both joints; that of a tenth of the bytes if not given"),
            Option("element", .choice(["f32", "f16"]), default: .string("f32"), "type of the cores"),
            Option("budget", .budget, default: .null, "most bytes of the result; chooses rank"),
        ],
        takesWeights: false, passes: 6
    ) { input, options, progress in
        let source = input.source
        let element = ScaleType(rawValue: try options.string("element")) ?? .float32
        let factors = TrainFactors(rows: source.rows, dimension: source.dimension)
        var rank = try options.optionalInteger("rank")
        let budget = try options.optionalInteger("budget")
        if rank != nil, budget != nil {
            throw EmbedCompressError.invalidArgument("give tt either a rank or a budget, not both")
        }
        let steps = ProgressSteps(
            progress, units: Checked.product(source.rows, 5) ?? Int.max, shares: [1, 1])
        if rank == nil {
            let (least, full) = (
                factors.bytes(1, element), Checked.product(source.rows, source.dimension, 4) ?? Int.max
            )
            let room = budget ?? max(full / 10, least)
            guard least <= room else {
                throw EmbedCompressError.budget(method: "tt", budgetBytes: room, floorBytes: least)
            }
            rank = lastWhere(1, max(factors.sides.0, factors.sides.2)) { factors.bytes($0, element) <= room }
        }
        let (node, largest) = try TrainDecomposition(source: source, factors: factors, ranks: factors.ranks(rank ?? 1))
            .train(element: element, steps: steps)
        try steps.finish()
        return FinishedTable(node: node, mayOverflow: largest > safeMagnitude)
    }
}

/// How rows and columns are factorised.
struct TrainFactors {
    /// N0, N1 and N2, as equal as they can be; their product is at least the rows.
    let rows: (Int, Int, Int)
    /// d0, d1 and d2, as equal as they can be; their product is the dimension.
    let columns: (Int, Int, Int)

    init(rows: Int, dimension: Int) {
        let first = Self.root(rows) { $0 * $0 * $0 }
        let second = Self.root((rows + first - 1) / first) { $0 * $0 }
        self.rows = (first, second, max(1, (rows + first * second - 1) / (first * second)))
        var best = (1, 1, dimension)
        for one in Self.divisors(dimension) {
            for two in Self.divisors(dimension / one) {
                let split = (one, two, dimension / (one * two))
                // The last core has no rank behind it, the middle one two: columns that are left over go to the ends.
                func key(_ split: (Int, Int, Int)) -> (Int, Int, Int) {
                    (split.0 + split.1 + split.2, split.1, -split.0)
                }
                if key(split) < key(best) { best = split }
            }
        }
        columns = best
    }

    /// The least number, at least 1, whose power is so much or more.
    private static func root(_ value: Int, _ power: (Int) -> Int) -> Int {
        // 2^21 cubed is more than an Int holds.
        var (low, high) = (1, 1 << 20)
        while low < high {
            let middle = (low + high) / 2
            if power(middle) >= value { high = middle } else { low = middle + 1 }
        }
        return low
    }

    private static func divisors(_ number: Int) -> [Int] { (1...max(number, 1)).filter { number % $0 == 0 } }

    /// Entries of each core but for its ranks.
    var sides: (Int, Int, Int) { (rows.0 * columns.0, rows.1 * columns.1, rows.2 * columns.2) }

    /// Both ranks: no higher than the sides that they join allow.
    func ranks(_ rank: Int) -> (Int, Int) {
        let second = min(rank, sides.2)
        let middle = Checked.product(sides.1, second) ?? Int.max
        return (min(rank, sides.0, middle), second)
    }

    /// Bytes of the cores.
    func bytes(_ rank: Int, _ element: ScaleType) -> Int {
        let (first, second) = ranks(rank)
        let numbers = Checked.sum(of: [
            Checked.product(sides.0, first), Checked.product(first, sides.1, second),
            Checked.product(second, sides.2),
        ])
        return numbers.flatMap { Checked.product($0, element.byteCount) } ?? Int.max
    }
}

/// The TT-SVD of a table.
private struct TrainDecomposition {
    let source: any Node
    let factors: TrainFactors
    let ranks: (Int, Int)

    /// Floats of a run of rows; a sum over shorter ones takes as long as adding them up.
    private static let slabFloats = 1 << 21

    /// - Returns: The tensor train, and the largest magnitude of the table.
    func train(element: ScaleType, steps: ProgressSteps) throws -> (node: TensorTrain, largest: Float) {
        let (n, d, (rank1, rank2)) = (factors.rows, factors.columns, ranks)
        let shape = TrainShape(rows: n, columns: d, ranks: ranks)
        try TensorTrain.checkScratch(shape)
        let side = factors.sides.0
        let gathering = steps.next(total: source.rows)
        var gram = try DoubleMatrix(rows: side, columns: side)
        let largest = try forEachSlab(gathering) { slab in
            try gram.addGram(of: slab.values.values().base, stride: side, count: slab.count * d.1 * d.2) {
                try gathering.report()
            }
        }
        let first = try leading(gram, rank1, gathering.watch)
        // What is left, R1 x N1 x d1 x N2 x d2.
        let width = factors.sides.2
        let rest = try RowBuffer(rows: rank1 * factors.sides.1, dimension: width)
        let product = try FloatMatrix(first)
        let reducing = steps.next(total: source.rows)
        _ = try forEachSlab(reducing) { slab in
            let lines = slab.count * d.1 * d.2
            let reduced = try RowBuffer(rows: lines, dimension: rank1)
            try product.multiply(
                slab.values.values(), count: lines, into: reduced.block(), watch: reducing.watch)
            Parallel.forEach(count: rank1, grain: 8) { range in
                for rank in range {
                    for middle in 0..<slab.count {
                        for column in 0..<d.1 {
                            let row = rest.block().row((rank * n.1 + slab.middle + middle) * d.1 + column)
                            for last in 0..<d.2 {
                                row[slab.last * d.2 + last] =
                                    reduced.values().row((middle * d.1 + column) * d.2 + last)[rank]
                            }
                        }
                    }
                }
            }
        }
        var wide = try DoubleMatrix(rows: width, columns: width)
        let step = max(Self.slabFloats / width, 1)
        for start in stride(from: 0, to: rest.rows, by: step) {
            try wide.addGram(
                of: rest.values(from: start).base, stride: width, count: min(step, rest.rows - start)
            ) { try reducing.report() }
        }
        let last = try leading(wide, rank2, reducing.watch)
        let middle = try RowBuffer(rows: rest.rows, dimension: rank2)
        try FloatMatrix(last).multiply(
            rest.values(), count: rest.rows, into: middle.block(), watch: reducing.watch)
        let node = try TensorTrain(
            try core(element, count: side * rank1) { index in Float(first[index / rank1, index % rank1]) },
            // From R1 x N1 x (d1 R2) to N1 x R1 x (d1 R2).
            try core(element, count: rank1 * factors.sides.1 * rank2) { index in
                let inner = d.1 * rank2
                let (line, column) = (index / inner, index % inner)
                return middle.values().base[((line % rank1) * n.1 + line / rank1) * inner + column]
            },
            // From (N2 d2) x R2 to N2 x R2 x d2.
            try core(element, count: width * rank2) { index in
                let (line, column) = (index / d.2, index % d.2)
                return Float(last[line / rank2 * d.2 + column, line % rank2])
            },
            element: element, rows: source.rows, shape: shape)
        return (node, largest)
    }

    private func core(_ element: ScaleType, count: Int, _ number: (Int) -> Float) throws -> Bytes {
        let bytes = Bytes(
            try ByteStorage.allocate(Checked.product(count, element.byteCount) ?? Int.max, zeroed: false))
        for index in 0..<count {
            let value = number(index)
            switch element {
            case .float32: bytes.mutablePointer.storeBytes(of: value, toByteOffset: 4 * index, as: Float.self)
            case .float16:
                let half = halfFromFloat(value)
                guard floatFromHalf(half).isFinite else {
                    throw EmbedCompressError.invalidArgument("the cores' values do not fit f16: one is \(value)")
                }
                bytes.mutablePointer.storeBytes(of: half.littleEndian, toByteOffset: 2 * index, as: UInt16.self)
            }
        }
        return bytes
    }

    /// The eigenvectors of the largest eigenvalues, in columns.
    private func leading(_ gram: DoubleMatrix, _ count: Int, _ watch: ProgressCounter) throws -> DoubleMatrix {
        let vectors = try LinearAlgebra.symmetricEigenvectors(gram) { try watch.report() }.vectors
        return try vectors.columns((0..<count).map { gram.columns - 1 - $0 })
    }

    /// Rows whose last digit is the same, and whose middle digits follow each other. Rows that the table does not have
    /// are zeros.
    private struct Slab {
        /// The first middle digit, and how many.
        let middle: Int
        let count: Int
        /// The last digit.
        let last: Int
        /// (M d1 d2) x (N0 d0).
        let values: RowBuffer
    }

    /// Reads every row once; returns the largest magnitude.
    private func forEachSlab(_ progress: ProgressCounter, _ body: (Slab) throws -> Void) throws -> Float {
        let (n, d) = (factors.rows, factors.columns)
        let dimension = source.dimension
        let step = max(1, min(Self.slabFloats / (n.0 * dimension), n.1))
        let lock = Lock()
        var largest: Float = 0
        let side = n.0 * d.0
        for last in 0..<n.2 {
            for middle in stride(from: 0, to: n.1, by: step) {
                let count = min(step, n.1 - middle)
                let start = min((last * n.1 + middle) * n.0, source.rows)
                let stop = min(start + count * n.0, source.rows)
                let values = try RowBuffer(rows: count * d.1 * d.2, dimension: side)
                if stop - start < count * n.0 {
                    values.block().base.update(repeating: 0, count: values.rows * side)
                }
                let run = try source.sliced(start..<stop)
                try RowReader.forEachBlock(of: run, progress: progress.watch) { first, rows, block in
                    let found = try checkFinite(block, rows, dimension, firstRow: start + first)
                    lock.withLock { largest = max(largest, found) }
                    for index in first..<first + rows {
                        let row = block.row(index - first)
                        let (middle, digit) = index.quotientAndRemainder(dividingBy: n.0)
                        let target = values.block(from: middle * d.1 * d.2).base + digit * d.0
                        for outer in 0..<d.0 {
                            for inner in 0..<d.1 * d.2 { target[inner * side + outer] = row[outer * d.1 * d.2 + inner] }
                        }
                    }
                }
                try body(Slab(middle: middle, count: count, last: last, values: values))
                run.discardPages()
                progress.advance(by: run.rows)
                try progress.report()
            }
        }
        return largest
    }
}
