/// Parameters that rows share: one scale and bias for a table, or the codebooks of clusters of rows.
///
/// They are rows of a memory of their own, which also has a row of zeros for id -1, whatever its codes are decoded with.
struct SharedParameters: Sendable {
    let memory: RowMemory
    /// Where a row says which parameters are its own, little endian; nil where all rows have the first.
    let index: (offset: Int, bytes: Int)?

    /// The parameters of a block's rows. Indices may come from a file that nobody has read through: each is read once
    /// and checked here, and a row with a bad one is zeros.
    @inline(__always)
    func locate(
        _ ids: IDBlock, _ rows: UnsafePointer<UnsafeRawPointer>, of source: RowPlaces,
        into places: UnsafeMutablePointer<UnsafeRawPointer>, prefetchDistance: Int, _ context: LookupContext
    ) {
        withUnsafeTemporaryAllocation(of: Int64.self, capacity: ids.count) { selected in
            guard let target = selected.baseAddress else { return }
            guard let index else {
                for position in 0..<ids.count { target[position] = ids.ids[position] &>> 63 }
                return memory.places.locate(IDBlock(ids: target, count: ids.count), places)
            }
            let mask = index.bytes == 4 ? UInt32.max : 1 << UInt32(8 &* index.bytes) &- 1
            let limit = Int64(memory.rows)
            let prefetchEnd = source.isWorthPrefetching ? ids.count &- prefetchDistance : 0
            for position in 0..<ids.count {
                if position < prefetchEnd { source.prefetch(rows[position &+ prefetchDistance]) }
                let word = (rows[position] + index.offset).loadUnaligned(as: UInt32.self)
                let entry = Int64(UInt32(littleEndian: word) & mask)
                let id = ids.ids[position]
                target[position] = id < 0 ? -1 : entry
                if entry >= limit, id >= 0 {
                    context.recordBadCluster(row: Int(id), cluster: Int(entry), clusters: memory.rows)
                    target[position] = -1
                }
            }
            memory.places.locate(IDBlock(ids: target, count: ids.count), places)
            if memory.places.isWorthPrefetching {
                for position in 0..<ids.count { memory.places.prefetch(places[position]) }
            }
        }
    }
}
