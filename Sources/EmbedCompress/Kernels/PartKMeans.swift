/// k-means of short vectors: Lloyd's algorithm from centers drawn by k-means++, with weights.
///
/// `count * centers * width` steps a round, over all cores. Partial sums are of runs that the sizes alone decide, and are
/// added in order, so that results don't depend on the number of threads. A center that no vector is nearest to moves
/// into a cluster of large error, which it splits.
struct PartKMeans {
    let data: UnsafePointer<Float>
    /// Vectors, one after the other.
    let count: Int
    let width: Int
    /// One for each vector; nil for all alike.
    let weights: UnsafePointer<Float>?
    let centerCount: Int
    let watch: ProgressCounter

    /// Rounds end when they lower the error by less than this share of it.
    private static let leastGain = 1e-4
    /// Squared distances below this share of the squared length are nothing but rounding.
    private static let leastDistance: Float = 4e-6
    /// k-means++ draws from so many vectors for each center, and from all that there are of more centers than this.
    private static let drawnPerCenter = 64
    private static let mostDrawn = 4096

    /// Writes `centerCount * width` numbers.
    func train(rounds: Int, random: inout SeededRandom, to centers: UnsafeMutablePointer<Float>) throws {
        guard count > centerCount else {
            for index in 0..<centerCount {
                let source = count > 0 ? data + min(index, count - 1) * width : nil
                if let source {
                    (centers + index * width).update(from: source, count: width)
                } else {
                    (centers + index * width).update(repeating: 0, count: width)
                }
            }
            return
        }
        if width >= Self.leastProgressive, centerCount > 1 {
            try grow(&random, to: centers)
        } else {
            try draw(&random, to: centers)
        }
        try refine(centers, rounds: rounds, &random)
    }

    private func refine(_ centers: UnsafeMutablePointer<Float>, rounds: Int, _ random: inout SeededRandom) throws {
        let search = try CenterSearch(count: centerCount, width: width)
        var last = Double.infinity
        for _ in 0..<rounds {
            search.set(centers)
            let error = try move(search, centers, &random)
            if last - error <= Self.leastGain * error { break }
            last = error
        }
    }

    // MARK: - Centers of wide vectors

    /// Finds centers in the two directions in which the vectors vary most, then in four, and so on: in many dimensions,
    /// rounds hardly move centers from where they start (as faiss's progressive k-means does; Liu et al. 2015, "Improved
    /// Residual Vector Quantization for High-dimensional Approximate Nearest Neighbor Search").
    private func grow(_ random: inout SeededRandom, to centers: UnsafeMutablePointer<Float>) throws {
        let most = min(Self.mostDirections, (width + 15) / 16 * 16)
        let directions = try PrincipalDirections(
            data, count: count, width: width, directions: most, random: &random, watch: watch)
        guard let numbers = Checked.product(Checked.sum(count, centerCount) ?? Int.max, 2, most) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        let memory = try Buffer<Float>(count: numbers)
        defer { memory.keep() }
        let (coordinates, part) = (memory.base, memory.base + count * most)
        // Numbers of a center that are not known yet are zeros.
        let known = part + count * most
        let wider = known + centerCount * most
        try directions.project(data, count: count, to: coordinates, watch: watch)
        var before = 0
        var now = 2
        while true {
            for index in 0..<count {
                for column in 0..<now { part[index &* now &+ column] = coordinates[index &* most &+ column] }
            }
            let stage = PartKMeans(
                data: part, count: count, width: now, weights: weights, centerCount: centerCount, watch: watch)
            if before == 0 {
                try stage.draw(&random, to: known)
            } else {
                for index in 0..<centerCount {
                    for column in 0..<now {
                        wider[index &* now &+ column] = column < before ? known[index &* before &+ column] : 0
                    }
                }
                known.update(from: wider, count: centerCount * now)
            }
            try stage.refine(known, rounds: Self.stageRounds, &random)
            before = now
            if now == most { break }
            now = min(2 * now, most)
        }
        for index in 0..<centerCount { directions.vector(of: known + index * most, to: centers + index * width) }
    }

    /// Vectors of fewer numbers start from k-means++.
    private static let leastProgressive = 16
    private static let mostDirections = 64
    private static let stageRounds = 5

    // MARK: - First centers

    /// Draws each center with a chance that grows with its squared distance from those before.
    private func draw(_ random: inout SeededRandom, to centers: UnsafeMutablePointer<Float>) throws {
        if centerCount > Self.mostDrawn {
            // One vector of each of as many runs.
            for index in 0..<centerCount {
                let (first, end) = (index * count / centerCount, (index + 1) * count / centerCount)
                let place = first + random.below(end - first)
                (centers + index * width).update(from: data + place * width, count: width)
            }
            return
        }
        let drawn = min(count, Self.drawnPerCenter * centerCount)
        let chunks = (drawn + 15) / 16
        guard let space = Checked.product(chunks, width + 2) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        let memory = try Buffer(repeating: Floats16(), count: space)
        defer { memory.keep() }
        let columns = memory.base
        let (nearest, importance) = (columns + chunks * width, columns + chunks * (width + 1))
        let floats = UnsafeMutableRawPointer(columns).assumingMemoryBound(to: Float.self)
        for index in 0..<drawn {
            let place = index * count / drawn
            for column in 0..<width { floats[column * chunks * 16 + index] = data[place * width + column] }
            floats[(width + 1) * chunks * 16 + index] = weights?[place] ?? 1
        }
        for chunk in 0..<chunks { nearest[chunk] = Floats16(repeating: .greatestFiniteMagnitude) }
        var sums = try [Float](allocating: 0, count: chunks)
        for chunk in 0..<chunks { sums[chunk] = total(importance[chunk]) }
        // The first is drawn by weight alone.
        var chosen = pick(&random, drawn, sums) { importance[$0] }
        for index in 0..<centerCount {
            if index & 63 == 0 { try watch.report() }
            let center = centers + index * width
            for column in 0..<width { center[column] = floats[column * chunks * 16 + chosen] }
            for chunk in 0..<chunks {
                var distance = Floats16()
                for column in 0..<width {
                    let difference = columns[column &* chunks &+ chunk] - Floats16(repeating: center[column])
                    distance += difference * difference
                }
                nearest[chunk] = leastOf(distance, nearest[chunk])
                sums[chunk] = total(nearest[chunk] * importance[chunk])
            }
            chosen = pick(&random, drawn, sums) { nearest[$0] * importance[$0] }
        }
    }

