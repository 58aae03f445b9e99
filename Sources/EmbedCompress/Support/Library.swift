internal import CEmbedCompress.Shims

/// Facts about this build.
public enum Library {
    public static let version: StaticString = "0.1.0"

    /// The instruction set that this build was compiled for, such as "x86-64-v3" or "arm64".
    public static var instructionSet: String { EC_SHIM_ISA }
}
