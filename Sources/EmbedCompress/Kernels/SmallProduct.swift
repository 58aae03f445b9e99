internal import CEmbedCompress.Products

/// Products of matrices that fit in the first-level cache: c = a · b, with a of m x k, b of k x n and c of m x n, all row
/// after row without gaps. Every element is summed in an order that k and n decide alone.
///
/// With many columns, sixteen of them are a vector. With up to eight, a vector is several rows of b, which are summed at
/// the end: a product with four columns is then four times as fast.
enum SmallProduct {
    /// Floats of the space that ``multiply`` needs.
    static func space(k: Int, n: Int) -> Int { n <= 8 ? (k + 15) / 16 * 16 * 8 : 0 }

    /// Up to fifteen floats may be read after the last of a and of b.
    ///
    /// - Parameter space: ``space(k:n:)`` floats.
    @inline(never)
    static func multiply(
        _ a: UnsafePointer<Float>, rows m: Int, inner k: Int, _ b: UnsafePointer<Float>, columns n: Int,
        into c: UnsafeMutablePointer<Float>, space: UnsafeMutablePointer<Float>
    ) {
        switch n {
        case 1, 2: narrow(n, a, m, k, b, n, c, space)
        case 3, 4: narrow(4, a, m, k, b, n, c, space)
        case 5...8: narrow(8, a, m, k, b, n, c, space)
        default: wide(a, m, k, b, n, c)
        }
    }

    @inline(__always)
    private static func add(_ a: Floats16, _ b: Floats16, to sum: inout Floats16) {
        sum = multiplyAdd(a, b, sum, isExact: true)
    }

    // MARK: - Many columns

    private static func wide(
        _ a: UnsafePointer<Float>, _ m: Int, _ k: Int, _ b: UnsafePointer<Float>, _ n: Int,
        _ c: UnsafeMutablePointer<Float>
    ) {
        var column = 0
        while column < n {
            // Two vectors of four rows are as many sums as sixteen registers of 256 bits hold only half of.
            let isPair = hasManyRegisters && n &- column > 16
            var row = 0
            if isPair {
                while row &+ 4 <= m {
                    tile42(a + row &* k, k, b + column, n, c + (row &* n &+ column), n &- column)
                    row &+= 4
                }
                while row &+ 2 <= m {
                    tile22(a + row &* k, k, b + column, n, c + (row &* n &+ column), n &- column)
                    row &+= 2
                }
                while row < m {
                    tile12(a + row &* k, k, b + column, n, c + (row &* n &+ column), n &- column)
                    row &+= 1
                }
            } else {
                while row &+ 4 <= m {
                    tile41(a + row &* k, k, b + column, n, c + (row &* n &+ column), n &- column)
                    row &+= 4
                }
                while row < m {
                    tile11(a + row &* k, k, b + column, n, c + (row &* n &+ column), n &- column)
                    row &+= 1
                }
            }
            column &+= isPair ? 32 : 16
        }
    }

    @inline(__always)
    private static func put(_ value: Floats16, _ target: UnsafeMutablePointer<Float>, _ room: Int) {
        if room >= 16 { store16(value, to: target) } else { put16(value, to: target, count: room) }
    }

    /// Four rows, two vectors. `room` is how many columns of c there are from here on.
    @inline(__always)
    private static func tile42(
        _ a: UnsafePointer<Float>, _ k: Int, _ b: UnsafePointer<Float>, _ n: Int, _ c: UnsafeMutablePointer<Float>,
        _ room: Int
    ) {
        var (s0, s1, s2, s3) = (Floats16(), Floats16(), Floats16(), Floats16())
        var (t0, t1, t2, t3) = (Floats16(), Floats16(), Floats16(), Floats16())
        var source = b
        for index in 0..<k {
            let (x, y) = (load16(source), load16(source + 16))
            let v0 = Floats16(repeating: a[index])
            add(v0, x, to: &s0)
            add(v0, y, to: &t0)
            let v1 = Floats16(repeating: a[index &+ k])
            add(v1, x, to: &s1)
            add(v1, y, to: &t1)
            let v2 = Floats16(repeating: a[index &+ 2 &* k])
            add(v2, x, to: &s2)
            add(v2, y, to: &t2)
            let v3 = Floats16(repeating: a[index &+ 3 &* k])
            add(v3, x, to: &s3)
            add(v3, y, to: &t3)
            source += n
        }
        store16(s0, to: c)
        store16(s1, to: c + n)
        store16(s2, to: c + 2 &* n)
        store16(s3, to: c + 3 &* n)
        put(t0, c + 16, room &- 16)
        put(t1, c + (n &+ 16), room &- 16)
        put(t2, c + (2 &* n &+ 16), room &- 16)
        put(t3, c + (3 &* n &+ 16), room &- 16)
    }

