extension TableFile {
    /// Checks the whole file: of every table each rule over all of each array, and of every tensor its digest, if the file
    /// has digests.
    ///
    /// - Parameter progress: Told of bytes.
    /// - Throws: ``EmbedCompressError/format(_:path:)`` for the first rule that is broken.
    public func verify(progress callback: ProgressCallback? = nil) throws {
        try EmbedCompressError.inFile(path) { try MappedFile.reading([file.storage]) { try verifyAll(callback) } }
    }

    private func verifyAll(_ callback: ProgressCallback?) throws {
        var tables: [(name: String, table: Table)] = []
        for name in trees?.keys ?? [] { tables.append((name, try read(name, arrays(map: true)))) }
        let digests = try TensorDigests(of: file)
        var arrays: [(name: String, bytes: Bytes)] = []
        for name in file.header.tensors.map(\.name) { arrays.append((name, try tensor(name).bytes)) }
        try Self.verify(tables, digests: digests, of: arrays, callback)
    }

    /// ``table(_:map:)``, once each rule over all of the table's arrays is checked, and their digests if the file has some.
    ///
    /// - Parameter progress: Told of bytes.
    public func verifiedTable(
        _ name: String? = nil, map: Bool = true, progress callback: ProgressCallback? = nil
    ) throws -> Table {
        try EmbedCompressError.inFile(path) {
            try MappedFile.reading([file.storage]) { try verifiedTable(name ?? onlyName(), arrays(map: map), callback) }
        }
    }

    private func verifiedTable(
        _ name: String, _ source: NodeDecoder.ArraySource, _ callback: ProgressCallback?
    ) throws -> Table {
        let table = try read(name, source)
        var arrays: [(name: String, bytes: Bytes)] = []
        for key in source.used.sorted() { arrays.append((key.text, try source.array(key.text).bytes)) }
        try Self.verify([(name, table)], digests: TensorDigests(of: file), of: arrays, callback)
        return table
    }

    private static func verify(
        _ tables: [(name: String, table: Table)], digests: TensorDigests?, of arrays: [(name: String, bytes: Bytes)],
        _ callback: ProgressCallback?
    ) throws {
        let tableBytes = Checked.sum(of: tables.map { $0.table.root.bytesOfPieces })
        let digestBytes = Checked.sum(of: digests == nil ? [] : arrays.map { $0.bytes.count })
        let progress = ProgressCounter(
            total: Checked.sum(of: [tableBytes, digestBytes]) ?? Int.max, callback: callback)
        if let digests {
            for array in arrays { try digests.check(array.name, array.bytes, progress: progress) }
        }
        for (name, table) in tables { try table.root.verifyTree(name, progress: progress) }
        try progress.report()
    }
}

extension Table {
    /// Checks each rule over all of the table's arrays, which lookups else check row by row.
    ///
    /// - Parameter progress: Told of bytes.
    /// - Throws: ``EmbedCompressError/format(_:path:)`` for the first rule that is broken.
    public func verify(progress callback: ProgressCallback? = nil) throws {
        let progress = ProgressCounter(total: root.bytesOfPieces, callback: callback)
        try reading { try root.verifyTree("", progress: progress) }
    }
}

extension TableExpression {
    /// - Parameter path: The table's name, and the fields that lead to the node.
    fileprivate func verifyTree(_ path: String, progress: ProgressCounter) throws {
        do {
            let arrays = ArrayCheck(progress: progress)
            try (self as? any Node)?.verify(arrays)
            try arrays.finish(ownBytes)
        } catch EmbedCompressError.format(let error, path: nil) {
            throw EmbedCompressError.format(.inNode(path: path, error: error))
        }
        for child in children {
            try child.expression.verifyTree(path.isEmpty ? child.name : path + "." + child.name, progress: progress)
        }
    }
}
