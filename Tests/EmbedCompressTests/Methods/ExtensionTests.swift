import TestSupport
import XCTest

@_spi(Extension) @testable import EmbedCompress

/// Rows of 16-bit integers times a step: what a package could add.
private struct Steps: Store {
    static let kind = "steps_of_a_test"
    let rows: Int
    let dimension: Int
    let step: Int
    let codes: StoreArray

    var storedBytes: Int { codes.count + 8 }
    var summary: String { "Steps of \(step)" }

    init(rows: Int, dimension: Int, step: Int, codes: StoreArray) {
        (self.rows, self.dimension, self.step, self.codes) = (rows, dimension, step, codes)
    }

    func decode(row: Int, into output: UnsafeMutableBufferPointer<Float>) {
        codes.withUnsafeBytes { bytes in
            for column in 0..<dimension {
                let place = 2 * (row * dimension + column)
                output[column] = Float(step) * Float(bytes.loadUnaligned(fromByteOffset: place, as: Int16.self))
            }
        }
    }

    func sliced(_ range: Range<Int>) throws -> Steps {
        let bytes = 2 * dimension * range.lowerBound..<2 * dimension * range.upperBound
        return Steps(rows: range.count, dimension: dimension, step: step, codes: try XCTUnwrap(codes.range(bytes)))
    }

    func encode(into encoder: inout StoreEncoder) {
        encoder.set("step", step)
        encoder.add("codes", type: .i16, shape: [rows, dimension], codes)
    }

    init(from decoder: inout StoreDecoder) throws {
        (rows, dimension) = (decoder.rows, decoder.dimension)
        step = try decoder.integer("step", 1...1000)
        codes = try decoder.array("codes", type: .i16, shape: [rows, dimension])
    }
}

/// A store that claims 2^59 bytes.
private struct Claiming: Store {
    static let kind = "claims_of_a_test"
    let rows = 1
    let dimension = 1
    let storedBytes = 1 << 59
    let summary = "Claims"

    init() {}
    func decode(row _: Int, into _: UnsafeMutableBufferPointer<Float>) {}
    func sliced(_: Range<Int>) throws -> Claiming { self }
    func encode(into _: inout StoreEncoder) {}
    init(from _: inout StoreDecoder) throws {}
}

/// A kind whose name is taken.
private struct Taken: Store {
    static let kind = "dense"
    let rows = 1
    let dimension = 1
    let storedBytes = 0
    let summary = ""
    func decode(row: Int, into output: UnsafeMutableBufferPointer<Float>) {}
    func sliced(_ range: Range<Int>) throws -> Taken { self }
    func encode(into encoder: inout StoreEncoder) {}
    init(from decoder: inout StoreDecoder) throws {}
    init() {}
}

final class ExtensionTests: XCTestCase {
    /// Registered once: what is registered stays known as long as the process lives.
    private static let registered: Result<Void, any Error> = Result {
        try Table.register(Steps.self)
        try Method.register(rounded)
    }

    private static let rounded = Method(
        name: "rounded_of_a_test", title: "Rounded-Test", family: .uniformQuantization, paper: "-",
        summary: "8-bit codes by ASYM", bytesPerRow: "d + 4", cost: "one pass",
        options: [Option("bits", .integerFrom([4, 8]), default: 8, "bits of a code")]
    ) { source, options in try source.compressed("asym", options) }

    override func setUpWithError() throws { try Self.registered.get() }

    // MARK: Methods

    func testARegisteredMethodIsTakenByItsName() throws {
        XCTAssertEqual(Method.all.last?.name, "rounded_of_a_test")
        XCTAssertTrue(MethodEntry.all.contains { $0.name == "rounded_of_a_test" && $0.stage == .afterTraining })
        let source = try randomDense(rows: 20, dimension: 16, seed: 5)
        for name in ["rounded_of_a_test", "Rounded-Test", "ROUNDED TEST"] {
            XCTAssertEqual(
                try source.compressed(name, ["bits": 4]).decode(), try source.compressed("asym", ["bits": 4]).decode())
        }
        assertInvalidArgument("rounded_of_a_test: bits must be one of 4, 8, not 3") {
            _ = try source.compressed("rounded_of_a_test", ["bits": 3])
        }
    }

