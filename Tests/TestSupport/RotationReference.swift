/// The randomised Hadamard rotation, sum by sum.
public struct RotationReference {
    private let dimension: Int
    private let signs: [[Double]]
    private let window: Int

    public init(dimension: Int, seed: UInt64) {
        self.dimension = dimension
        var window = 1
        while 2 * window <= dimension { window *= 2 }
        self.window = window
        var generator = SeededGenerator(seed: seed)
        signs = (0..<(window == dimension ? 2 : 4)).map { _ in
            let words = (0..<(dimension + 63) / 64).map { _ in generator.next() }
            return (0..<dimension).map { words[$0 / 64] >> ($0 % 64) & 1 == 0 ? 1 : -1 }
        }
    }

    private func start(_ step: Int) -> Int { step % 2 == 0 ? 0 : dimension - window }

    private func transformed(_ row: [Double], from start: Int) -> [Double] {
        var result = row
        for i in 0..<window {
            let sum = (0..<window).reduce(0) { $0 + ((i & $1).nonzeroBitCount % 2 == 0 ? 1 : -1) * row[start + $1] }
            result[start + i] = sum / Double(window).squareRoot()
        }
        return result
    }

    private func paired(_ row: [Double]) -> [Double] {
        var result = row
        let half = window == dimension ? 0 : dimension / 2
        for index in 0..<half {
            let (a, b) = (row[index], row[dimension - half + index])
            result[index] = (a + b) / 2.squareRoot()
            result[dimension - half + index] = (a - b) / 2.squareRoot()
        }
        return result
    }

    public func rotated(_ row: [Float]) -> [Double] {
        var row = row.map(Double.init)
        for step in signs.indices {
            if step == 2 { row = paired(row) }
            row = transformed(zip(row, signs[step]).map { $0 * $1 }, from: start(step))
        }
        return row
    }

    public func restored(_ row: [Float]) -> [Double] {
        var row = row.map(Double.init)
        for step in signs.indices.reversed() {
            row = zip(transformed(row, from: start(step)), signs[step]).map { $0 * $1 }
            if step == 2 { row = paired(row) }
        }
        return row
    }
}
