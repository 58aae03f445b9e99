/// How the rows of a tensor train are made of its cores.
struct TrainShape: Sendable, Equatable {
    /// N0, N1 and N2: slices of each core.
    let rows: (Int, Int, Int)
    /// d0, d1 and d2: columns of each core's part of a row.
    let columns: (Int, Int, Int)
    /// R1, between the first two cores, and R2, between the last two.
    let ranks: (Int, Int)

    var counts: (Int, Int, Int) {
        (columns.0 * ranks.0, ranks.0 * columns.1 * ranks.1, ranks.1 * columns.2)
    }

    /// Numbers of each core; nil if they are too many to count.
    var coreCounts: [Int?] {
        [
            Checked.product(rows.0, columns.0, ranks.0), Checked.product(rows.1, ranks.0, columns.1, ranks.1),
            Checked.product(rows.2, ranks.1, columns.2),
        ]
    }

    /// Whether the first two cores are multiplied first: the order of fewer multiplications.
    var isLeftFirst: Bool {
        let left = Double(columns.0 * columns.1) * Double(ranks.1) * Double(ranks.0 + columns.2)
        let right = Double(columns.1 * columns.2) * Double(ranks.0) * Double(ranks.1 + columns.0)
        return left <= right
    }

    /// How many products of a slice of the first core with one of the second are made at once: a few rows more than a tile
    /// has keep it busy; more would only need room.
    var pairsAtOnce: Int { isLeftFirst ? max(min(16, (1 << 15) / (columns.0 &* columns.1 &* ranks.1)), 1) : 1 }

    /// Floats that a block works in: slices of the three cores, products of two of them, and what ``SmallProduct`` needs.
    var spaces: (Int, Int, Int, Int, Int) {
        let (d0, d1, d2) = columns
        let (r1, r2) = ranks
        let (size0, size1, size2) = counts
        guard isLeftFirst else {
            return (
                size0, size1, size2, r1 &* d1 &* d2,
                max(SmallProduct.space(k: r2, n: d2), SmallProduct.space(k: r1, n: d1 &* d2))
            )
        }
        return (
            pairsAtOnce &* size0, size1, size2, pairsAtOnce &* (d0 &* d1 &* r2),
            max(SmallProduct.space(k: r1, n: d1 &* r2), SmallProduct.space(k: r2, n: d2))
        )
    }

    /// Room for so many floats, and fifteen more.
    static func rounded(_ count: Int) -> Int { (count &+ 31) & ~15 }

    /// What a block takes of scratch; nil if that is more than the most.
    var scratchBytes: Int? {
        let most = Scratch.most / MemoryLayout<Float>.size
        let sizes = [
            Checked.product(columns.0, ranks.0), Checked.product(ranks.0, columns.1, ranks.1),
            Checked.product(ranks.1, columns.2),
            isLeftFirst
                ? Checked.product(columns.0, columns.1, ranks.1) : Checked.product(ranks.0, columns.1, columns.2),
        ]
        // After this, nothing below overflows.
        guard sizes.allSatisfy({ $0.map { $0 <= most } ?? false }) else { return nil }
        let spaces = spaces
        let floats = [spaces.0, spaces.1, spaces.2, spaces.3, spaces.4].reduce(0) { $0 + Self.rounded($1) }
        return floats <= most ? floats * MemoryLayout<Float>.size : nil
    }

    static func == (a: TrainShape, b: TrainShape) -> Bool {
        a.rows == b.rows && a.columns == b.columns && a.ranks == b.ranks
    }
}

/// Where the slices of a core are. A block has places, one for each of its ids in the order in which it takes them.
protocol TrainCore {
    /// Whether slices of a block are read before the first one is asked for.
    static var readsAhead: Bool { get }
    /// A core that has the slices of all places of a block at hand, if it reads ahead and there is room for them.
    func ahead(_ slices: UnsafePointer<Int64>, count: Int, size: Int, in space: UnsafeMutablePointer<Float>) -> Self
    /// The numbers of the slice of a place, where they are or in `space`, and fifteen more that may be read after them.
    func slice(
        _ index: Int, at place: Int, size: Int, in space: UnsafeMutablePointer<Float>
    ) -> UnsafePointer<Float>
    /// Writes the numbers of the slice of a place, and up to fifteen of any value after them.
    func copySlice(_ index: Int, at place: Int, size: Int, to target: UnsafeMutablePointer<Float>)
}

extension NumberPlaces: TrainCore {
    static var readsAhead: Bool { false }

    func ahead(_: UnsafePointer<Int64>, count _: Int, size _: Int, in _: UnsafeMutablePointer<Float>) -> Self { self }

    @inline(__always)
    func slice(
        _ index: Int, at _: Int, size: Int, in space: UnsafeMutablePointer<Float>
    ) -> UnsafePointer<Float> {
        floats(index &* size, size, in: space)
    }

    @inline(__always)
    func copySlice(_ index: Int, at _: Int, size: Int, to target: UnsafeMutablePointer<Float>) {
        copy(index &* size, size, to: target)
    }
}

