extension Uniform {
    /// The scale and the bias of a row that has one of each.
    func range(ofRow row: Int) -> (scale: Float, bias: Float) {
        let offset = layout.groups.first?.parameterOffset ?? 0
        let place = memory.bytes.pointer + (row * layout.rowBytes + offset)
        return withExtendedLifetime(memory) {
            let both = scaleType == .float16 ? HalfScaled.parameters(place) : FloatScaled.parameters(place)
            return (both[0], both[1])
        }
    }
}
