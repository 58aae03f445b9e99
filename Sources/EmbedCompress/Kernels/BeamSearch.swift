internal import CEmbedCompress.Parts

/// Codes of rows that are sums of an entry of each level's codebook: level by level, the `beam` best sums so far are
/// kept, and each is tried with every entry of the next level.
///
/// `beam * 2^bits * dimension` steps a level and row.
struct BeamSearch: @unchecked Sendable {
    let levels: [CenterSearch]
    /// Level after level, `count * dimension` numbers each.
    let centers: UnsafePointer<Float>
    /// Entries of a level.
    let count: Int
    let dimension: Int
    let beam: Int

    /// Sums that a row has after each level.
    private func live(after level: Int) -> Int {
        if level == levels.count - 1 { return 1 }
        var live = 1
        for _ in 0...level where live < beam { live = min(beam, live &* count) }
        return live
    }

    /// Rows that are searched at once.
    private var step: Int { max(min(8, 65_536 / (beam * count)), 1) }

    /// Finds the codes of rows.
    ///
    /// - Parameters:
    ///   - codes: Of level after level, `codeStride` apart: one for each row.
    ///   - residuals: Receives rows less the sums of their entries, if it is given; one row after the other.
    func encode(
        _ rows: UnsafePointer<Float>, count rowCount: Int, codes: UnsafeMutablePointer<Int32>, codeStride: Int,
        residuals: UnsafeMutablePointer<Float>? = nil
    ) {
        let (step, dimension, depth) = (step, dimension, levels.count)
        guard let scoreStride = levels.first?.scoreStride else { return }
        Scratch.with(2 * step * beam * dimension, of: Float.self) { space in
            Scratch.with(step * beam * scoreStride, of: Float.self) { scores in
                Scratch.with(2 * step * beam * (depth + 2), of: Int32.self) { paths in
                    for first in stride(from: 0, to: rowCount, by: step) {
                        let rows = rows + first * dimension
                        let count = min(step, rowCount - first)
                        let best = search(rows, count, space, scores, paths)
                        for row in 0..<count {
                            for level in 0..<depth {
                                codes[level * codeStride + first + row] = best.paths[row * (depth + 2) + level]
                            }
                            if let residuals {
                                (residuals + (first + row) * dimension).update(
                                    from: best.residuals + row * dimension, count: dimension)
                            }
                        }
                    }
                }
            }
        }
    }

    /// The best codes of some rows, and what they leave.
    private func search(
        _ rows: UnsafePointer<Float>, _ rowCount: Int, _ space: UnsafeMutablePointer<Float>,
        _ scores: UnsafeMutablePointer<Float>, _ paths: UnsafeMutablePointer<Int32>
    ) -> (paths: UnsafeMutablePointer<Int32>, residuals: UnsafeMutablePointer<Float>) {
        let (depth, dimension) = (levels.count, dimension)
        // Of each sum: its codes, its error less half of the row's squared length as a float, and its parent.
        let pathStride = depth + 2
        var (old, new) = (space, space + step * beam * dimension)
        var (oldPaths, newPaths) = (paths, paths + step * beam * pathStride)
        old.update(from: rows, count: rowCount * dimension)
        for row in 0..<rowCount { oldPaths[row * pathStride + depth] = Int32(bitPattern: Float(0).bitPattern) }
        var live = 1
        for (level, search) in levels.enumerated() {
            search.scores(old, stride: dimension, count: rowCount * live, to: scores)
            let next = self.live(after: level)
            let centers = centers + level * count * dimension
            for row in 0..<rowCount {
                let target = newPaths + row * next * pathStride
                select(
                    scores + row * live * search.scoreStride, search.scoreStride,
                    oldPaths + row * live * pathStride, live, level, next, to: target)
                for index in 0..<next {
                    let path = target + index * pathStride
                    let parent = row * live + Int(path[depth + 1])
                    let source = old + parent * dimension
                    let place = new + (row * next + index) * dimension
                    let center = centers + Int(path[level]) * dimension
                    for column in 0..<dimension { place[column] = source[column] - center[column] }
                    path.update(from: oldPaths + parent * pathStride, count: level)
                }
            }
            swap(&old, &new)
            swap(&oldPaths, &newPaths)
            live = next
        }
        return (oldPaths, old)
    }

    /// The `next` best of a row's sums with every entry of a level, best first.
    @inline(__always)
    private func select(
        _ scores: UnsafePointer<Float>, _ stride: Int, _ sums: UnsafePointer<Int32>, _ live: Int, _ level: Int,
        _ next: Int, to target: UnsafeMutablePointer<Int32>
    ) {
        let depth = levels.count
        let pathStride = depth &+ 2
        var filled = 0
        var worst = Float.infinity
        for parent in 0..<live {
            let error = Float(bitPattern: UInt32(bitPattern: sums[parent &* pathStride &+ depth]))
            let base = Floats16(repeating: error)
            var start = 0
            while start < count {
                let values = load16(scores + (parent &* stride &+ start)) + base
                if filled == next, !(ec_least16(values) < worst) {
                    start &+= 16
                    continue
                }
                for lane in 0..<min(16, count &- start) {
                    let value = values[lane]
                    guard filled < next || value < worst else { continue }
                    var place = filled < next ? filled : next &- 1
                    filled = min(filled &+ 1, next)
                    while place > 0 {
                        let before = target + (place &- 1) &* pathStride
                        guard value < Float(bitPattern: UInt32(bitPattern: before[depth])) else { break }
                        let path = before + pathStride
                        (path[level], path[depth], path[depth &+ 1]) = (
                            before[level], before[depth], before[depth &+ 1]
                        )
                        place &-= 1
                    }
                    let path = target + place &* pathStride
                    path[level] = Int32(truncatingIfNeeded: start &+ lane)
                    path[depth] = Int32(bitPattern: value.bitPattern)
                    path[depth &+ 1] = Int32(truncatingIfNeeded: parent)
                    worst = Float(bitPattern: UInt32(bitPattern: target[(filled &- 1) &* pathStride &+ depth]))
                }
                start &+= 16
            }
        }
    }
}
