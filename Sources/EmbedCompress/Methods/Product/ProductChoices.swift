/// How many parts product codes have, and how wide codes are: what fits a number of bytes, for methods that put product
/// codes inside an expression. The rule is that of `pq`.
struct ProductChoices {
    let rows: Int
    let dimension: Int
    /// The type of codebooks.
    let element: ScaleType
    var widths = ProductPlan.widths

    struct Choice {
        let parts: Int
        let bits: Int
        let storedBytes: Int
        /// The squared error of a column that is expected, over that of no codes at all: from 0 to about 1.
        let error: Double
    }

    /// Every choice that fits.
    func all(within bytes: Int) -> [Choice] {
        var found: [Choice] = []
        for bits in widths {
            for parts in 1...dimension {
                guard let size = size(parts, bits), size <= bytes else { break }
                let error = ProductPlan.error(rows: rows, dimension: dimension, parts: parts, bits: bits)
                found.append(Choice(parts: parts, bits: bits, storedBytes: size, error: error / Double(dimension)))
            }
        }
        return found
    }

    /// The one of the least error; nil if nothing fits.
    func best(within bytes: Int) -> Choice? { all(within: bytes).min { $0.error < $1.error } }

    /// The bytes of the smallest choice.
    var leastBytes: Int { widths.compactMap { size(1, $0) }.min() ?? Int.max }

    private func size(_ parts: Int, _ bits: Int) -> Int? {
        guard let codes = Checked.product(rows, (parts * bits + 7) / 8),
            let books = Checked.product(dimension << bits, element.byteCount)
        else { return nil }
        return Checked.sum(codes, books)
    }
}
