/// Rows that are put together of runs of one array, at places that a hash gives.
struct SharedRows {
    let values: NumberPlaces
    /// Numbers of the array, below 2^31.
    let count: Int
    let dimension: Int
    /// Columns of a run.
    let block: Int
    let seed: UInt64
    let hasSigns: Bool
    /// Added to ids.
    let offset: Int

    private var chunks: Int { (dimension &+ block &- 1) / block }

    func gather(_ ids: IDBlock, into output: RowBlock) {
        let chunks = chunks
        let most = max(min(4096 / chunks, ids.count), 1)
        Scratch.with(most &* chunks, of: UInt64.self) { hashes in
            var first = 0
            while first < ids.count {
                let rows = min(most, ids.count &- first)
                for index in 0..<rows {
                    let id = UInt64(bitPattern: ids.ids[first &+ index]) &+ UInt64(bitPattern: Int64(offset))
                    hash(id, chunks, to: hashes + index &* chunks)
                }
                prefetch(hashes, rows &* chunks)
                for index in 0..<rows {
                    let target = output.row(first &+ index)
                    if ids.ids[first &+ index] < 0 {
                        target.update(repeating: 0, count: dimension)
                    } else if values.isHalf {
                        copy(hashes + index &* chunks, chunks, to: target, isHalf: true)
                    } else {
                        copy(hashes + index &* chunks, chunks, to: target, isHalf: false)
                    }
                }
                first &+= rows
            }
        }
    }

    /// Output number `id * chunks + chunk` of SplitMix64 for each chunk.
    @inline(__always)
    private func hash(_ id: UInt64, _ chunks: Int, to target: UnsafeMutablePointer<UInt64>) {
        let start = seed &+ mixStep &* (id &* UInt64(chunks) &+ 1)
        for chunk in 0..<chunks { target[chunk] = mixed(start &+ mixStep &* UInt64(truncatingIfNeeded: chunk)) }
    }

    @inline(__always)
    private func place(_ hash: UInt64) -> Int { Int(truncatingIfNeeded: ((hash &>> 32) &* UInt64(count)) &>> 32) }

    @inline(__always)
    private func prefetch(_ hashes: UnsafePointer<UInt64>, _ runs: Int) {
        let width = values.isHalf ? 2 : 4
        guard count &* width > worthPrefetching else { return }
        let prefetching = Prefetching(isFar: count &* width > 4 << 20)
        for run in 0..<runs {
            let start = values.base + place(hashes[run]) &* width
            // Of a run that goes on at the array's start, what is past the end is asked for in vain.
            let bytes = min(block &* width, 256)
            var next = 0
            while next < bytes {
                prefetching.ask(start + next)
                next &+= 64
            }
            prefetching.ask(start + (bytes &- 1))
        }
    }

    @inline(__always)
    private func copy(
        _ hashes: UnsafePointer<UInt64>, _ chunks: Int, to target: UnsafeMutablePointer<Float>, isHalf: Bool
    ) {
        let width = isHalf ? 2 : 4
        for chunk in 0..<chunks {
            let column = chunk &* block
            let length = min(block, dimension &- column)
            let start = place(hashes[chunk])
            let sign = hasSigns ? UInt32(truncatingIfNeeded: hashes[chunk] &<< 31) : 0
            let signs = SIMD16<UInt32>(repeating: sign)
            var done = 0
            // Whole vectors, as far as they end before the array, and before the row whose later runs overwrite them.
            let readable = min(count, values.readableBytes / width) &- start
            let writable = dimension &- column
            while done < length, done &+ 16 <= readable, done &+ 16 <= writable {
                let source = values.base + (start &+ done) &* width
                let vector = isHalf ? floatsFromHalves(source) : load16(source)
                store16(
                    unsafeBitCast(unsafeBitCast(vector, to: SIMD16<UInt32>.self) ^ signs, to: Floats16.self),
                    to: target + (column &+ done))
                done &+= 16
            }
            var next = start &+ done
            while done < length {
                // The array's first number comes after its last.
                while next >= count { next &-= count }
                let source = values.base + next &* width
                let number =
                    isHalf
                    ? floatFromHalf(source.loadUnaligned(as: UInt16.self)) : source.loadUnaligned(as: Float.self)
                target[column &+ done] = Float(bitPattern: number.bitPattern ^ sign)
                done &+= 1
                next &+= 1
            }
        }
    }
}