    @inline(__always)
    private static func tile22(
        _ a: UnsafePointer<Float>, _ k: Int, _ b: UnsafePointer<Float>, _ n: Int, _ c: UnsafeMutablePointer<Float>,
        _ room: Int
    ) {
        var (s0, s1, t0, t1) = (Floats16(), Floats16(), Floats16(), Floats16())
        var source = b
        for index in 0..<k {
            let (x, y) = (load16(source), load16(source + 16))
            let v0 = Floats16(repeating: a[index])
            add(v0, x, to: &s0)
            add(v0, y, to: &t0)
            let v1 = Floats16(repeating: a[index &+ k])
            add(v1, x, to: &s1)
            add(v1, y, to: &t1)
            source += n
        }
        store16(s0, to: c)
        store16(s1, to: c + n)
        put(t0, c + 16, room &- 16)
        put(t1, c + (n &+ 16), room &- 16)
    }

    @inline(__always)
    private static func tile12(
        _ a: UnsafePointer<Float>, _ k: Int, _ b: UnsafePointer<Float>, _ n: Int, _ c: UnsafeMutablePointer<Float>,
        _ room: Int
    ) {
        var (s0, t0) = (Floats16(), Floats16())
        var source = b
        for index in 0..<k {
            let value = Floats16(repeating: a[index])
            add(value, load16(source), to: &s0)
            add(value, load16(source + 16), to: &t0)
            source += n
        }
        store16(s0, to: c)
        put(t0, c + 16, room &- 16)
    }

    @inline(__always)
    private static func tile41(
        _ a: UnsafePointer<Float>, _ k: Int, _ b: UnsafePointer<Float>, _ n: Int, _ c: UnsafeMutablePointer<Float>,
        _ room: Int
    ) {
        var (s0, s1, s2, s3) = (Floats16(), Floats16(), Floats16(), Floats16())
        var source = b
        for index in 0..<k {
            let x = load16(source)
            add(Floats16(repeating: a[index]), x, to: &s0)
            add(Floats16(repeating: a[index &+ k]), x, to: &s1)
            add(Floats16(repeating: a[index &+ 2 &* k]), x, to: &s2)
            add(Floats16(repeating: a[index &+ 3 &* k]), x, to: &s3)
            source += n
        }
        put(s0, c, room)
        put(s1, c + n, room)
        put(s2, c + 2 &* n, room)
        put(s3, c + 3 &* n, room)
    }

    @inline(__always)
    private static func tile11(
        _ a: UnsafePointer<Float>, _ k: Int, _ b: UnsafePointer<Float>, _ n: Int, _ c: UnsafeMutablePointer<Float>,
        _ room: Int
    ) {
        var sum = Floats16()
        var source = b
        for index in 0..<k {
            add(Floats16(repeating: a[index]), load16(source), to: &sum)
            source += n
        }
        put(sum, c, room)
    }

    // MARK: - Few columns

    /// - Parameter width: The power of two from n on; a vector is 16 / width rows of b.
    @inline(__always)
    private static func narrow(
        _ width: Int, _ a: UnsafePointer<Float>, _ m: Int, _ k: Int, _ b: UnsafePointer<Float>, _ n: Int,
        _ c: UnsafeMutablePointer<Float>, _ space: UnsafeMutablePointer<Float>
    ) {
        var source = b
        if n != width || k & 15 != 0 {
            ec_narrow_pack(b, Int64(k), Int64(n), space, Int64(width))
            source = UnsafePointer(space)
        }
        ec_narrow_product(a, Int64(m), Int64(k), source, Int64(n), c, Int64(width))
    }
}