/// A core with a slice in each row of a table. Short slices are gathered for a whole block, or all there are, if those are
/// fewer; to gather them one by one would take longer than to decode them.
struct TableCore: TrainCore {
    let table: any Node
    let context: LookupContext
    /// Slices that were read ahead: all of the core, or those of the places of a block.
    private var slices: (at: UnsafePointer<Float>, areAll: Bool)?

    /// Floats that slices may have to be read ahead.
    static let mostAhead = 1 << 16

    init(table: any Node, context: LookupContext) { (self.table, self.context) = (table, context) }

    static var readsAhead: Bool { true }

    func ahead(_ slices: UnsafePointer<Int64>, count: Int, size: Int, in space: UnsafeMutablePointer<Float>) -> Self {
        var result = self
        if table.rows <= count, table.rows &* size <= Self.mostAhead {
            Scratch.with(table.rows, of: Int64.self) { all in
                for slice in 0..<table.rows { all[slice] = Int64(slice) }
                // What is wrong with a slice that no id needs is nobody's error.
                let context = LookupContext(onInvalid: .zero)
                table.gather(
                    IDBlock(ids: UnsafePointer(all), count: table.rows), into: RowBlock(base: space, stride: size),
                    context: context)
                if !context.hasProblem { result.slices = (UnsafePointer(space), true) }
            }
            if result.slices != nil { return result }
        }
        guard count &* size <= Self.mostAhead else { return self }
        table.gather(
            IDBlock(ids: slices, count: count), into: RowBlock(base: space, stride: size), context: context)
        result.slices = (UnsafePointer(space), false)
        return result
    }

    @inline(__always)
    func slice(
        _ index: Int, at place: Int, size: Int, in space: UnsafeMutablePointer<Float>
    ) -> UnsafePointer<Float> {
        if let slices { return slices.at + (slices.areAll ? index : place) &* size }
        gather(index, size, to: space)
        return UnsafePointer(space)
    }

    @inline(__always)
    func copySlice(_ index: Int, at place: Int, size: Int, to target: UnsafeMutablePointer<Float>) {
        if let slices {
            target.update(from: slices.at + (slices.areAll ? index : place) &* size, count: size)
        } else {
            gather(index, size, to: target)
        }
    }

    private func gather(_ index: Int, _ size: Int, to target: UnsafeMutablePointer<Float>) {
        withUnsafePointer(to: Int64(index)) {
            table.gather(IDBlock(ids: $0, count: 1), into: RowBlock(base: target, stride: size), context: context)
        }
    }
}

/// The rows of a block of ids.
///
/// Ids are put in the order of the middle core's slice, and within that of the slice that it is multiplied with first:
/// each product of two slices, and each slice that has to be converted, is made once in a block. The order of
/// multiplication is the table's, not the block's, so that a row is the same bits in every block.
struct TrainRows<Core: TrainCore> {
    let shape: TrainShape
    let cores: (Core, Core, Core)

    func gather(_ ids: IDBlock, offset: Int, into output: RowBlock) {
        let dimension = shape.columns.0 &* shape.columns.1 &* shape.columns.2
        Scratch.with(4 &* ids.count, of: Int.self) { space in
            let (order, firsts, middles, pairs) = (
                space, space + ids.count, space + 2 &* ids.count, space + 3 &* ids.count
            )
            let (n0, n1) = (shape.rows.0, shape.rows.1)
            let isLeftFirst = shape.isLeftFirst
            var count = 0
            for index in 0..<ids.count {
                guard ids.ids[index] >= 0 else {
                    output.row(index).update(repeating: 0, count: dimension)
                    continue
                }
                let id = Int(truncatingIfNeeded: ids.ids[index]) &+ offset
                let rest = id / n0
                let last = rest / n1
                let (first, middle) = (id &- rest &* n0, rest &- last &* n1)
                order[count] = index
                count &+= 1
                middles[index] = middle
                // The slice outside the pair, and the pair's other slice beside the middle one.
                firsts[index] = isLeftFirst ? last : first
                pairs[index] = isLeftFirst ? first : last
            }
            BlockOrder.group(order, count: count, by: pairs)
            BlockOrder.group(order, count: count, by: middles)
            if isLeftFirst {
                withSlicesAhead(order, count, pairs, middles, firsts) {
                    $0.leftFirst(order, count, pairs, middles, firsts, output)
                }
            } else {
                withSlicesAhead(order, count, firsts, middles, pairs) {
                    $0.rightFirst(order, count, pairs, middles, firsts, output)
                }
            }
        }
    }

    /// What slices that are read ahead take of scratch.
    static var aheadBytes: Int {
        2 * blockCapacity * MemoryLayout<Int64>.size + 3 * (TableCore.mostAhead + 16) * MemoryLayout<Float>.size
    }

