/// A kind of store from outside this module: rows that are held in arrays of its own, and decoded one at a time.
///
/// Tables of it are looked up, pooled, sliced, saved and loaded as all others are. Pooling decodes rows and adds them.
@_spi(Extension)
public protocol Store: Sendable {
    /// The name of this kind in files.
    static var kind: String { get }
    /// Ids are `0 ..< rows`.
    var rows: Int { get }
    /// Columns of a row.
    var dimension: Int { get }
    /// Every byte that it holds.
    var storedBytes: Int { get }
    /// One line about it, for people.
    var summary: String { get }

    /// Writes a row, `dimension` numbers. It is called from many threads at once; the row is in `0 ..< rows`.
    func decode(row: Int, into output: UnsafeMutableBufferPointer<Float>)
    /// Rows `range`, which lies within `0 ..< rows`.
    func sliced(_ range: Range<Int>) throws -> Self
    /// Hands out fields and arrays; `init(from:)` takes them back.
    func encode(into encoder: inout StoreEncoder)
    /// Takes what `encode(into:)` handed out, from a file that may have been written by anyone: checks all that would
    /// make a row be read from outside an array.
    init(from decoder: inout StoreDecoder) throws
}

/// Bytes of a store: in memory, or in a file that is mapped.
@_spi(Extension)
public struct StoreArray: Sendable {
    let bytes: Bytes

    init(_ bytes: Bytes) { self.bytes = bytes }

    /// A copy of `bytes`.
    public init(copying bytes: UnsafeRawBufferPointer) throws { self.bytes = try Bytes(copying: bytes) }

    public var count: Int { bytes.count }

    public func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try withExtendedLifetime(bytes) { try body(UnsafeRawBufferPointer(start: bytes.pointer, count: bytes.count)) }
    }

    /// The bytes of a range, on the same memory; nil if it does not lie within these.
    public func range(_ range: Range<Int>) -> StoreArray? {
        bytes.range(range.lowerBound, range.count).map { StoreArray($0) }
    }
}

/// Takes a store apart.
@_spi(Extension)
public struct StoreEncoder {
    fileprivate(set) var encoder: NodeEncoder

    public mutating func set(_ field: String, _ value: Int) { encoder.set(field, value) }
    public mutating func set(_ field: String, _ value: String) { encoder.set(field, value) }

    /// - Parameter shape: With the size of an element it says how many bytes the array has.
    public mutating func add(_ field: String, type: ElementType, shape: [Int], _ array: StoreArray) {
        encoder.add(field, type: type, shape: shape, bytes: array.bytes)
    }
}

/// Takes a store's fields and arrays out of a file. What the store does not take is an error.
@_spi(Extension)
public struct StoreDecoder {
    fileprivate(set) var decoder: NodeDecoder

    public var rows: Int { decoder.rows }
    public var dimension: Int { decoder.dimension }

    public mutating func integer(_ field: String, _ range: ClosedRange<Int>) throws -> Int {
        try decoder.integer(field, range)
    }

    public mutating func choice<Value: RawRepresentable & CaseIterable>(_ field: String, _ type: Value.Type) throws
        -> Value
    where Value.RawValue == String {
        try decoder.choice(field, type)
    }

    /// The array of a field; its bytes are as many as type and shape say.
    public mutating func array(_ field: String, type: ElementType, shape: [Int]) throws -> StoreArray {
        StoreArray(try decoder.tensor(field, type: type, shape: shape))
    }
}

extension Table {
    /// Makes a kind of store known, so that files which have it can be opened. Kinds stay known.
    ///
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` if the name of the kind is empty, or taken.
    @_spi(Extension)
    public static func register<Kind: Store>(_: Kind.Type) throws {
        let kind = Kind.kind
        try nodeKinds.add(StoreNode<Kind>.self) { known in
            guard !kind.isEmpty, !known.contains(where: { $0.kind == kind }) else {
                throw EmbedCompressError.invalidArgument("a kind of store is named '\(kind)', which is empty or taken")
            }
        }
    }

    /// A table of a store from outside this module.
    ///
    /// - Throws: ``EmbedCompressError/invalidArgument(_:)`` unless its kind is registered, and its rows and columns make
    ///   a table.
    @_spi(Extension)
    public init<Kind: Store>(_ store: Kind) throws {
        guard nodeKinds.items.contains(where: { $0 == StoreNode<Kind>.self }) else {
            throw EmbedCompressError.invalidArgument("the kind of store '\(Kind.kind)' is not registered")
        }
        self.init(try StoreNode(store: store) as any Node)
    }
}

/// A store from outside this module as the core asks it.
private struct StoreNode<Wrapped: Store>: Node {
    static var kind: String { Wrapped.kind }

    let store: Wrapped
    let rows: Int
    let dimension: Int
    var ownBytes: Int { store.storedBytes }
    var summary: String { store.summary }

    init(store: Wrapped) throws {
        self.store = store
        (rows, dimension) = (store.rows, store.dimension)
        guard (1...maximumDimension).contains(dimension) else {
            throw EmbedCompressError.invalidArgument(
                "a table needs from 1 to \(maximumDimension) columns, not \(dimension)")
        }
        try checkLimits()
    }

    init(from decoder: inout NodeDecoder) throws {
        var outer = StoreDecoder(decoder: decoder)
        let store = try Wrapped(from: &outer)
        decoder = outer.decoder
        self = try decoder.checked { try StoreNode(store: store) }
    }

    /// Only files make strange stores; programs make them themselves.
    init(composing parts: inout Composition) throws {
        throw EmbedCompressError.invalidArgument("a '\(Self.kind)' is made by the package that registers it")
    }

    static func plannedBytes(_ plan: NodePlan) throws -> Int? {
        throw EmbedCompressError.invalidArgument("a '\(Self.kind)' is planned by the package that registers it")
    }

    func encode(into encoder: inout NodeEncoder) {
        var outer = StoreEncoder(encoder: encoder)
        store.encode(into: &outer)
        encoder = outer.encoder
    }

    func sliced(_ range: Range<Int>) throws -> any Node { try StoreNode(store: try store.sliced(range)) }
    func aligned(to rowAlignment: Int, progress: ProgressCounter) throws -> any Node { self }

    func gather(_ ids: IDBlock, into output: RowBlock, context: LookupContext) {
        for index in 0..<ids.count {
            let row = UnsafeMutableBufferPointer(start: output.row(index), count: dimension)
            let id = Int(ids.ids[index])
            if id < 0 {
                row.update(repeating: 0)
            } else {
                store.decode(row: id, into: row)
            }
        }
    }

    func accumulate(_ block: BagBlock, context: LookupContext) { accumulateGathered(block, context: context) }
}
