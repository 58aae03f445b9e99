extension TrainProducts {
    /// Steps the slices that rows have, each against its gradient while that is at hand, and writes the gradients of left
    /// and right numbers, which are those before the step. No gradients of slices lie in memory.
    ///
    /// - Parameters:
    ///   - owners: The slice of each row.
    ///   - rows: The gradients of the rows; they, and where gradients go, overlap no memory of the table.
    ///   - table: The middle core: `slices` rows of float32, `rank x columns.1 x rank` numbers each, where `middle` is.
    /// - Throws: ``EmbedCompressError/invalidID(position:id:rows:)`` for an owner outside `[0, slices)`, and
    ///   ``EmbedCompressError/invalidArgument(_:)`` for a gradient of a row that is not finite, for another table, for
    ///   numbers of an optimizer that make none, and where there is no memory for its state. Nothing is then written.
    package func step(
        _ owners: IDs, of rows: UnsafePointer<Float>, left: UnsafeMutablePointer<Float>,
        right: UnsafeMutablePointer<Float>, _ table: TrainedRows, _ optimizer: RowOptimizer
    ) throws {
        guard table.format == .float32, table.rows == slices, table.dimension == middleSize,
            UnsafeRawPointer(table.elements) == UnsafeRawPointer(middle)
        else {
            throw EmbedCompressError.invalidArgument("the table must be the middle core, in float32")
        }
        try optimizer.check()
        try table.checkState(optimizer.kind)
        let slopes = BatchGradients(values: rows, rows: owners.count)
        try slopes.checkFinite(dimension: dimension, "slopes")
        let padded = RowUpdate<TrainedFloats>.padded(middleSize)
        try each(owners, .step) { order, group, space in
            backward(order, group, rows, left, space.total, right, space)
            (space.total + middleSize).update(repeating: 0, count: padded - middleSize)
            let update = RowUpdate<TrainedFloats>(
                table, gradients: slopes, order: order, firstRow: 0, optimizer: optimizer)
            update.step(order.row(group), against: space.total, space.moved)
        }
    }
}
