/// The groups that a row's columns make, in order. A row can have very many, so each is worked out when it is asked for.
struct ColumnGroups: RandomAccessCollection, Sendable {
    let startIndex = 0
    let endIndex: Int
    private let first: ColumnGroup
    /// Columns of all groups; the last group may have fewer than the others.
    private let dimension: Int
    /// Bytes from one group's first column to the next one's, and from its parameters to the next one's.
    private let step: Int
    private let parameterStep: Int

    /// The only group.
    init(_ group: ColumnGroup) {
        (first, dimension, endIndex, step, parameterStep) = (group, group.columns, 1, 0, 0)
    }

    /// Groups of `width` columns of `bits` bits, which fill whole bytes unless one group is all of the row.
    ///
    /// - Parameters:
    ///   - parameterOffset: Bytes from the start of the row to the parameters of the first group.
    ///   - parameterStep: Bytes of the parameters of a group; 0 where all share them.
    init(dimension: Int, width: Int, bits: Int, parameterOffset: Int, parameterStep: Int) {
        first = ColumnGroup(firstColumn: 0, columns: width, offset: 0, parameterOffset: parameterOffset)
        (self.dimension, self.parameterStep) = (dimension, parameterStep)
        endIndex = (dimension + width - 1) / width
        step = width * bits / 8
    }

    @inline(__always)
    subscript(index: Int) -> ColumnGroup {
        let start = index &* first.columns
        return ColumnGroup(
            firstColumn: start, columns: Swift.min(first.columns, dimension &- start), offset: index &* step,
            parameterOffset: first.parameterOffset &+ index &* parameterStep, bits: first.bits,
            scaleOffset: first.scaleOffset)
    }
}
