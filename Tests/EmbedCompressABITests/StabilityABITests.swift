import CEmbedCompress.ABI
import EmbedCompressABI
import XCTest

/// What programs that were compiled with an older header rely on. Whoever has to change a number here raises
/// EC_ABI_VERSION.
final class StabilityABITests: XCTestCase {
    func testTheHeaderAndTheLibraryAreOfOneVersion() {
        XCTAssertEqual(
            String(cString: ec_version()), "\(EC_VERSION_MAJOR).\(EC_VERSION_MINOR).\(EC_VERSION_PATCH)")
        XCTAssertEqual(EC_ABI_VERSION, 0)
    }

    func testValuesOfEnumerations() {
        let statuses = [
            EC_OK, EC_INVALID_ARGUMENT, EC_INVALID_ID, EC_FORMAT, EC_BUDGET, EC_IO, EC_CANCELLED, EC_OUT_OF_MEMORY,
            EC_INTERNAL,
        ]
        XCTAssertEqual(statuses.map(\.rawValue), Array(0...8))
        let types = [
            EC_U8, EC_I8, EC_U16, EC_I16, EC_F16, EC_BF16, EC_U32, EC_I32, EC_F32, EC_U64, EC_I64, EC_F64,
        ]
        XCTAssertEqual(types.map(\.rawValue), Array(0...11))
        XCTAssertEqual([EC_SUM, EC_MEAN, EC_MAX].map(\.rawValue), [0, 1, 2])
        XCTAssertEqual([EC_RAISE, EC_ZERO].map(\.rawValue), [0, 1])
    }

    /// Sizes and offsets on systems with pointers of eight bytes.
    func testLayoutsOfStructures() {
        XCTAssertEqual(MemoryLayout<ec_string>.size, 16)
        XCTAssertEqual(MemoryLayout<ec_string>.offset(of: \.count), 8)

        XCTAssertEqual(MemoryLayout<ec_array>.size, 32)
        XCTAssertEqual(MemoryLayout<ec_array>.offset(of: \.dtype), 8)
        XCTAssertEqual(MemoryLayout<ec_array>.offset(of: \.rank), 12)
        XCTAssertEqual(MemoryLayout<ec_array>.offset(of: \.shape), 16)
        XCTAssertEqual(MemoryLayout<ec_array>.offset(of: \.data), 24)

        XCTAssertEqual(MemoryLayout<ec_bags>.size, 72)
        let offsets = [
            MemoryLayout<ec_bags>.offset(of: \.ids), MemoryLayout<ec_bags>.offset(of: \.offsets),
            MemoryLayout<ec_bags>.offset(of: \.weights), MemoryLayout<ec_bags>.offset(of: \.id_count),
            MemoryLayout<ec_bags>.offset(of: \.offset_count), MemoryLayout<ec_bags>.offset(of: \.padding_id),
            MemoryLayout<ec_bags>.offset(of: \.id_bytes), MemoryLayout<ec_bags>.offset(of: \.offset_bytes),
            MemoryLayout<ec_bags>.offset(of: \.include_last_offset), MemoryLayout<ec_bags>.offset(of: \.mode),
            MemoryLayout<ec_bags>.offset(of: \.on_invalid),
        ]
        XCTAssertEqual(offsets, [0, 8, 16, 24, 32, 40, 48, 52, 56, 60, 64])
    }
}
