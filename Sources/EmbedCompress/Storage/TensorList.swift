/// The tensors of a file in the order of their bytes, found by name in constant time.
///
/// A header can list very many. They are kept in few arrays, about as large as the header itself, and a ``TensorInfo`` is
/// made of them when somebody asks for one.
struct TensorList: RandomAccessCollection, Sendable {
    private var names: NameList
    /// Sizes of axes in groups of seven bits, the lowest first, all but the last of a size with the eighth bit set.
    private var axes: [UInt8] = []
    private var axesEnds: [UInt32] = []
    private var types: [ElementType] = []
    private var begins: [Int] = []
    private var ends: [Int] = []
    /// Tensors in the order of their bytes; empty if that is the order in which they were added.
    private var order: [UInt32] = []
    /// The place of each in that order; empty likewise.
    private var places: [UInt32] = []

    /// Fewer bytes than the description of any tensor takes.
    private static let leastDescription = 48

    /// - Parameter headerBytes: Of the header that lists them. Memory that is not filled is not touched.
    init(headerBytes: Int) {
        let most = headerBytes / Self.leastDescription + 1
        names = NameList(capacity: most, byteCount: 0)
        axesEnds.reserveCapacity(most)
        types.reserveCapacity(most)
        begins.reserveCapacity(most)
        ends.reserveCapacity(most)
    }

    /// - Parameter keyOffset: Where the name stands in the header.
    mutating func add(_ name: String, _ type: ElementType, shape: [Int], range: Range<Int>, keyOffset: Int) {
        names.append(name, offset: keyOffset)
        for size in shape {
            var rest = UInt(bitPattern: size)
            while rest >= 0x80 {
                axes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
                rest >>= 7
            }
            axes.append(UInt8(rest))
        }
        axesEnds.append(UInt32(truncatingIfNeeded: axes.count))
        types.append(type)
        begins.append(range.lowerBound)
        ends.append(range.upperBound)
    }

    /// Puts the tensors in order and indexes their names, once all are added.
    ///
    /// - Throws: ``FormatError/duplicateKey(key:offset:)``.
    mutating func complete() throws {
        try names.complete()
        let (begins, ends) = (begins, ends)
        func isBefore(_ left: Int, _ right: Int) -> Bool {
            (begins[left], ends[left], left) < (begins[right], ends[right], right)
        }
        guard !types.indices.dropFirst().allSatisfy({ isBefore($0 - 1, $0) }) else { return }
        let order = types.indices.map { UInt32(truncatingIfNeeded: $0) }.sorted { isBefore(Int($0), Int($1)) }
        places = [UInt32](repeating: 0, count: order.count)
        for (place, tensor) in order.enumerated() { places[Int(tensor)] = UInt32(truncatingIfNeeded: place) }
        self.order = order
    }

    var startIndex: Int { 0 }
    var endIndex: Int { types.count }

    subscript(position: Int) -> TensorInfo {
        let tensor = order.isEmpty ? position : Int(order[position])
        return TensorInfo(
            name: names[tensor], type: types[tensor], shape: shape(of: tensor), range: begins[tensor]..<ends[tensor])
    }

    /// The place of the tensor of that name, or nil.
    func position(of name: String) -> Int? {
        guard let tensor = names.position(of: name) else { return nil }
        return places.isEmpty ? tensor : Int(places[tensor])
    }

    private func shape(of tensor: Int) -> [Int] {
        var shape: [Int] = []
        var (size, shift): (UInt, UInt) = (0, 0)
        for byte in axes[(tensor == 0 ? 0 : Int(axesEnds[tensor - 1]))..<Int(axesEnds[tensor])] {
            size |= UInt(byte & 0x7F) << shift
            shift += 7
            if byte & 0x80 == 0 {
                shape.append(Int(bitPattern: size))
                (size, shift) = (0, 0)
            }
        }
        return shape
    }
}
