import Foundation

/// A step of one row of numbers, by the formulas and in floats, an element at a time.
public struct TrainedRowReference {
    public enum Kind: Sendable {
        case sgd, adagrad, rowwiseAdagrad, rowwiseAdam
    }

    public var values: [Float]
    public var elementState: [Float]
    public var rowState: Float

    public init(values: [Float], elementState: [Float], rowState: Float) {
        (self.values, self.elementState, self.rowState) = (values, elementState, rowState)
    }

    /// Moves the row against gradients that are added up in order.
    public mutating func step(
        _ gradients: [[Float]], _ kind: Kind, rate: Float, eps: Float, beta1: Double, beta2: Double, decay: Float,
        step: Int
    ) {
        var slopes = gradients[0]
        for other in gradients.dropFirst() { for column in slopes.indices { slopes[column] += other[column] } }
        if kind != .rowwiseAdam { for column in slopes.indices { slopes[column] += values[column] * decay } }
        switch kind {
        case .sgd: for column in slopes.indices { values[column] -= slopes[column] * rate }
        case .adagrad:
            for column in slopes.indices {
                elementState[column] += slopes[column] * slopes[column]
                values[column] -= slopes[column] * rate / (elementState[column].squareRoot() + eps)
            }
        case .rowwiseAdagrad:
            rowState += Self.meanSquare(slopes)
            let factor = rate / (rowState.squareRoot() + eps)
            for column in slopes.indices { values[column] -= slopes[column] * factor }
        case .rowwiseAdam:
            rowState = rowState * Float(beta2) + Self.meanSquare(slopes) * Float(1 - beta2)
            let divisor = (rowState / Float(1 - pow(beta2, Double(step)))).squareRoot() + eps
            for column in slopes.indices {
                elementState[column] = elementState[column] * Float(beta1) + slopes[column] * Float(1 - beta1)
                let change = elementState[column] / Float(1 - pow(beta1, Double(step))) / divisor
                values[column] -= (change + values[column] * decay) * rate
            }
        }
    }

    /// Every sixteenth square into one of sixteen sums, halves of which are added until one is left.
    private static func meanSquare(_ slopes: [Float]) -> Float {
        var sums = [Float](repeating: 0, count: 16)
        for (column, slope) in slopes.enumerated() { sums[column % 16] += slope * slope }
        while sums.count > 1 {
            let half = sums.count / 2
            sums = (0..<half).map { sums[$0] + sums[$0 + half] }
        }
        return sums[0] / Float(slopes.count)
    }
}
