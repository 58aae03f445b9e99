internal import CEmbedCompress.Shims

/// Facts about this build.
public enum Library {
    public static let version: StaticString = "0.1.0"

    /// The instruction set that this build was compiled for, such as "x86-64-v3" or "arm64". A Swift package is compiled
    /// for "x86-64", which every processor of that architecture has, unless flags say otherwise; see
    /// <doc:FastKernels>. With the C flag -DEMBEDCOMPRESS_PLAIN, and on processors that have no kernels here, it is "plain":
    /// no instruction is named.
    public static var instructionSet: String { EC_SHIM_ISA }

    /// Whether the compiler has optimised this build. One that it has not, such as a debug build, is some hundred times
    /// slower; results are the same.
    public static var isOptimized: Bool {
        // The condition of an assertion is computed in builds without optimisation only.
        var isChecked = false
        assert(
            {
                isChecked = true
                return true
            }())
        return !isChecked
    }

    /// Which kernels this build has, for people: "x86-64-v4, 16 floats in a register, optimised".
    public static var kernels: String {
        let lanes = ["x86-64-v4": 16, "x86-64-v3": 8][instructionSet] ?? 4
        return "\(instructionSet), \(lanes) floats in a register, \(isOptimized ? "optimised" : "not optimised")"
    }
}
