/// A pooled lookup of one table or of several as one parallel loop, whose chunks are equal amounts of work: however
/// uneven bags and tables are, threads share them. Chunks depend on the call alone, and a bag is never split between
/// two, so results don't depend on the number of threads.

/// Bags of one table, and where their sums go.
struct PooledFeature {
    let table: Table
    let bags: Bags
    let context: LookupContext
    /// Of the first bag.
    let output: UnsafeMutablePointer<Float>
    /// Floats from the output of a bag to that of the next one.
    let outputStride: Int

    /// What a row costs, in columns. Bounded, so that no sum of costs overflows.
    private var rowWork: Int { min(max(table.dimension, 16), 65_536) }

    /// The work of the bags before `bag`: a row for each id, and one for each bag's output.
    @inline(__always)
    private func work(before bag: Int) -> Int { (bags.start(bag) - bags.start(0) + bag) * rowWork }

    private var work: Int { bags.count == 0 ? 0 : work(before: bags.count) }

    /// The first bag that begins at `position` of this feature's work or after it.
    private func firstBag(at position: Int) -> Int {
        if position <= 0 { return 0 }
        var (low, high) = (0, bags.count)
        while low < high {
            let middle = (low + high) / 2
            if work(before: middle) < position { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Writes the output of every bag of `features`, whose offsets and ids have been checked.
    static func pool(_ features: UnsafeBufferPointer<PooledFeature>) {
        withUnsafeTemporaryAllocation(of: Int.self, capacity: features.count + 1) { starts in
            // Where each feature begins in the work of them all.
            starts.initialize(repeating: 0)
            for (index, feature) in features.enumerated() { starts[index + 1] = starts[index] + feature.work }
            Parallel.forEach(
                count: starts[features.count], grain: poolingGrain, leastChunks: leastParallelChunks
            ) { chunk in
                BlockSpace.with(features) { space in
                    for (index, feature) in features.enumerated()
                    where starts[index] < chunk.upperBound && starts[index + 1] > chunk.lowerBound {
                        let first = feature.firstBag(at: chunk.lowerBound - starts[index])
                        // The last chunk of a feature needs no search, and takes everything if offsets change meanwhile.
                        let end =
                            chunk.upperBound >= starts[index + 1]
                            ? feature.bags.count : feature.firstBag(at: chunk.upperBound - starts[index])
                        guard first < end else { continue }
                        var filler = BlockFiller(feature: feature, space: space)
                        filler.add(first..<end)
                    }
                }
            }
        }
    }
}

/// The work of a chunk: some twenty microseconds, as of ``parallelGrain(dimension:)``.
private let poolingGrain = 131_072

/// What a thread packs blocks in.
struct BlockSpace {
    /// Those of a block, and as many ahead.
    let ids: UnsafeMutablePointer<Int64>
    /// Ones, unless the bags have weights.
    let weights: UnsafeMutablePointer<Float>
    let segments: UnsafeMutablePointer<Segment>
    let kernel: KernelSpace
    /// Only for max: `rowCapacity` rows of the widest table.
    let rows: UnsafeMutablePointer<Float>

    static func rowCapacity(_ table: Table) -> Int { max(1, min(blockCapacity, 65_536 / table.dimension)) }

    /// Calls `body` with space for the blocks of any of `features`.
    static func with(_ features: UnsafeBufferPointer<PooledFeature>, _ body: (BlockSpace) -> Void) {
        let isMaximum = features.contains { $0.bags.pooling == .max }
        let rowSpace = isMaximum ? features.map { $0.table.dimension * rowCapacity($0.table) }.max() ?? 0 : 0
        // One piece of memory, whose parts come in the order of their alignment.
        let withSlack = blockCapacity + KernelSpace.slack
        let bytes =
            blockCapacity * (2 * MemoryLayout<Segment>.stride + 6 * 8 + 3 * 4) + withSlack * (4 + 2) + rowSpace * 4
        Scratch.with(bytes, of: UInt8.self) { memory in
            var next = UnsafeMutableRawPointer(memory)
            func take<Element>(_ count: Int, of _: Element.Type) -> UnsafeMutablePointer<Element> {
                defer { next += count * MemoryLayout<Element>.stride }
                return next.assumingMemoryBound(to: Element.self)
            }
            let segments = take(blockCapacity, of: Segment.self)
            let runs = take(blockCapacity, of: Segment.self)
            let ids = take(2 * blockCapacity, of: Int64.self)
            let pointers = take(4 * blockCapacity, of: UnsafeRawPointer.self)
            let weights = take(blockCapacity, of: Float.self)
            weights.update(repeating: 1, count: blockCapacity)
            let floats = take(blockCapacity, of: Float.self)
            let biases = take(blockCapacity, of: Float.self)
            let words = take(withSlack, of: UInt32.self)
            let rows = take(rowSpace, of: Float.self)
            let factors = take(withSlack, of: UInt16.self)
            body(
                BlockSpace(
                    ids: ids, weights: weights, segments: segments,
                    kernel: KernelSpace(
                        pointers: pointers, words: words, factors: factors, floats: floats, biases: biases,
                        runs: runs), rows: rows))
        }
    }
}
