/// Multipliers whose values have the least error on normally distributed columns, of some hundreds that were tried at random
/// for each number of bits of a state and of a column.
enum TrellisMultipliers {
    static func multiplier(stateBits: Int, bits: Int) -> UInt32 {
        let row = best[stateBits - TrellisCode.stateBitRange.lowerBound]
        return row[min(max(bits, 1), row.count) - 1]
    }

    /// For states of 8 bits and more, and columns of 1 bit and more.
    private static let best: [[UInt32]] = [
        [0xc768_c5b7, 0x5a8b_61eb, 0x6468_ece9, 0x8839_1abb],
        [0x686e_c347, 0x5654_67bb, 0x9a1a_426b, 0x76d5_d17f, 0x54e7_94d3],
        [0x2b71_b12b, 0x2f54_39db, 0xb692_5b3f, 0xcac4_5467, 0xb06a_0fbf, 0x5e57_44a3],
        [0x734a_5f39, 0x0f6a_56e1, 0xdc94_5ee3, 0x7fb8_9bef, 0xb06a_0fbf, 0x7ce1_b6bf, 0xf6cc_e8c3],
        [0x48d8_a499, 0x520e_35db, 0x9a1a_426b, 0xf6cc_e8c3, 0x82e9_2b43, 0x040d_bc3f, 0xf6cc_e8c3, 0xf6cc_e8c3],
        [0x2950_a5b5, 0x2178_7145, 0x2178_7145, 0xfb54_b563, 0xc446_a0e1, 0x0edb_5dc3, 0xfeb9_e24f, 0x5124_61db],
        [0xaf28_669d, 0xa6d1_4cfb, 0x682b_d151, 0x48c7_e4bb, 0x8538_26b7, 0x6fa1_d133, 0x6c46_f75d, 0x0edb_5dc3],
        [0x593e_ad81, 0x682b_d151, 0x6fa1_d133, 0x88cb_1071, 0xe102_0d47, 0xec2e_6b71, 0x2b0b_cb5f, 0x2178_7145],
        [0x2178_7145, 0x2b0b_cb5f, 0xb833_4939, 0xe8ac_e667, 0xe102_0d47, 0x2178_7145, 0xb22c_1355, 0x2178_7145],
    ]
}
