extension Table {
    /// The expression in a line, such as `project(rank=37, uniform(bits=8))`: its stores and routes, and the fields that say
    /// how much a store holds or what a route does, as a budget chooses them.
    public var expressionSummary: String { lineSummary(of: parts().tree) }
}

private func lineSummary(of tree: JSON) -> String {
    guard let node = tree.objectValue, let kind = node["kind"]?.stringValue else { return "" }
    let children = node["children"]?.objectValue?.members.map(\.value) ?? []
    let inner = shownFields(of: node, kind, children) + children.map(lineSummary(of:))
    return inner.isEmpty ? kind : "\(kind)(\(inner.joined(separator: ", ")))"
}

private let shownNames = [
    "element", "bits", "mantissa_bits", "exponent_bits", "code_bytes", "states", "scope", "group", "clusters", "parts",
    "mode", "nonzeros", "rank1",
    "rank2", "operation",
    "function", "modulus", "divisor",
]

private func shownFields(of node: JSONObject, _ kind: String, _ children: [JSON]) -> [String] {
    func text(_ value: JSON?) -> String { value?.stringValue ?? value?.summary ?? "" }
    if kind == Project.kind { return ["rank=\(text(children.first?.objectValue?["dimension"]))"] }
    if kind == Partition.kind {
        return ["rows=" + children.map { text($0.objectValue?["rows"]) }.joined(separator: "+")]
    }
    return shownNames.compactMap { name in
        guard let value = node[name], value != .null, value != .string("") else { return nil }
        // A group of all columns is none, and what a function is called says less than its number.
        if name == "group", value == node["dimension"] { return nil }
        if kind == Remap.kind, name == "function", ["modulo", "divide", "quotient"].contains(value.stringValue) {
            return nil
        }
        return "\(name)=\(text(value))"
    }
}
