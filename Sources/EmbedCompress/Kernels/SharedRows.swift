/// Where runs of a shared array start, and their signs: of output number `id * runs + run + 1` of SplitMix64.
struct RunHash {
    /// Numbers of the array, below 2^31.
    let count: UInt64
    let seed: UInt64
    let hasSigns: Bool

    /// - Parameters:
    ///   - number: That of the run: `id * runs + run`.
    /// - Returns: The place, and the bit that changes a float's sign.
    @inline(__always)
    func run(_ number: UInt64) -> (place: UInt32, sign: UInt32) {
        let hash = mixed(seed &+ mixStep &* (number &+ 1))
        let sign = hasSigns ? UInt32(truncatingIfNeeded: hash) &<< 31 : 0
        return (UInt32(truncatingIfNeeded: ((hash &>> 32) &* count) &>> 32), sign)
    }
}

/// Rows that are put together of runs of one array of floats, at places that a hash gives.
struct SharedRows {
    let values: NumberPlaces
    let hash: RunHash
    let dimension: Int
    /// Columns of a run.
    let block: Int
    /// Added to ids.
    let offset: Int

    private var count: Int { Int(hash.count) }

    /// Places of runs that are found at a time, unless a row has more.
    static let mostPlaces = 4096

    /// What a block takes.
    static func scratchBytes(dimension: Int, block: Int) -> Int {
        2 * max(mostPlaces, (dimension + block - 1) / block) * MemoryLayout<UInt32>.size
    }

    private var chunks: Int { (dimension &+ block &- 1) / block }

    func gather(_ ids: IDBlock, into output: RowBlock) {
        values.isHalf ? gather(ids, output, isHalf: true) : gather(ids, output, isHalf: false)
    }

    @inline(__always)
    private func gather(_ ids: IDBlock, _ output: RowBlock, isHalf: Bool) {
        let chunks = chunks
        let most = max(min(Self.mostPlaces / chunks, ids.count), 1)
        let width = isHalf ? 2 : 4
        let prefetching = Prefetching(isFar: count &* width > 4 << 20)
        let ahead = count &* width > worthPrefetching ? (prefetching.isFar ? 64 : 16) : 0
        Scratch.with(2 &* most &* chunks, of: UInt32.self) { places in
            let signs = places + most &* chunks
            var first = 0
            while first < ids.count {
                let rows = min(most, ids.count &- first)
                let runs = rows &* chunks
                for index in 0..<rows {
                    let id = UInt64(bitPattern: ids.ids[first &+ index]) &+ UInt64(bitPattern: Int64(offset))
                    find(runsOf: id, chunks, places + index &* chunks, signs + index &* chunks)
                }
                for run in 0..<min(ahead, runs) { ask(prefetching, places[run], width) }
                for index in 0..<rows {
                    let target = output.row(first &+ index)
                    if ids.ids[first &+ index] < 0 {
                        target.update(repeating: 0, count: dimension)
                        continue
                    }
                    if block == 1 {
                        let run = index &* chunks
                        for chunk in 0..<max(0, min(chunks, ahead > 0 ? runs &- run &- ahead : 0)) {
                            prefetching.ask(values.base + Int(places[run &+ ahead &+ chunk]) &* width)
                        }
                        for column in 0..<dimension {
                            target[column] = number(Int(places[run &+ column]), signs[run &+ column], isHalf: isHalf)
                        }
                        continue
                    }
                    for chunk in 0..<chunks {
                        let run = index &* chunks &+ chunk
                        if ahead > 0, run &+ ahead < runs { ask(prefetching, places[run &+ ahead], width) }
                        let column = chunk &* block
                        copy(
                            Int(places[run]), signs[run], min(block, dimension &- column), to: target + column,
                            room: dimension &- column, isHalf: isHalf)
                    }
                }
                first &+= rows
            }
        }
    }

    /// Where each run of a row starts, and its sign.
    @inline(__always)
    private func find(
        runsOf id: UInt64, _ chunks: Int, _ places: UnsafeMutablePointer<UInt32>, _ signs: UnsafeMutablePointer<UInt32>
    ) {
        let first = id &* UInt64(chunks)
        for chunk in 0..<chunks {
            (places[chunk], signs[chunk]) = hash.run(first &+ UInt64(truncatingIfNeeded: chunk))
        }
    }

    /// Asks for the cache lines of a run: the first ones, after which the processor foresees the others.
    @inline(__always)
    private func ask(_ prefetching: Prefetching, _ place: UInt32, _ width: Int) {
        // Of a run that goes on at the array's start, what is past the end is asked for in vain.
        let start = values.base + Int(place) &* width
        let bytes = min(block &* width, 256)
        var next = 0
        while next < bytes {
            prefetching.ask(start + next)
            next &+= 64
        }
        if bytes > 4 { prefetching.ask(start + (bytes &- 1)) }
    }

    @inline(__always)
    private func number(_ place: Int, _ sign: UInt32, isHalf: Bool) -> Float {
        let number =
            isHalf
            ? floatFromHalf((values.base + place &* 2).loadUnaligned(as: UInt16.self))
            : (values.base + place &* 4).loadUnaligned(as: Float.self)
        return Float(bitPattern: number.bitPattern ^ sign)
    }

    /// Copies a run. Up to `room` columns may be written: the runs after it overwrite them.
    @inline(__always)
    private func copy(
        _ start: Int, _ sign: UInt32, _ length: Int, to target: UnsafeMutablePointer<Float>, room: Int, isHalf: Bool
    ) {
        guard start &+ length <= count else {
            // The array's first number comes after its last.
            for column in 0..<length { target[column] = number((start &+ column) % count, sign, isHalf: isHalf) }
            return
        }
        let signs = SIMD16<UInt32>(repeating: sign)
        let whole = min(count &- start, room)
        var done = 0
        if length > 4 {
            while done < length, done &+ 16 <= whole {
                let source = values.base + (start &+ done) &* (isHalf ? 2 : 4)
                let vector = isHalf ? floatsFromHalves(source) : load16(source)
                store16(
                    unsafeBitCast(unsafeBitCast(vector, to: SIMD16<UInt32>.self) ^ signs, to: Floats16.self),
                    to: target + done)
                done &+= 16
            }
        }
        while done < length {
            target[done] = number(start &+ done, sign, isHalf: isHalf)
            done &+= 1
        }
    }
}
