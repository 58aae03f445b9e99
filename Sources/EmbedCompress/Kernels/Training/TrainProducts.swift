/// Rows of a tensor train as it is trained, and the gradients of what they are made of.
///
/// A row is left · middle · right: `columns.0 x rank` numbers of its own, a slice of the middle core, `rank x (columns.1 x
/// rank)`, that several rows may share, and `rank x columns.2` numbers of its own. What has the same slice is worked on
/// together: the slice is read once, and its gradient written once, by one thread, so that results don't depend on the
/// number of threads.
package struct TrainProducts {
    /// d0, d1 and d2.
    package let columns: (Int, Int, Int)
    package let rank: Int
    /// `count` times `columns.0 x rank`.
    package let left: UnsafePointer<Float>
    /// `slices` times `rank x columns.1 x rank`.
    package let middle: UnsafePointer<Float>
    package let slices: Int
    /// `count` times `rank x columns.2`.
    package let right: UnsafePointer<Float>

    package init(
        columns: (Int, Int, Int), rank: Int, left: UnsafePointer<Float>, middle: UnsafePointer<Float>, slices: Int,
        right: UnsafePointer<Float>
    ) {
        (self.columns, self.rank, self.left) = (columns, rank, left)
        (self.middle, self.slices, self.right) = (middle, slices, right)
    }

    /// Where gradients go: of the left and the right numbers of each row, and of each slice that rows have, in rising
    /// order.
    package struct Gradients {
        let left: UnsafeMutablePointer<Float>
        let middle: UnsafeMutablePointer<Float>
        let right: UnsafeMutablePointer<Float>
        let slices: Int

        package init(
            left: UnsafeMutablePointer<Float>, middle: UnsafeMutablePointer<Float>, slices: Int,
            right: UnsafeMutablePointer<Float>
        ) {
            (self.left, self.middle, self.right, self.slices) = (left, middle, right, slices)
        }
    }

    private var leftSize: Int { columns.0 &* rank }
    var middleSize: Int { rank &* columns.1 &* rank }
    private var rightSize: Int { rank &* columns.2 }
    /// Of a product of left and middle.
    private var pairSize: Int { columns.0 &* columns.1 &* rank }
    var dimension: Int { columns.0 &* columns.1 &* columns.2 }

    /// Writes the rows, `owners.count * dimension` floats.
    ///
    /// - Parameter owners: The slice of each row.
    /// - Throws: ``EmbedCompressError/invalidID(position:id:rows:)`` for an owner outside `[0, slices)`; nothing is then
    ///   written.
    package func rows(_ owners: IDs, into output: UnsafeMutablePointer<Float>) throws {
        try each(owners, .forward) { order, group, space in forward(order, group, output, space) }
    }

    /// Writes the gradients, from those of the rows.
    ///
    /// - Throws: Like ``rows(_:into:)``, and ``EmbedCompressError/invalidArgument(_:)`` if there isn't room for as many
    ///   slices as owners name.
    package func gradients(_ owners: IDs, of rows: UnsafePointer<Float>, into gradients: Gradients) throws {
        try each(owners, slices: gradients.slices, .backward) { order, group, space in
            let total = gradients.middle + group &* middleSize
            backward(order, group, rows, gradients.left, total, gradients.right, space)
        }
    }

    // MARK: - Slices

    /// Rows that are multiplied with a slice at once.
    private static let most = 16
    /// Numbers that a thread makes at a time.
    private static let grain = 1 << 15

    /// What is done with slices, which says how much room it takes.
    enum Pass {
        case forward, backward, step
    }

    func each(
        _ owners: IDs, slices wanted: Int? = nil, _ pass: Pass, _ body: (SortedPositions, Int, Space) -> Void
    ) throws {
        guard owners.count > 0 else { return }
        let layout = Layout(self, pass)
        try Scratch.checking {
            try SortedPositions.with(owners, rows: slices) { order in
                if let wanted, wanted != order.groups {
                    throw EmbedCompressError.invalidArgument(
                        "there are \(order.groups) distinct slices, but room for the gradients of \(wanted)")
                }
                let grain = max(Self.grain / middleSize, 1)
                let count = min(Parallel.threadCount, (order.groups - 1) / grain + 1)
                Scratch.with(count * layout.floats, of: Float.self) { memory in
                    let slots = WorkerSlots(memory, count: count, stride: layout.floats)
                    Parallel.forEach(count: order.groups, grain: grain) { range in
                        slots.with { slot in
                            for group in range { body(order, group, Space(slot, layout)) }
                        }
                    }
                }
            }
        }
    }

    /// A slice, where it may be read up to fifteen floats past its end.
    private func slice(_ index: Int, _ space: Space) -> UnsafePointer<Float> {
        let source = middle + index &* middleSize
        // One that another thread steps must not be read.
        if index &+ 1 < slices, middleSize >= 15, !space.isStepped { return source }
        space.slice.update(from: source, count: middleSize)
        return UnsafePointer(space.slice)
    }

    /// Copies rows of the positions of `places`, one after the other.
    private func collect(
        _ source: UnsafePointer<Float>, _ size: Int, _ order: SortedPositions, _ places: Range<Int>,
        to target: UnsafeMutablePointer<Float>
    ) {
        for (index, place) in places.enumerated() {
            (target + index &* size).update(from: source + order.position(place) &* size, count: size)
        }
    }

    // MARK: - Forward

    private func forward(
        _ order: SortedPositions, _ group: Int, _ output: UnsafeMutablePointer<Float>, _ space: Space
    ) {
        let slice = slice(order.row(group), space)
        chunks(order.places(group)) { places in
            multiply(order, places, slice, space)
            for (index, place) in places.enumerated() {
                let position = order.position(place)
                space.right.update(from: right + position &* rightSize, count: rightSize)
                SmallProduct.multiply(
                    space.pairs + index &* pairSize, rows: columns.0 &* columns.1, inner: rank, space.right,
                    columns: columns.2, into: output + position &* dimension, space: space.small)
            }
        }
    }

    /// Products of left and middle, into `space.pairs`; left ones stay in `space.left`.
    private func multiply(_ order: SortedPositions, _ places: Range<Int>, _ slice: UnsafePointer<Float>, _ space: Space)
    {
        collect(left, leftSize, order, places, to: space.left)
        SmallProduct.multiply(
            space.left, rows: places.count &* columns.0, inner: rank, slice, columns: columns.1 &* rank,
            into: space.pairs, space: space.small)
    }

    private func chunks(_ places: Range<Int>, _ body: (Range<Int>) -> Void) {
        for first in stride(from: places.lowerBound, to: places.upperBound, by: Self.most) {
            body(first..<min(first &+ Self.most, places.upperBound))
        }
    }

    // MARK: - Backward

    /// Writes the gradients of a group: that of its slice to `total`, and those of all rows' left and right numbers.
    func backward(
        _ order: SortedPositions, _ group: Int, _ rows: UnsafePointer<Float>,
        _ leftGradients: UnsafeMutablePointer<Float>, _ total: UnsafeMutablePointer<Float>,
        _ rightGradients: UnsafeMutablePointer<Float>, _ space: Space
    ) {
        let slice = slice(order.row(group), space)
        let width = columns.1 &* rank
        chunks(order.places(group)) { places in
            multiply(order, places, slice, space)
            for (index, place) in places.enumerated() {
                outer(order.position(place), space.pairs + index &* pairSize, rows, rightGradients, space, index)
            }
            // The slice's: left, transposed, times the slopes of the products.
            let count = places.count &* columns.0
            transpose(space.left, rows: count, columns: rank, to: space.turned)
            let isFirst = places.lowerBound == order.places(group).lowerBound
            SmallProduct.multiply(
                space.turned, rows: rank, inner: count, space.slopes, columns: width,
                into: isFirst ? total : space.sums, space: space.small)
            if !isFirst { for index in 0..<middleSize { total[index] += space.sums[index] } }
            // Left ones, transposed: the slice times the slopes, transposed.
            transpose(space.slopes, rows: count, columns: width, to: space.turned)
            SmallProduct.multiply(
                slice, rows: rank, inner: width, space.turned, columns: count, into: space.pairs, space: space.small)
            transpose(space.pairs, rows: rank, columns: count, to: space.left)
            for (index, place) in places.enumerated() {
                (leftGradients + order.position(place) &* leftSize).update(
                    from: space.left + index &* leftSize, count: leftSize)
            }
        }
    }

    /// The gradient of a row's right numbers, and the slopes of its product of left and middle.
    private func outer(
        _ position: Int, _ pair: UnsafePointer<Float>, _ rows: UnsafePointer<Float>,
        _ rightGradients: UnsafeMutablePointer<Float>, _ space: Space, _ index: Int
    ) {
        let outer = columns.0 &* columns.1
        space.row.update(from: rows + position &* dimension, count: dimension)
        transpose(pair, rows: outer, columns: rank, to: space.turned)
        SmallProduct.multiply(
            space.turned, rows: rank, inner: outer, space.row, columns: columns.2,
            into: rightGradients + position &* rightSize, space: space.small)
        transpose(right + position &* rightSize, rows: rank, columns: columns.2, to: space.right)
        SmallProduct.multiply(
            space.row, rows: outer, inner: columns.2, space.right, columns: rank,
            into: space.slopes + index &* pairSize, space: space.small)
    }

    private func transpose(
        _ source: UnsafePointer<Float>, rows: Int, columns: Int, to target: UnsafeMutablePointer<Float>
    ) {
        for row in 0..<rows {
            for column in 0..<columns { target[column &* rows &+ row] = source[row &* columns &+ column] }
        }
    }

    // MARK: - Room

    /// How many floats each part of the room of a thread has.
    struct Layout {
        let slice, left, right, pairs, slopes, row, turned, sums, small, total, moved: Int
        let isStepped: Bool

        init(_ products: TrainProducts, _ pass: Pass) {
            let (d0, d1, d2) = products.columns
            let (rank, count) = (products.rank, TrainProducts.most &* d0)
            let backward = pass == .forward ? 0 : 1
            isStepped = pass == .step
            total = isStepped ? RowUpdate<TrainedFloats>.padded(products.middleSize) : 0
            moved = total
            slice = products.middleSize
            left = count &* rank
            right = products.rightSize
            pairs = count &* d1 &* rank
            slopes = backward &* pairs
            row = backward &* products.dimension
            turned = backward &* max(pairs, left)
            sums = backward &* products.middleSize
            // Products with up to eight columns need room by how many numbers are summed up for each.
            small =
                [
                    SmallProduct.space(k: rank, n: d1 &* rank), SmallProduct.space(k: rank, n: d2),
                    SmallProduct.space(k: max(d0 &* d1, count), n: min(d2, d1 &* rank)),
                    SmallProduct.space(k: d2, n: rank), SmallProduct.space(k: d1 &* rank, n: 1),
                ].max() ?? 0
        }

        /// Of all parts, each with what may be read past its end.
        var floats: Int {
            let parts = [slice, left, right, pairs, slopes, row, turned, sums, small, total, moved]
            return parts.reduce(0) { $0 + TrainShape.rounded($1) }
        }
    }

    /// The room of a thread.
    struct Space {
        let slice, left, right, pairs, slopes, row, turned, sums, small, total, moved: UnsafeMutablePointer<Float>
        /// Whether slices change.
        let isStepped: Bool

        init(_ base: UnsafeMutablePointer<Float>, _ layout: Layout) {
            slice = base
            left = slice + TrainShape.rounded(layout.slice)
            right = left + TrainShape.rounded(layout.left)
            pairs = right + TrainShape.rounded(layout.right)
            slopes = pairs + TrainShape.rounded(layout.pairs)
            row = slopes + TrainShape.rounded(layout.slopes)
            turned = row + TrainShape.rounded(layout.row)
            sums = turned + TrainShape.rounded(layout.turned)
            small = sums + TrainShape.rounded(layout.sums)
            total = small + TrainShape.rounded(layout.small)
            moved = total + TrainShape.rounded(layout.total)
            isStepped = layout.isStepped
        }
    }
}