    func testNamesAndTitlesThatAreTakenAreRefused() {
        for (name, title, other) in [("greedy", "Mine", "greedy"), ("mine", "kmeans cls", "kmeans_cls")] {
            assertInvalidArgument("method '\(name)': name or title is taken by '\(other)'") {
                try Method.register(
                    Method(
                        name: name, title: title, family: .hybrid, paper: "-", summary: "s", bytesPerRow: "b", cost: "c"
                    ) { source, _ in source })
            }
        }
        assertInvalidArgument("method 'Mine': a name is lower-case letters") {
            try Method.register(
                Method(
                    name: "Mine", title: "Mine", family: .hybrid, paper: "-", summary: "s", bytesPerRow: "b", cost: "c"
                ) {
                    source, _ in source
                })
        }
    }

    func testATableOfAnotherShapeIsAnError() throws {
        let halved = Method(
            name: "halved", title: "Halved", family: .hybrid, paper: "-", summary: "s", bytesPerRow: "b", cost: "c"
        ) { source, _ in try source.slice(0..<source.rows / 2) }
        let source = try randomDense(rows: 20, dimension: 16, seed: 5)
        let progress = halved.progress(rows: 20, nil)
        assertInvalidArgument("halved made a table of 10 x 16 of one of 20 x 16") {
            _ = try halved.begin(source, [:], weights: nil, progress: progress)
        }
    }

    func testThreadsRegisterOneAtATime() {
        let registry = Registry<Int>([])
        Parallel.forEach(count: 1000, grain: 1) { range in
            for number in range { try? registry.add(number) { _ in } }
        }
        XCTAssertEqual(registry.items.sorted(), Array(0..<1000))
    }

    // MARK: Names

    func testNamesOfBothStages() throws {
        XCTAssertEqual(try Method.named("KMEANS-CLS").name, "kmeans_cls")
        XCTAssertEqual(try MethodEntry.named("TT-Rec", stage: .whileTraining).name, "tt")
        XCTAssertEqual(try MethodEntry.named("Dedup", stage: .afterTraining).stage, .afterTraining)
        XCTAssertEqual(try MethodEntry.named("Dedup", stage: .whileTraining).stage, .whileTraining)
        assertInvalidArgument("ROBE works while training, not on a table that is there") {
            _ = try Method.named("robe")
        }
        assertInvalidArgument("PQ works after training") {
            _ = try MethodEntry.named("pq", stage: .whileTraining)
        }
        assertInvalidArgument("there is no method 'gredy' (is it greedy?); the methods are table") {
            _ = try Method.named("gredy")
        }
        for entry in MethodEntry.all { XCTAssertNoThrow(try entry.validate(), entry.name) }
    }

    // MARK: Stores

    private func steps() throws -> Table {
        let codes: [Int16] = (0..<40).map { Int16($0 * $0 - 300) }
        return try Table(
            Steps(rows: 10, dimension: 4, step: 3, codes: codes.withUnsafeBytes { try StoreArray(copying: $0) }))
    }

    func testARegisteredStoreIsSavedAndLoaded() throws {
        let table = try steps()
        let wanted = (0..<40).map { Float(3 * ($0 * $0 - 300)) }
        XCTAssertEqual(try table.decode(), wanted)
        let path = NSTemporaryDirectory() + "/embedcompress-" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: path) }
        try table.save(to: path)
        let copy = try Table(contentsOf: path)
        XCTAssertEqual(copy.description, table.description)
        XCTAssertEqual(copy.storedBytes, 88)
        XCTAssertEqual(try copy.decode(), wanted)
        XCTAssertEqual(try copy.slice(3..<7).decode(), Array(wanted[12..<28]))
        let rows = try copy.lookup([9, -1, 0], onInvalid: .zero)
        XCTAssertEqual(rows, Array(wanted[36...]) + [0, 0, 0, 0] + wanted[..<4])
    }

    func testKindsThatAreTakenOrUnknownAreRefused() throws {
        try Table.register(Claiming.self)
        let claiming = try Table(Claiming())
        XCTAssertEqual(try Table(Columns([claiming, claiming])).storedBytes, 1 << 60)
        assertInvalidArgument("more than 2^60 bytes") { _ = try Columns([claiming, claiming, claiming]) }
        assertInvalidArgument("'dense', which is empty or taken") { try Table.register(Taken.self) }
        assertInvalidArgument("'steps_of_a_test', which is empty or taken") { try Table.register(Steps.self) }
        assertInvalidArgument("the kind of store 'dense' is not registered") { _ = try Table(Taken()) }
    }
}
