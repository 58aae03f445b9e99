/// Tables that are trained as one: the rows of each follow those of the one before it.
package struct TrainedTables {
    /// Of all tables.
    package let rows: Int
    package let dimension: Int
    private let tables: [TrainedRows]

    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for no table, for tables of different dimensions, and for more
    ///   rows than can be counted.
    package init(_ tables: [TrainedRows]) throws {
        guard let first = tables.first else { throw EmbedCompressError.invalidArgument("there must be a table") }
        var rows = 0
        for (number, table) in tables.enumerated() {
            guard table.dimension == first.dimension else {
                throw EmbedCompressError.invalidArgument(
                    "tables must have the same dimension, but that of table \(number) is \(table.dimension), not "
                        + "\(first.dimension)")
            }
            let (sum, overflow) = rows.addingReportingOverflow(table.rows)
            guard !overflow else { throw EmbedCompressError.invalidArgument("the tables have too many rows") }
            rows = sum
        }
        (self.tables, self.rows, dimension) = (tables, rows, first.dimension)
    }

    /// Writes the rows of ids as floats, `ids.count * dimension` of them.
    ///
    /// - Throws: ``EmbedCompressError/invalidID(position:id:rows:)`` for an id outside `[0, rows)`; nothing is then
    ///   written.
    package func gather(_ ids: IDs, into output: UnsafeMutablePointer<Float>) throws {
        try ids.requireValid(rows: rows)
        Parallel.forEach(count: ids.count, grain: max(TrainedRows.grain / dimension, 1)) { positions in
            each { table, _, first in table.gather(ids, positions, from: first, into: output) }
        }
    }

    /// Writes the sums or means of the rows of bags, `bags.count * dimension` floats; an empty bag gives zeros. The rows of
    /// a bag are added up table after table, those of one in the order of the ids.
    ///
    /// - Throws: ``EmbedCompressError/invalidID(position:id:rows:)`` for an id outside `[0, rows)`, and
    ///   ``EmbedCompressError/invalidArgument(_:)`` for offsets that are none, and for what training has no bags of: maxima,
    ///   ids to leave out, and invalid ids that are not errors. Nothing is then written.
    package func pool(_ bags: Bags, into output: UnsafeMutablePointer<Float>) throws {
        try check(bags)
        try bags.ids.requireValid(rows: rows)
        let each = max(bags.ids.count / max(bags.count, 1), 1)
        Parallel.forEach(count: bags.count, grain: max(TrainedRows.grain / dimension / each, 1)) { range in
            (output + range.lowerBound * dimension).update(repeating: 0, count: range.count * dimension)
            self.each { table, _, first in table.add(bags, range, from: first, to: output) }
            guard bags.pooling == .mean else { return }
            for bag in range {
                let places = bags.places(bag)
                guard !places.isEmpty else { continue }
                let target = output + bag * dimension
                for column in 0..<dimension { target[column] /= Float(places.count) }
            }
        }
    }

    /// Steps the rows of ids against their gradients, each row once: the gradients of an id that is there several times are
    /// added up first. Rows of table k are rounded with the optimizer's seed plus k. Results don't depend on the number of
    /// threads.
    ///
    /// Sums of gradients that overflow make rows of floats that are not finite, and codes at the ends of their range.
    ///
    /// - Parameter gradients: `ids.count * dimension` numbers, which no memory of the tables overlaps.
    /// - Throws: ``EmbedCompressError/invalidID(position:id:rows:)`` for an id outside `[0, rows)`, and
    ///   ``EmbedCompressError/invalidArgument(_:)`` for a gradient that is not finite, for numbers of an optimizer that
    ///   make none, and where there is no memory for its state. Nothing is then written.
    package func step(_ ids: IDs, gradients: UnsafePointer<Float>, _ optimizer: RowOptimizer) throws {
        try check(optimizer)
        try Scratch.checking {
            try step(ids, BatchGradients(values: gradients, rows: ids.count), optimizer)
        }
    }

    /// Steps the rows of bags against the gradients of their sums or means, `bags.count * dimension` numbers: the gradient of
    /// a row is that of its bag, times the id's weight or over the number of ids. Otherwise as without bags.
    package func step(_ bags: Bags, gradients: UnsafePointer<Float>, _ optimizer: RowOptimizer) throws {
        try check(optimizer)
        try check(bags)
        try Scratch.checking {
            try BatchGradients.with(bags, values: gradients) { try step(bags.ids, $0, optimizer) }
        }
    }

    private func step(_ ids: IDs, _ gradients: BatchGradients, _ optimizer: RowOptimizer) throws {
        guard ids.count > 0 else { return }
        try SortedPositions.with(ids, rows: rows) { order in
            try gradients.checkFinite(dimension: dimension, "gradients")
            let slots = min(Parallel.threadCount, (order.groups - 1) / max(TrainedRows.grain / dimension, 1) + 1)
            let stride = RowUpdate<TrainedFloats>.slotFloats(dimension: dimension)
            Scratch.with(slots * stride, of: Float.self) { memory in
                let slots = WorkerSlots(memory, count: slots, stride: stride)
                each { table, number, first in
                    var own = optimizer
                    own.seed &+= number
                    table.step(order, order.groups(of: first..<first + table.rows), from: first, gradients, own, slots)
                }
            }
        }
    }

    /// Calls `body` with each table, its number, and how many rows are before its own.
    @inline(__always)
    private func each(_ body: (TrainedRows, Int, Int) -> Void) {
        var first = 0
        for (number, table) in tables.enumerated() {
            body(table, number, first)
            first &+= table.rows
        }
    }

    private func check(_ optimizer: RowOptimizer) throws {
        try optimizer.check()
        for table in tables { try table.checkState(optimizer.kind) }
    }

    private func check(_ bags: Bags) throws {
        try bags.check()
        // Offsets may have changed since.
        guard bags.count > 0 || bags.ids.count == 0 else {
            throw EmbedCompressError.invalidArgument("there are \(bags.ids.count) ids but no bags")
        }
        guard bags.pooling != .max else {
            throw EmbedCompressError.invalidArgument("the mode of a table that is trained must be sum or mean")
        }
        guard bags.paddingID < 0, bags.onInvalid == .raise else {
            throw EmbedCompressError.invalidArgument(
                "a table that is trained has no padding id, and invalid ids are errors")
        }
        guard bags.count <= Int(Int32.max) else {
            throw EmbedCompressError.invalidArgument("\(bags.count) bags are too many for one step")
        }
        guard let weights = bags.weights, let place = (0..<bags.ids.count).first(where: { !weights[$0].isFinite })
        else {
            return
        }
        throw EmbedCompressError.invalidArgument(
            "weights must be finite, but the one at position \(place) is \(weights[place])")
    }
}
