extension Uniform {
    /// Scales and biases are finite.
    func verify(_ arrays: ArrayCheck) throws {
        if let shared {
            try arrays.checkFinite(shared.memory.bytes, .float32, called: "the table's scale and bias")
            return
        }
        let (groups, scaleType) = (layout.groups, scaleType)
        try arrays.forEachRow(of: memory) { row, place in
            for group in groups {
                let parameters = place + group.parameterOffset
                let both =
                    scaleType == .float16 ? HalfScaled.parameters(parameters) : FloatScaled.parameters(parameters)
                guard both[0].isFinite, both[1].isFinite else {
                    throw EmbedCompressError.format(
                        .notFinite(place: "the scale and the bias of row \(row) from column \(group.firstColumn) on"))
                }
            }
        }
    }
}

extension Codebook {
    /// Entries and scales are finite, and rows are of clusters that there are.
    func verify(_ arrays: ArrayCheck) throws {
        if let shared { try arrays.checkFinite(shared.memory.bytes, entryType, called: "the codebooks") }
        let (layout, entryType) = (layout, entryType)
        // What a row has behind its codes.
        let own = layout.scope == .row ? layout.entryCount : rowScale == nil ? 0 : 1
        try arrays.forEachRow(of: memory) { row, place in
            let behind = place + layout.codeBytes
            if layout.scope == .cluster {
                let cluster = (0..<layout.indexBytes).reduce(0) { index, byte in
                    index | Int(behind.load(fromByteOffset: byte, as: UInt8.self)) << (8 * byte)
                }
                guard cluster < layout.clusters else {
                    throw EmbedCompressError.format(
                        .badCluster(row: row, cluster: cluster, clusters: layout.clusters))
                }
            }
            let numbers = NumberPlaces(
                base: behind, readableBytes: own * entryType.byteCount, isHalf: entryType == .float16, isAligned: false)
            for index in 0..<own where !numbers[index].isFinite {
                throw EmbedCompressError.format(.notFinite(place: "what row \(row) has behind its codes"))
            }
        }
    }
}

extension Product {
    /// Entries are finite; every code has one.
    func verify(_ arrays: ArrayCheck) throws {
        try arrays.checkFinite(books, element, called: "the codebooks")
    }
}
