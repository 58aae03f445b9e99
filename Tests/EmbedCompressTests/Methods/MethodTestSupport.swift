import TestSupport
import XCTest

@testable import EmbedCompress

/// Methods that make an expression of other methods.
let composedMethods = ["svd", "magsvd", "tt", "opq", "magpq", "hot_cold", "tiers"]

/// Options under which product codes are learned in little time.
func quickOptions(_ method: String) -> [String: OptionValue] {
    switch method {
    case "opq": return ["bits": 4, "parts": 2, "rounds": 3, "turns": 2]
    case "magpq": return ["bits": 4, "parts": 2, "rounds": 3]
    case "tiers": return ["inner": "asym"]
    default: return [:]
    }
}

/// The same for calls with a budget.
func quickBudgetOptions(_ method: String, _ budget: Int) -> [String: OptionValue] {
    switch method {
    case "opq": return ["budget": .integer(budget), "bits": 4, "rounds": 2, "turns": 1]
    case "magpq": return ["budget": .integer(budget), "groups": 2, "rounds": 2]
    case "hot_cold": return ["budget": .integer(budget), "hot": "asym", "cold": "asym"]
    case "tiers": return ["budget": .integer(budget), "inner": "asym"]
    default: return ["budget": .integer(budget)]
    }
}

/// Rows whose norms differ and whose directions matter unequally; the mean is not zero.
func unequalRows(_ rows: Int, _ dimension: Int, seed: UInt64 = 1) -> [Float] {
    var generator = SeededGenerator(seed: seed)
    let normals = generator.normals(rows * dimension)
    let scales = generator.normals(rows).map { 0.2 + $0 * $0 }
    return normals.enumerated().map { index, value in
        let (row, column) = (index / dimension, index % dimension)
        return (value / Float(column + 1) + 0.3) * scales[row]
    }
}

/// ||X - Q(X)|| / ||X||
func relativeError(_ table: Table, _ source: Table) throws -> Double {
    try table.quality(against: source).normalizedL2
}
