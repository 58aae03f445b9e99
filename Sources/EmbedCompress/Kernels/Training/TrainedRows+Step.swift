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
        guard ids.count > 0 else { return }
        try Scratch.checking {
            try SortedPositions.with(ids, rows: rows) { order in
                try checkFinite(gradients, count: ids.count, "gradients")
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
    }

    private func update<Elements>(
        _: Elements.Type, _ gradients: UnsafePointer<Float>, _ order: SortedPositions, _ optimizer: RowOptimizer
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

    private func checkState(_ kind: RowOptimizer.Kind) throws {
        let needsElements = kind == .adagrad || kind == .rowwiseAdam
        let needsRows = kind == .rowwiseAdagrad || kind == .rowwiseAdam
        for (name, isMissing) in [
            ("scales", format.isScaled && scales == nil), ("element_state", needsElements && elementState == nil),
            ("row_state", needsRows && rowState == nil),
        ] where isMissing {
            throw EmbedCompressError.invalidArgument("\(name) must not be null")
        }
    }

    /// Throws ``EmbedCompressError/invalidArgument(_:)`` if one of `count * dimension` numbers is not finite.
    func checkFinite(_ gradients: UnsafePointer<Float>, count: Int, _ name: String) throws {
        let total = count * dimension
        let bad = AtomicInt(0)
        Parallel.forEach(count: total, grain: 1 << 15) { range in
            // 0 times a number that isn't finite is NaN, and stays it.
            var (zeros, place) = (Floats16(), range.lowerBound)
            while place &+ 16 <= range.upperBound {
                zeros += load16(gradients + place) * 0
                place &+= 16
            }
            var rest = zeros.sum()
            while place < range.upperBound {
                rest += gradients[place] * 0
                place &+= 1
            }
            if rest != 0 { bad.value = 1 }
        }
        guard bad.value != 0, let place = (0..<total).first(where: { !gradients[$0].isFinite }) else { return }
        throw EmbedCompressError.invalidArgument(
            "\(name) must be finite, but the one at position \(place / dimension) has \(gradients[place]) in column "
                + "\(place % dimension)")
    }
}
