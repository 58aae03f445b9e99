/// Exact: every bit of every value comes back, in fewer bytes where the table allows.
///
/// Values that are all of f16, or all of bf16, are stored as such; and the exponents of a row, which differ little, in few
/// bits, see ``PackedFloats``. What takes the fewest bytes is taken. Two passes over the table.
extension Method {
    static let exact = Method(
        name: "exact", title: "Exact", family: .lossless,
        paper: "cf. DFloat11, Zhang et al. 2025, arXiv 2504.11651, which has exponents in codes of different lengths",
        summary: "every bit of every value, with exponents in few bits, as f16 or bf16 where all values are",
        bytesPerRow: "d * (1 + mantissa + exponent bits) / 8 and 1 or 2, with mantissas of 10 bits for f16, 7 for bf16",
        cost: "two passes over the table",
        options: [Option("budget", .budget, default: .null, "most bytes of the result, which has one size")],
        takesWeights: false, passes: 2
    ) { input, options, progress in
        let source = input.source
        let packing = try FloatPacking(source, firstRow: input.firstRow, progress: progress)
        let element = packing.element
        let plain = Checked.product(source.rows, source.dimension, element.type.byteCount) ?? Int.max
        var best = packing.bestExponentBits()
        if let found = best, found.bytes >= plain { best = nil }
        let bytes = best?.bytes ?? plain
        if let budget = try options.optionalInteger("budget"), bytes > budget {
            throw EmbedCompressError.budget(method: "exact", budgetBytes: budget, floorBytes: bytes)
        }
        if let best {
            return FinishedTable(node: try packing.packed(exponentBits: best.bits, progress: progress.watch))
        }
        let name = element == .float32 ? "dense" : element.rawValue
        let inner = try InnerMethod(name, [:], within: "exact")
        return FinishedTable(node: try inner.compress(source, progress: progress.watch))
    }
}
