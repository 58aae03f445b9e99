/// An array of a table, as files hold it.
struct StoredArray: Sendable {
    let name: String
    let type: ElementType
    let shape: [Int]
    let bytes: Bytes
}

/// A table as a tree of fields and a list of arrays: what files hold, and what other languages build tables from.
///
/// A node of the tree is a JSON object: `kind`, `rows`, `dimension`, `bytes` (its own), its kind's fields, `tensors`
/// (field to array name) and `children` (field to node). `bytes` is for readers of the file; it is not read back.
struct Parts {
    let tree: JSON
    let arrays: [StoredArray]

    /// The expression. Every array must be used.
    func node() throws -> any Node {
        var arrays: [Key: StoredArray] = [:]
        for array in self.arrays where arrays.updateValue(array, forKey: Key(array.name)) != nil {
            throw EmbedCompressError.format(.duplicateKey(key: array.name, offset: 0))
        }
        let source = NodeDecoder.ArraySource { arrays[Key($0)] }
        let node = try NodeDecoder.node(from: tree, arrays: source)
        if let unused = self.arrays.first(where: { !source.used.contains(Key($0.name)) }) {
            throw EmbedCompressError.format(.unusedTensor(name: unused.name))
        }
        return node
    }
}

extension Table {
    /// The tree and arrays of this table; array names start with `prefix`.
    func parts(prefix: String = "") -> Parts { NodeEncoder.parts(of: root, prefix: prefix) }
}

extension JSONObject {
    /// Members in order; of members with the same key the first stays.
    init(_ members: [(String, JSON)]) {
        self.init()
        for (key, value) in members { _ = add(key, value) }
    }
}
