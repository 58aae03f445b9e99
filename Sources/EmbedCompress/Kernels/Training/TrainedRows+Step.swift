extension TrainedRows {
    /// Steps the rows of groups of a batch, each row once; they are shared among threads, each of which has memory of its
    /// own.
    ///
    /// - Parameters:
    ///   - groups: Those whose rows are in this table.
    ///   - first: The id of the table's first row.
    func step(
        _ order: SortedPositions, _ groups: Range<Int>, from first: Int, _ gradients: BatchGradients,
        _ optimizer: RowOptimizer, _ slots: WorkerSlots
    ) {
        func run<Elements: TrainedElements>(_: Elements.Type) {
            let update = RowUpdate<Elements>(
                self, gradients: gradients, order: order, firstRow: first, optimizer: optimizer)
            Parallel.forEach(count: groups.count, grain: max(Self.grain / dimension, 1)) { range in
                slots.with { slot in
                    for group in groups.lowerBound &+ range.lowerBound..<groups.lowerBound &+ range.upperBound {
                        let ahead = group &+ Self.groupsAhead
                        if ahead < groups.upperBound { update.prefetch(ahead) }
                        update.update(group, in: slot)
                    }
                }
            }
        }
        switch format {
        case .float32: run(TrainedFloats.self)
        case .bfloat16: run(TrainedBrainFloats.self)
        case .float16: run(TrainedHalves.self)
        case .int16: run(TrainedInt16.self)
        case .int8: run(TrainedInt8.self)
        case .int4: run(TrainedInt4.self)
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
