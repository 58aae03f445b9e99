extension Sparse {
    /// Rows of non-zeros ascend and are no longer than a row can be, and columns are below the dimension.
    func verify(_ arrays: ArrayCheck) throws {
        let places = places
        try withExtendedLifetime(self) {
            switch layout {
            case .compressedRows: try checkPointers(places, arrays)
            case .coordinates: try checkRowOrder(places, arrays)
            }
            try checkColumns(places, arrays)
        }
    }

    private func checkPointers(_ places: SparsePlaces, _ arrays: ArrayCheck) throws {
        if rows == 0, nonzeros > 0 { throw EmbedCompressError.format(.badRowPointers(row: 0)) }
        try arrays.forEach(count: rows, byteCount: ownBytes / 2) { range in
            for row in range {
                let (start, end) = (places.index[row] &- places.first, places.index[row + 1] &- places.first)
                guard start <= end, end <= UInt64(nonzeros), row > 0 || start == 0,
                    row < rows - 1 || end == UInt64(nonzeros)
                else { throw EmbedCompressError.format(.badRowPointers(row: row)) }
                guard end - start <= UInt64(places.longest) else {
                    throw EmbedCompressError.format(.longRow(row: row, limit: places.longest))
                }
            }
        }
    }

    private func checkRowOrder(_ places: SparsePlaces, _ arrays: ArrayCheck) throws {
        let longest = places.longest
        try arrays.forEach(count: nonzeros, byteCount: ownBytes / 2) { range in
            for position in range {
                let row = places.index[position] &- places.first
                guard row < UInt64(rows), position == 0 || places.index[position - 1] <= places.index[position] else {
                    throw EmbedCompressError.format(.unsortedRows(position: position))
                }
                guard position < longest || places.index[position - longest] != places.index[position] else {
                    throw EmbedCompressError.format(.longRow(row: Int(row), limit: longest))
                }
            }
        }
    }

    private func checkColumns(_ places: SparsePlaces, _ arrays: ArrayCheck) throws {
        try arrays.forEach(count: nonzeros, byteCount: ownBytes / 2) { range in
            for position in range where places.columns[position] >= UInt64(dimension) {
                let column = Int(truncatingIfNeeded: places.columns[position])
                throw EmbedCompressError.format(
                    .badColumn(row: row(of: position, places), column: column, dimension: dimension))
            }
        }
    }

    /// The row of a non-zero, for messages.
    private func row(of position: Int, _ places: SparsePlaces) -> Int {
        switch layout {
        case .compressedRows:
            return max(places.index.lowerBound(places.first &+ UInt64(position) &+ 1) - 1, 0)
        case .coordinates: return Int(truncatingIfNeeded: places.index[position] &- places.first)
        }
    }
}
