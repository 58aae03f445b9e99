// Apart from Uniform.swift because the compiler puts all specializations of a generic function into the object file of
// the one that needs it first: those of sums and those of lookups are then optimised by two threads.
extension Uniform {
    func accumulate(_ block: BagBlock, context: LookupContext) {
        if scaleType == .float16, !block.isWeighted, group >= 48 {
            switch bits {
            case 2: return WholeSums<Codes2>.accumulate(memory.places, groups: layout.groups, block)
            case 4: return WholeSums<Codes4>.accumulate(memory.places, groups: layout.groups, block)
            case 8: return WholeSums<Codes8>.accumulate(memory.places, groups: layout.groups, block)
            default: break
            }
        }
        scaleType == .float16
            ? accumulate(HalfScaled.self, block, context) : accumulate(FloatScaled.self, block, context)
    }

    var longestShortBag: Int {
        guard layout.groups.count == 1, shared == nil else { return -1 }
        switch bits {
        case 8: return blockCapacity
        // Sums of more rows are quicker in whole numbers, unless they are narrow.
        case 2, 4: return dimension <= 32 ? blockCapacity : 16
        default: return -1
        }
    }

    func writeSums(of bags: ShortBags) -> Int {
        scaleType == .float16 ? writeSums(HalfScaled.self, bags) : writeSums(FloatScaled.self, bags)
    }

    @inline(__always)
    private func writeSums<Scaling: RowScaling>(_: Scaling.Type, _ bags: ShortBags) -> Int {
        let group = layout.groups[0]
        switch bits {
        case 2: return ShortSums<Codes2, Scaling>.write(bags, of: memory.places, group)
        case 4: return ShortSums<Codes4, Scaling>.write(bags, of: memory.places, group)
        default: return ShortSums<Codes8, Scaling>.write(bags, of: memory.places, group)
        }
    }

    @inline(__always)
    private func accumulate<Scaling: RowScaling>(_: Scaling.Type, _ block: BagBlock, _ context: LookupContext) {
        @inline(__always)
        func accumulate<Format: CodeFormat>(_: Format.Type) {
            RowKernels<Format, Scaling>.accumulate(
                memory.places, groups: layout.groups, shared: shared, block, context: context)
        }
        switch bits {
        case 1: accumulate(Codes1.self)
        case 2: accumulate(Codes2.self)
        case 3: accumulate(Codes3.self)
        case 4: accumulate(Codes4.self)
        case 5: accumulate(Codes5.self)
        case 6: accumulate(Codes6.self)
        case 7: accumulate(Codes7.self)
        case 8: accumulate(Codes8.self)
        default: accumulate(Codes16.self)
        }
    }
}
