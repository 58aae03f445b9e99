// What Foundation shows of an error comes from this protocol of its own and from nothing else, so it stands apart from the
// library, which does without Foundation. A program that links this has it everywhere.
public import EmbedCompress
public import Foundation

extension EmbedCompressError: LocalizedError {
    /// What happened: the text of `description`.
    public var errorDescription: String? { description }
}

extension FormatError: LocalizedError {
    /// Which rule is broken: the text of `description`.
    public var errorDescription: String? { description }
}
