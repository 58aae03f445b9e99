/// Reading rows for nothing: what a lookup can't take less time than.
extension RowPlaces {
    /// Reads a byte of every cache line of the rows of a block, asked for as the kernels ask for them. Returns the sum
    /// of the bytes at 0, 64, 128 and so on, and of the last one, of each row, which no compiler can leave out.
    func touch(_ ids: IDBlock) -> Int {
        withUnsafeTemporaryAllocation(of: UnsafeRawPointer.self, capacity: max(ids.count, 1)) { pointers in
            guard let rows = pointers.baseAddress else { return 0 }
            locate(ids, rows)
            let last = max(rowBytes &- 1, 0)
            var prefetchEnd = 0
            if isWorthPrefetching {
                for index in 0..<min(prefetchDistance, ids.count) { prefetch(rows[index]) }
                prefetchEnd = ids.count &- prefetchDistance
            }
            var sum = 0
            for index in 0..<ids.count {
                if index < prefetchEnd { prefetch(rows[index &+ prefetchDistance]) }
                let row = rows[index]
                var offset = 0
                while offset < rowBytes {
                    sum &+= Int(row.load(fromByteOffset: offset, as: UInt8.self))
                    offset &+= 64
                }
                sum &+= Int(row.load(fromByteOffset: last, as: UInt8.self))
            }
            return sum
        }
    }
}
