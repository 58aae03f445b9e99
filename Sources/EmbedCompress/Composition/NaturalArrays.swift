/// Arrays as people have them, read number by number or turned into what a store holds.
extension StoredArray {
    /// For messages: the element type and the shape.
    var summary: String { "\(type.rawValue.lowercased()) \(shape)" }

    var count: Int { shape.reduce(1, *) }

    /// Integers of one axis.
    func integers() throws -> IntegerArray {
        guard shape.count == 1, let values = IntegerArray(self) else {
            throw EmbedCompressError.invalidArgument("\(name) must be integers and have one axis, not \(summary)")
        }
        return values
    }

    /// Integers of two axes.
    func codes() throws -> (values: IntegerArray, rows: Int, columns: Int) {
        guard shape.count == 2, shape[1] > 0, let values = IntegerArray(self) else {
            throw EmbedCompressError.invalidArgument(
                "\(name) must be integers of shape (rows, columns), not \(summary)")
        }
        return (values, shape[0], shape[1])
    }

    /// Numbers in f32 or f16: those two where they lie, f64 as f32.
    func floats() throws -> (bytes: Bytes, type: ScaleType) {
        switch type {
        case .f32: return (bytes, .float32)
        case .f16: return (bytes, .float16)
        case .f64: return (try converted(to: .float32), .float32)
        default:
            throw EmbedCompressError.invalidArgument("\(name) must be f32 or f16, not \(type.rawValue.lowercased())")
        }
    }

    /// The numbers of an array of any type, as f32; nil unless the elements are numbers.
    ///
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` for a finite number that is beyond the range of f32.
    func floatArray() throws -> FloatArray? {
        guard let numbers = FloatArray(self) else { return nil }
        if let (index, number) = numbers.firstOverflow {
            throw EmbedCompressError.invalidArgument(
                "\(name) has \(number) at position \(index), which is beyond the range of f32")
        }
        return numbers
    }

    /// Finite numbers of any type with that many axes, as `element`: where they lie if they are of that type.
    func numbers(axes: Int, as element: ScaleType) throws -> Bytes {
        guard shape.count == axes, let source = try floatArray() else {
            let axesText = axes == 1 ? "1 axis" : "\(axes) axes"
            throw EmbedCompressError.invalidArgument(
                "\(name) must be numbers and have \(axesText), not \(shape.count) of \(type.rawValue.lowercased())")
        }
        guard source.allFinite else { throw EmbedCompressError.invalidArgument("\(name) must be finite") }
        return type == element.elementType ? bytes : try converted(to: element)
    }

    /// A copy of the numbers as that type.
    private func converted(to element: ScaleType) throws -> Bytes {
        guard let source = try floatArray(), let size = Checked.product(source.count, element.byteCount) else {
            throw EmbedCompressError.invalidArgument("\(name) must be numbers, not \(type.rawValue.lowercased())")
        }
        let target = Bytes(try ByteStorage.allocate(size))
        guard source.copy(to: target.mutablePointer, as: element) else {
            throw EmbedCompressError.invalidArgument("an element of the \(name) is too large for \(element.rawValue)")
        }
        return target
    }
}

/// The type that all of the arrays have: f32 or f16. f64 counts as f32.
func commonType(of arrays: [StoredArray], called names: (first: String, others: (Int) -> String)) throws -> ScaleType {
    var common: ScaleType?
    for (index, array) in arrays.enumerated() {
        let type = try array.floats().type
        if let common, common != type {
            throw EmbedCompressError.invalidArgument(
                "\(names.others(index)) must have the type of \(names.first), \(common.rawValue), not \(type.rawValue)")
        }
        common = type
    }
    return common ?? .float32
}