    /// An index below `drawn`, with chances in proportion to what the lanes of chunks hold; any if they hold nothing.
    private func pick(
        _ random: inout SeededRandom, _ drawn: Int, _ sums: [Float], _ chunk: (Int) -> Floats16
    ) -> Int {
        let total = sums.reduce(0.0) { $0 + Double($1) }
        let unit = Double(random.next() >> 11) * 0x1p-53
        guard total > 0, total < .infinity else { return Int(unit * Double(drawn)) }
        var left = unit * total
        var found = 0
        for (index, sum) in sums.enumerated() where sum > 0 {
            found = index
            if left < Double(sum) { break }
            left -= Double(sum)
        }
        let lanes = chunk(found)
        var lane = 0
        for index in 0..<16 where lanes[index] > 0 {
            lane = index
            left -= Double(lanes[index])
            if left < 0 { break }
        }
        return found * 16 + lane
    }

    // MARK: - Rounds

    /// Moves every center to the weighted mean of the vectors nearest to it. Returns the error that there was before.
    private func move(
        _ search: CenterSearch, _ centers: UnsafeMutablePointer<Float>, _ random: inout SeededRandom
    ) throws -> Double {
        // Of each center: the sum of its vectors, their weight and their error.
        let entry = width + 2
        let runs = min(max((1 << 22) / (centerCount * entry), 1), 16)
        let grain = ((count + runs - 1) / runs + 63) / 64 * 64
        guard let numbers = Checked.product(runs, centerCount, entry) else {
            throw EmbedCompressError.outOfMemory(bytes: Int.max)
        }
        let memory = try Buffer<Float>(repeating: 0, count: numbers)
        defer { memory.keep() }
        let partials = memory.base
        try Parallel.forEach(count: count, grain: grain, progress: watch) { range in
            addSums(search, range, to: partials + range.lowerBound / grain * centerCount * entry)
        }
        var error = 0.0
        var weight = try [Float](allocating: 0, count: centerCount)
        var errors = try [Float](allocating: 0, count: centerCount)
        for center in 0..<centerCount {
            let sums = partials + center * entry
            for run in 1..<max(runs, 1) {
                let more = sums + run * centerCount * entry
                for column in 0..<entry { sums[column] += more[column] }
            }
            weight[center] = sums[width]
            errors[center] = sums[width + 1]
            error += Double(errors[center])
            guard weight[center] > 0 else { continue }
            for column in 0..<width { centers[center * width + column] = sums[column] / weight[center] }
        }
        try split(centers, weight, errors, &random)
        return error
    }

    private func addSums(_ search: CenterSearch, _ range: Range<Int>, to sums: UnsafeMutablePointer<Float>) {
        let step = 256
        Scratch.with(step, of: Int32.self) { indices in
            Scratch.with(step, of: Float.self) { scores in
                for start in stride(from: range.lowerBound, to: range.upperBound, by: step) {
                    let rows = min(step, range.upperBound - start)
                    search.nearest(data + start * width, stride: width, count: rows, to: indices, scores: scores)
                    for index in 0..<rows {
                        let row = data + (start &+ index) &* width
                        let weight = weights?[start &+ index] ?? 1
                        let sum = sums + Int(indices[index]) &* (width &+ 2)
                        var square: Float = 0
                        for column in 0..<width {
                            square += row[column] * row[column]
                            sum[column] += weight * row[column]
                        }
                        sum[width] += weight
                        // What rounding makes of no error at all is none.
                        let distance = square + 2 * scores[index]
                        if distance > square * Self.leastDistance { sum[width &+ 1] += weight * distance }
                    }
                }
            }
        }
    }

    /// Gives each center without vectors half of a cluster, the largest errors first.
    private func split(
        _ centers: UnsafeMutablePointer<Float>, _ weight: [Float], _ errors: [Float], _ random: inout SeededRandom
    ) throws {
        // Two lists of centers, which grow by doubling.
        try Allocation.require(Checked.product(centerCount, 4, MemoryLayout<Int>.stride))
        let empty = (0..<centerCount).filter { weight[$0] <= 0 }
        guard !empty.isEmpty else { return }
        let largest = (0..<centerCount).filter { errors[$0] > 0 }.sorted { (-errors[$0], $0) < (-errors[$1], $1) }
        for (target, source) in zip(empty, largest) {
            let spread = (errors[source] / weight[source] / Float(width)).squareRoot() / 2
            for column in 0..<width {
                let step = random.next() & 1 == 0 ? spread : -spread
                let value = centers[source * width + column]
                centers[source * width + column] = value - step
                centers[target * width + column] = value + step
            }
        }
    }
}
