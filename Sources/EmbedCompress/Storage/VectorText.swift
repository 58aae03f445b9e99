/// Word vectors as text: in each line a word and its numbers, with spaces or tabs between them, as GloVe and word2vec
/// write them.
public struct VectorText {
    private let bytes: UnsafePointer<UInt8>
    private let count: Int
    private let powers: UnsafePointer<Double>

    /// Reads lines until one is of another form, a number of `capacity` is read, or the text ends.
    ///
    /// A line that it stops at may still be one that a reader with more time takes, such as a word of several parts.
    ///
    /// - Parameters:
    ///   - text: Its last line may lack the newline.
    ///   - dimension: Numbers of a line.
    ///   - rows: Gets `dimension` finite numbers a line, the nearest f32 of the f64 that the text stands for.
    ///   - words: Gets where each line's word begins and ends in the text.
    /// - Returns: How many lines were read, and where the next one begins.
    public static func read(
        _ text: UnsafeRawBufferPointer, dimension: Int, capacity: Int, rows: UnsafeMutablePointer<Float>,
        words: UnsafeMutablePointer<Int64>
    ) -> (rows: Int, bytes: Int) {
        guard let base = text.bindMemory(to: UInt8.self).baseAddress else { return (0, 0) }
        return exactPowers.withUnsafeBufferPointer { powers in
            guard let first = powers.baseAddress else { return (0, 0) }
            let reader = VectorText(bytes: base, count: text.count, powers: first)
            var (row, start) = (0, 0)
            while row < capacity, start < text.count {
                guard let line = reader.line(at: start, dimension, to: rows + row * dimension) else { break }
                (words[2 * row], words[2 * row + 1]) = (Int64(start), Int64(line.wordEnd))
                (row, start) = (row + 1, line.end)
            }
            return (row, start)
        }
    }

    /// A line's numbers; where its word ends, and where the next line begins.
    private func line(
        at start: Int, _ dimension: Int, to target: UnsafeMutablePointer<Float>
    ) -> (wordEnd: Int, end: Int)? {
        var at = start
        while at < count, !isBlank(bytes[at]), bytes[at] != newline { at += 1 }
        let wordEnd = at
        guard wordEnd > start else { return nil }
        for column in 0..<dimension {
            let before = at
            skipBlanks(&at)
            guard at > before, let value = number(&at) else { return nil }
            target[column] = value
        }
        skipBlanks(&at)
        guard at < count else { return (wordEnd, at) }
        return bytes[at] == newline ? (wordEnd, at + 1) : nil
    }

    private func skipBlanks(_ at: inout Int) {
        while at < count, isBlank(bytes[at]) { at += 1 }
    }

    /// A finite decimal number that a blank or the line's end follows.
    private func number(_ at: inout Int) -> Float? {
        let isNegative = at < count && bytes[at] == minus
        if at < count, isNegative || bytes[at] == plus { at += 1 }
        let start = at
        var (mantissa, significant, power): (UInt64, Int, Int) = (0, 0, 0)
        func digits(_ shift: Int) {
            while at < count, bytes[at] &- zero <= 9 {
                mantissa = mantissa &* 10 &+ UInt64(bytes[at] &- zero)
                if mantissa != 0 { significant += 1 }
                power += shift
                at += 1
            }
        }
        digits(0)
        var seen = at - start
        if at < count, bytes[at] == point {
            at += 1
            let before = at
            digits(-1)
            seen += at - before
        }
        guard seen > 0, seen <= Self.mostDigits else { return nil }
        if at < count, bytes[at] | 0x20 == exponentMark {
            at += 1
            guard let exponent = exponent(&at) else { return nil }
            power += exponent
        }
        guard at == count || isBlank(bytes[at]) || bytes[at] == newline else { return nil }
        let magnitude: Double
        if significant <= 19, mantissa <= 1 << 53, abs(power) < exactPowers.count {
            // Both are exact, and so their product or quotient is the nearest.
            magnitude = power < 0 ? Double(mantissa) / powers[-power] : Double(mantissa) * powers[power]
        } else {
            let text = String(decoding: UnsafeBufferPointer(start: bytes + start, count: at - start), as: UTF8.self)
            guard let value = Double(text) else { return nil }
            magnitude = value
        }
        let value = Float(magnitude)
        return value.isFinite ? (isNegative ? -value : value) : nil
    }

    private func exponent(_ at: inout Int) -> Int? {
        let isNegative = at < count && bytes[at] == minus
        if at < count, isNegative || bytes[at] == plus { at += 1 }
        let start = at
        var value = 0
        while at < count, bytes[at] &- zero <= 9 {
            value = min(value * 10 + Int(bytes[at] &- zero), 100_000)
            at += 1
        }
        guard at > start, at - start <= Self.mostDigits else { return nil }
        return isNegative ? -value : value
    }

    /// No number needs more; a line that is no vector may have any.
    private static let mostDigits = 400

    private func isBlank(_ byte: UInt8) -> Bool { byte == space || byte == tab || byte == carriageReturn }
}

/// The powers of ten that f64 holds exactly.
private let exactPowers: [Double] = (0...22).map { Double("1e\($0)") ?? .nan }

private let space = UInt8(ascii: " ")
private let tab = UInt8(ascii: "\t")
private let carriageReturn = UInt8(ascii: "\r")
private let newline = UInt8(ascii: "\n")
private let plus = UInt8(ascii: "+")
private let minus = UInt8(ascii: "-")
private let point = UInt8(ascii: ".")
private let zero = UInt8(ascii: "0")
private let exponentMark = UInt8(ascii: "e")
