/// What a method does to a table, in the words of the papers; every method belongs to one family.
public enum Family: String, Sendable, CaseIterable {
    /// The table as it is: what methods are compared with.
    case uncompressed
    /// Every bit of every value comes back.
    case lossless
    /// Codes at equal steps over a range that is chosen, as in Guan et al. 2019 (arXiv 1911.02079).
    case uniformQuantization = "uniform quantization"
    /// Codes into a list of levels that is chosen.
    case codebookQuantization = "codebook quantization"
    /// Codes into lists of short vectors, as in Jégou, Douze and Schmid 2011; sums of such vectors as well.
    case productQuantization = "product quantization"
    /// Products of smaller matrices: low rank and tensor trains.
    case decomposition
    /// Values that are zero take no bytes.
    case pruning
    /// Rows, or blocks of them, that are alike are stored once.
    case deduplication
    /// Hashes of an id say what its row is made of.
    case hashing
    /// Fields, or rows, with fewer columns than the table has.
    case mixedDimension = "mixed dimension"
    /// Rows that are used often are stored in another way than the rest.
    case hybrid
}

/// When a method does its work.
public enum Stage: String, Sendable, CaseIterable {
    /// It makes a smaller table of one that is there.
    case afterTraining = "after training"
    /// The table is learned in its compressed form.
    case whileTraining = "while training"
}
