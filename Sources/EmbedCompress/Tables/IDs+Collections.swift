extension IDs {
    /// Calls `body` with ids of any integer type: where they are if they lie in one piece in 4 or 8 bytes with a sign,
    /// and on a copy if not. Ids beyond 64 bits become the nearest that there are, which no table has either.
    @inlinable
    package static func with<Indices: Collection, Result>(
        _ ids: Indices, _ body: (IDs) throws -> Result
    ) throws -> Result where Indices.Element: BinaryInteger {
        if Indices.Element.self == Int.self || Indices.Element.self == Int64.self
            || Indices.Element.self == Int32.self
        {
            let result = try ids.withContiguousStorageIfAvailable { elements in
                try body(
                    IDs(
                        base: UnsafeRawPointer(elements.baseAddress), count: elements.count,
                        width: MemoryLayout<Indices.Element>.size))
            }
            if let result { return result }
        }
        return try ids.map { Int64(clamping: $0) }.withUnsafeBufferPointer { elements in
            try body(IDs(base: UnsafeRawPointer(elements.baseAddress), count: elements.count, width: 8))
        }
    }
}

extension Table {
    /// Rows of `ids`, one after the other: `ids.count * dimension` floats. Ids are of any integer type, in an array, a
    /// slice, a set or any other collection; arrays of `Int`, `Int64` and `Int32` are not copied.
    ///
    /// - Throws: ``EmbedCompressError/invalidID(position:id:rows:)`` for an id outside `[0, rows)`, unless `onInvalid`
    ///   is `.zero`.
    @inlinable
    public func lookup<Indices: Collection>(_ ids: Indices, onInvalid: InvalidIDs = .raise) throws -> [Float]
    where Indices.Element: BinaryInteger {
        try IDs.with(ids) { try lookup($0, onInvalid: onInvalid) }
    }

    /// Writes the rows of `ids`, one after the other, to a caller's memory, which nothing is allocated beside.
    ///
    /// - Parameter output: `ids.count * dimension` floats, initialised or not. On an error they may hold anything.
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for another size, and
    ///   ``EmbedCompressError/invalidID(position:id:rows:)`` for an id outside `[0, rows)`, unless `onInvalid` is
    ///   `.zero`; nothing is then written.
    @inlinable
    public func lookup<Indices: Collection>(
        _ ids: Indices, into output: UnsafeMutableBufferPointer<Float>, onInvalid: InvalidIDs = .raise
    ) throws where Indices.Element: BinaryInteger {
        try IDs.with(ids) { try lookup($0, onInvalid: onInvalid, into: output) }
    }

    /// Row `id`: `dimension` floats.
    ///
    /// - Throws: ``EmbedCompressError/invalidID(position:id:rows:)`` for an id outside `[0, rows)`.
    @inlinable
    public subscript<ID: BinaryInteger>(id: ID) -> [Float] {
        get throws { try lookup(CollectionOfOne(id)) }
    }

    /// Pooled rows, as ``bag(_:offsets:pooling:weights:paddingID:includesLastOffset:onInvalid:)-([Int],_,_,_,_,_,_)``
    /// gives them, of ids and offsets of any integer types in any collections.
    @inlinable
    public func bag<Indices: Collection, Offsets: Collection>(
        _ ids: Indices, offsets: Offsets, pooling: Pooling = .sum, weights: [Float]? = nil, paddingID: Int? = nil,
        includesLastOffset: Bool = false, onInvalid: InvalidIDs = .raise
    ) throws -> [Float] where Indices.Element: BinaryInteger, Offsets.Element: BinaryInteger {
        try IDs.with(ids) { ids in
            try IDs.with(offsets) { offsets in
                try bag(
                    ids, offsets: offsets, pooling: pooling, weights: weights, paddingID: paddingID,
                    includesLastOffset: includesLastOffset, onInvalid: onInvalid)
            }
        }
    }

    /// The same, written to a caller's memory, which nothing is allocated beside.
    ///
    /// - Parameter output: `dimension` floats for each bag, initialised or not. On an error they may hold anything.
    /// - Throws: As the one that returns an array, and ``EmbedCompressError/invalidArgument(_:)`` for another size.
    @inlinable
    public func bag<Indices: Collection, Offsets: Collection>(
        _ ids: Indices, offsets: Offsets, into output: UnsafeMutableBufferPointer<Float>, pooling: Pooling = .sum,
        weights: [Float]? = nil, paddingID: Int? = nil, includesLastOffset: Bool = false,
        onInvalid: InvalidIDs = .raise
    ) throws where Indices.Element: BinaryInteger, Offsets.Element: BinaryInteger {
        try IDs.with(ids) { ids in
            try IDs.with(offsets) { offsets in
                try bag(
                    ids, offsets: offsets, into: output, pooling: pooling, weights: weights, paddingID: paddingID,
                    includesLastOffset: includesLastOffset, onInvalid: onInvalid)
            }
        }
    }
}

#if compiler(>=6.2)
    extension Table {
        /// Writes the rows of `ids`, one after the other, to a span of `ids.count * dimension` floats.
        ///
        /// - Throws: As
        ///   ``lookup(_:into:onInvalid:)-(_,UnsafeMutableBufferPointer<Float>,_)``.
        @inlinable
        public func lookup<Indices: Collection>(
            _ ids: Indices, into output: inout MutableSpan<Float>, onInvalid: InvalidIDs = .raise
        ) throws where Indices.Element: BinaryInteger {
            try output.withUnsafeMutableBufferPointer { try lookup(ids, into: $0, onInvalid: onInvalid) }
        }

        /// Writes pooled rows to a span of `dimension` floats for each bag.
        ///
        /// - Throws: As the one that writes to a buffer.
        @inlinable
        public func bag<Indices: Collection, Offsets: Collection>(
            _ ids: Indices, offsets: Offsets, into output: inout MutableSpan<Float>, pooling: Pooling = .sum,
            weights: [Float]? = nil, paddingID: Int? = nil, includesLastOffset: Bool = false,
            onInvalid: InvalidIDs = .raise
        ) throws where Indices.Element: BinaryInteger, Offsets.Element: BinaryInteger {
            try output.withUnsafeMutableBufferPointer {
                try bag(
                    ids, offsets: offsets, into: $0, pooling: pooling, weights: weights, paddingID: paddingID,
                    includesLastOffset: includesLastOffset, onInvalid: onInvalid)
            }
        }
    }
#endif