    /// Calls `body` with cores that have the slices of the block at hand, if they are such as read ahead.
    private func withSlicesAhead(
        _ order: UnsafePointer<Int>, _ count: Int, _ slices0: UnsafePointer<Int>, _ slices1: UnsafePointer<Int>,
        _ slices2: UnsafePointer<Int>, _ body: (TrainRows) -> Void
    ) {
        guard Core.readsAhead, count > 0 else { return body(self) }
        let (size0, size1, size2) = shape.counts
        // Fifteen floats may be read after a slice.
        let room = TableCore.mostAhead &+ 16
        Scratch.with(count, of: Int64.self) { ids in
            Scratch.with(3 &* room, of: Float.self) { space in
                func ahead(_ core: Core, _ slices: UnsafePointer<Int>, _ size: Int, _ part: Int) -> Core {
                    for place in 0..<count { ids[place] = Int64(slices[order[place]]) }
                    return core.ahead(UnsafePointer(ids), count: count, size: size, in: space + part &* room)
                }
                let cores = (
                    ahead(cores.0, slices0, size0, 0), ahead(cores.1, slices1, size1, 1),
                    ahead(cores.2, slices2, size2, 2)
                )
                body(TrainRows(shape: shape, cores: cores))
            }
        }
    }

    /// (G0[i0] · G1[i1]) · G2[i2]. Several slices of the first core that meet the same one of the second are one matrix.
    private func leftFirst(
        _ order: UnsafePointer<Int>, _ count: Int, _ firsts: UnsafePointer<Int>, _ middles: UnsafePointer<Int>,
        _ lasts: UnsafePointer<Int>, _ output: RowBlock
    ) {
        let (d0, d1, d2) = shape.columns
        let (r1, r2) = shape.ranks
        let (size0, size1, size2) = shape.counts
        let pairSize = d0 &* d1 &* r2
        let most = shape.pairsAtOnce
        let (c0, c1, c2) = cores
        withSpaces { left, slice, right, products, space in
            var place = 0
            while place < count {
                let middle = middles[order[place]]
                let b = c1.slice(middle, at: place, size: size1, in: slice)
                while place < count, middles[order[place]] == middle {
                    // The pairs of a matrix, and where the ids after them begin.
                    var (end, pairs) = (place, 0)
                    while end < count, middles[order[end]] == middle {
                        let first = firsts[order[end]]
                        if end == place || first != firsts[order[end &- 1]] {
                            if pairs == most { break }
                            c0.copySlice(first, at: end, size: size0, to: left + pairs &* size0)
                            pairs &+= 1
                        }
                        end &+= 1
                    }
                    SmallProduct.multiply(
                        left, rows: pairs &* d0, inner: r1, b, columns: d1 &* r2, into: products, space: space)
                    var pair = products
                    for index in place..<end {
                        let id = order[index]
                        if index > place, firsts[id] != firsts[order[index &- 1]] { pair += pairSize }
                        let g2 = c2.slice(lasts[id], at: index, size: size2, in: right)
                        SmallProduct.multiply(
                            pair, rows: d0 &* d1, inner: r2, g2, columns: d2, into: output.row(id), space: space)
                    }
                    place = end
                }
            }
        }
    }

    /// G0[i0] · (G1[i1] · G2[i2]).
    private func rightFirst(
        _ order: UnsafePointer<Int>, _ count: Int, _ lasts: UnsafePointer<Int>, _ middles: UnsafePointer<Int>,
        _ firsts: UnsafePointer<Int>, _ output: RowBlock
    ) {
        let (d0, d1, d2) = shape.columns
        let (r1, r2) = shape.ranks
        let (size0, size1, size2) = shape.counts
        let (c0, c1, c2) = cores
        withSpaces { left, slice, right, product, space in
            var a: UnsafePointer<Float>?
            for place in 0..<count {
                let id = order[place]
                let previous = place > 0 ? order[place &- 1] : id
                let isNewMiddle = place == 0 || middles[id] != middles[previous]
                if isNewMiddle { a = c1.slice(middles[id], at: place, size: size1, in: slice) }
                guard let a else { return }
                if isNewMiddle || lasts[id] != lasts[previous] {
                    let b = c2.slice(lasts[id], at: place, size: size2, in: right)
                    SmallProduct.multiply(
                        a, rows: r1 &* d1, inner: r2, b, columns: d2, into: product, space: space)
                }
                let g0 = c0.slice(firsts[id], at: place, size: size0, in: left)
                SmallProduct.multiply(
                    g0, rows: d0, inner: r1, product, columns: d1 &* d2, into: output.row(id), space: space)
            }
        }
    }

    typealias Space = UnsafeMutablePointer<Float>

    private func withSpaces(_ body: (Space, Space, Space, Space, Space) -> Void) {
        let spaces = shape.spaces
        let (a, b) = (TrainShape.rounded(spaces.0), TrainShape.rounded(spaces.1))
        let (c, d) = (TrainShape.rounded(spaces.2), TrainShape.rounded(spaces.3))
        Scratch.with(a &+ b &+ c &+ d &+ TrainShape.rounded(spaces.4), of: Float.self) { base in
            body(base, base + a, base + (a &+ b), base + (a &+ b &+ c), base + (a &+ b &+ c &+ d))
        }
    }
}
