extension TrainedRows {
    /// Steps the rows of ids against their gradients, each row once: the gradients of an id that is there several times are
    /// added up first. Results don't depend on the number of threads.
    ///
    /// Sums of gradients that overflow make rows of floats that are not finite, and codes at the ends of their range.
    ///
    /// - Parameter gradients: `ids.count * dimension` numbers, which no memory of the table overlaps.
    /// - Throws: ``EmbedCompressError/invalidID(position:id:rows:)`` for an id outside `[0, rows)`, and
    ///   ``EmbedCompressError/invalidArgument(_:)`` for a gradient that is not finite, for numbers of an optimizer that
    ///   make none, and where there is no memory for its state. Nothing is then written.
    package func step(_ ids: IDs, gradients: UnsafePointer<Float>, _ optimizer: RowOptimizer) throws {
        try optimizer.check()
        try checkState(optimizer.kind)
        try Scratch.checking {
            try step(ids, BatchGradients(values: gradients, rows: ids.count), optimizer)
        }
    }

    /// Steps the rows of bags against the gradients of their sums or means, `bags.count * dimension` numbers: the gradient of
    /// a row is that of its bag, times the id's weight or over the number of ids. Otherwise as without bags.
    package func step(_ bags: Bags, gradients: UnsafePointer<Float>, _ optimizer: RowOptimizer) throws {
        try optimizer.check()
        try checkState(optimizer.kind)
        try check(bags)
        try Scratch.checking {
            try BatchGradients.with(bags, values: gradients) { try step(bags.ids, $0, optimizer) }
        }
    }

    private func step(_ ids: IDs, _ gradients: BatchGradients, _ optimizer: RowOptimizer) throws {
        guard ids.count > 0 else { return }
        try SortedPositions.with(ids, rows: rows) { order in
            try gradients.checkFinite(dimension: dimension, "gradients")
            let chunks = max(Self.grain / dimension, 1)
            let slots = min(Parallel.threadCount, (order.groups - 1) / chunks + 1)
            let stride = RowUpdate<TrainedFloats>.slotFloats(dimension: dimension)
            Scratch.with(slots * stride, of: Float.self) { memory in
                let slots = WorkerSlots(memory, count: slots, stride: stride)
                switch format {
                case .float32: run(chunks, slots, update(TrainedFloats.self, gradients, order, optimizer))
                case .bfloat16: run(chunks, slots, update(TrainedBrainFloats.self, gradients, order, optimizer))
                case .float16: run(chunks, slots, update(TrainedHalves.self, gradients, order, optimizer))
                case .int16: run(chunks, slots, update(TrainedInt16.self, gradients, order, optimizer))
                case .int8: run(chunks, slots, update(TrainedInt8.self, gradients, order, optimizer))
                case .int4: run(chunks, slots, update(TrainedInt4.self, gradients, order, optimizer))
                }
            }
        }
    }

    private func update<Elements>(
        _: Elements.Type, _ gradients: BatchGradients, _ order: SortedPositions, _ optimizer: RowOptimizer
    ) -> RowUpdate<Elements> {
        RowUpdate(self, gradients: gradients, order: order, optimizer: optimizer)
    }

    /// Rows are shared among threads, each of which has memory of its own.
    private func run<Elements>(_ grain: Int, _ slots: WorkerSlots, _ update: RowUpdate<Elements>) {
        Parallel.forEach(count: update.order.groups, grain: grain) { range in
            slots.with { slot in
                for group in range {
                    if group &+ Self.groupsAhead < update.order.groups { update.prefetch(group &+ Self.groupsAhead) }
                    update.update(group, in: slot)
                }
            }
        }
    }

    func checkState(_ kind: RowOptimizer.Kind) throws {
        let needsElements = kind == .adagrad || kind == .rowwiseAdam
        let needsRows = kind == .rowwiseAdagrad || kind == .rowwiseAdam
        for (name, isMissing) in [
            ("scales", format.isScaled && scales == nil), ("element_state", needsElements && elementState == nil),
            ("row_state", needsRows && rowState == nil),
        ] where isMissing {
            throw EmbedCompressError.invalidArgument("\(name) must not be null")
        }
    }
}
