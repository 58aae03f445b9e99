extension Remap {
    /// Entries of a map lead to rows of the inner table, or to zeros.
    func verify(_ arrays: ArrayCheck) throws {
        guard case .map(let map, let blockRows, let offset) = function else { return }
        let (reader, innerRows, end) = (map.reader, inner.rows, offset + rows)
        let blocks = Function.blocks(innerRows, of: blockRows)
        try withExtendedLifetime(map.bytes.storage) {
            try arrays.forEach(count: map.count, byteCount: map.bytes.count) { range in
                for position in range {
                    let entry = reader[position]
                    if entry == UInt64(blocks) { continue }
                    // Ids of the block, of which the last one may have fewer.
                    let ids = min(blockRows, end - position * blockRows)
                    guard entry < UInt64(blocks), innerRows - Int(entry) * blockRows >= ids else {
                        throw EmbedCompressError.format(
                            .badMapEntry(position: position, entry: Int(truncatingIfNeeded: entry), rows: blocks))
                    }
                }
            }
        }
    }
}

extension Partition {
    /// Each id is of a table that there is, blocks count the ids before them, and each table has as many ids as rows.
    func verify(_ arrays: ArrayCheck) throws {
        guard let ranks else { return }
        let reader = PartRanks.Reader(base: ranks.bytes.pointer, parts: parts.count, offset: ranks.offset)
        var counts = [Int](repeating: 0, count: parts.count)
        try withExtendedLifetime(ranks.bytes.storage) {
            for id in 0..<rows {
                let isFirst = id == 0 || (id + ranks.offset) % PartRanks.blockIDs == 0
                if isFirst {
                    for part in parts.indices where reader.rank(id, part: part) - ranks.firstRanks[part] != counts[part]
                    {
                        throw EmbedCompressError.format(
                            .badRank(
                                row: id, rank: reader.rank(id, part: part) - ranks.firstRanks[part],
                                rows: parts[part].rows))
                    }
                    try arrays.advance(by: reader.blockBytes)
                }
                let part = reader.part(id)
                guard part < parts.count else {
                    throw EmbedCompressError.format(.badPart(row: id, part: part, parts: parts.count))
                }
                guard counts[part] < parts[part].rows else {
                    throw EmbedCompressError.format(
                        .badRank(row: id, rank: counts[part], rows: parts[part].rows))
                }
                counts[part] += 1
            }
        }
    }
}
