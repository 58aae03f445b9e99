#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#elseif canImport(Darwin)
    internal import Darwin
#endif

/// How a row moves against its gradient. With w the row, g its gradient, t the number of the step from 1 on, and means
/// over the columns of the row:
///
/// - `sgd`: w -= lr * g
/// - `adagrad` (Duchi et al., 2011): s += g^2 for each element; w -= lr * g / (sqrt(s) + eps)
/// - `rowwiseAdagrad` (FBGEMM's EXACT_ROWWISE_ADAGRAD): s += mean(g^2); w -= lr / (sqrt(s) + eps) * g
/// - `rowwiseAdam` (FBGEMM's PARTIAL_ROWWISE_ADAM): v = beta2 * v + (1 - beta2) * mean(g^2); m = beta1 * m +
///   (1 - beta1) * g for each element; w -= lr * (m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps) + decay * w)
///
/// In the first three, decay * w is added to g before anything else.
package struct RowOptimizer: Sendable {
    package enum Kind: Sendable {
        case sgd, adagrad, rowwiseAdagrad, rowwiseAdam
    }

    /// How an updated row becomes one of its format.
    package enum Rounding: Sendable {
        case nearest, stochastic
    }

    package var kind: Kind
    package var rounding: Rounding
    package var learningRate: Double
    package var eps: Double
    package var beta1: Double
    package var beta2: Double
    package var weightDecay: Double
    package var seed: Int
    /// The number of the step, from 1 on: random numbers belong to it, and the bias corrections of `rowwiseAdam`.
    package var step: Int

    package init(
        kind: Kind, rounding: Rounding = .stochastic, learningRate: Double, eps: Double = 1e-8, beta1: Double = 0.9,
        beta2: Double = 0.999, weightDecay: Double = 0, seed: Int = 0, step: Int = 1
    ) {
        (self.kind, self.rounding, self.learningRate, self.eps) = (kind, rounding, learningRate, eps)
        (self.beta1, self.beta2, self.weightDecay) = (beta1, beta2, weightDecay)
        (self.seed, self.step) = (seed, step)
    }

    func check() throws {
        for (name, value) in [("learning_rate", learningRate), ("eps", eps), ("weight_decay", weightDecay)]
        where !(value >= 0 && value <= Double(Float.greatestFiniteMagnitude)) {
            throw EmbedCompressError.invalidArgument("\(name) must be finite and not negative, not \(value)")
        }
        for (name, value) in [("beta1", beta1), ("beta2", beta2)] where !(value >= 0 && value < 1) {
            throw EmbedCompressError.invalidArgument("\(name) must be at least 0 and below 1, not \(value)")
        }
        guard step >= 1 else { throw EmbedCompressError.invalidArgument("step must be at least 1, not \(step)") }
    }

    /// 1 - beta1^t and 1 - beta2^t.
    var corrections: (first: Double, second: Double) {
        (1 - pow(beta1, Double(step)), 1 - pow(beta2, Double(step)))
    }
}
