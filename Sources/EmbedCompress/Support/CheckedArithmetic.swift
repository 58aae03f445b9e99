/// Arithmetic on sizes that come from outside: overflow gives nil, never a trap.
enum Checked {
    static func product(_ factors: Int...) -> Int? {
        product(of: factors)
    }

    static func product(of factors: some Sequence<Int>) -> Int? {
        var result = 1
        for factor in factors {
            let (value, overflow) = result.multipliedReportingOverflow(by: factor)
            if overflow { return nil }
            result = value
        }
        return result
    }

    static func sum(_ terms: Int...) -> Int? {
        var result = 0
        for term in terms {
            let (value, overflow) = result.addingReportingOverflow(term)
            if overflow { return nil }
            result = value
        }
        return result
    }

    /// `whole * part / parts`, rounded down, whatever the product; `whole` is not negative, and `part` is from 0 to `parts`.
    static func share(of whole: Int, _ part: Int, of parts: Int) -> Int {
        let product = whole.magnitude.multipliedFullWidth(by: part.magnitude)
        return Int(parts.magnitude.dividingFullWidth(product).quotient)
    }

    /// nil if a term is.
    static func sum(of terms: some Sequence<Int?>) -> Int? {
        terms.reduce(0) { total, term in
            guard let total, let term else { return nil }
            return sum(total, term)
        }
    }
}
