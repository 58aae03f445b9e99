/// The arrays of a tree of nodes, each once: nodes that are on the same memory, as slices of a table are, have one array.
final class DistinctArrays {
    /// In the order in which they were first added.
    private(set) var listed: [StoredArray] = []
    /// Bytes of those that were added again.
    private(set) var repeatedBytes = 0
    private var places: [Place: Int] = [:]

    private struct Place: Hashable {
        let address: UnsafeRawPointer
        let type: ElementType
        let shape: [Int]
    }

    /// Returns the array's name: the one that it was first added under.
    func add(_ array: StoredArray) -> String {
        // Where an array without bytes lies says nothing.
        if !array.bytes.buffer.isEmpty {
            let place = Place(address: array.bytes.pointer, type: array.type, shape: array.shape)
            if let known = places[place] {
                repeatedBytes += array.bytes.count
                return listed[known].name
            }
            places[place] = listed.count
        }
        listed.append(array)
        return array.name
    }
}
