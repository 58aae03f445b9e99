// swift-tools-version: 6.0
import PackageDescription

let package = Package(
    name: "EmbedCompress",
    products: [
        .library(name: "EmbedCompress", targets: ["EmbedCompress"])
    ],
    targets: [
        // MARK: - Public API
        .target(
            name: "EmbedCompress",
            dependencies: ["CEmbedCompress"],
            swiftSettings: [.enableUpcomingFeature("InternalImportsByDefault")]
        ),

        // MARK: - C ABI
        // Headers only: the statement of the ABI, and shims for instructions that Swift cannot name.
        .target(name: "CEmbedCompress"),
        .target(
            name: "EmbedCompressABI",
            dependencies: ["EmbedCompress", "CEmbedCompress"],
            swiftSettings: [.enableUpcomingFeature("InternalImportsByDefault")]
        ),

        // MARK: - Tests
        // References are slow by design; without optimisation they would take most of the tests' time.
        .target(
            name: "TestSupport", dependencies: ["EmbedCompress"], path: "Tests/TestSupport",
            swiftSettings: [.unsafeFlags(["-O"])]
        ),
        .testTarget(name: "EmbedCompressTests", dependencies: ["EmbedCompress", "TestSupport"]),
        .testTarget(
            name: "EmbedCompressABITests",
            dependencies: ["EmbedCompressABI", "CEmbedCompress", "TestSupport"]
        ),
    ],
    swiftLanguageModes: [.v6]
)

// The CPython extension is part of the package only when the Python build asks for it, so that Swift users need no
// Python and never meet its unsafe flags. python/_build/swift.py sets the variable to the folder that holds Python.h.
if let pythonInclude = Context.environment["EMBEDCOMPRESS_PYTHON_INCLUDE"] {
    #if os(macOS)
        let linkerFlags = ["-Xlinker", "-undefined", "-Xlinker", "dynamic_lookup"]
    #else
        let exports = Context.packageDirectory + "/python/csrc/exports.map"
        let linkerFlags = ["-Xlinker", "--version-script=" + exports, "-Xlinker", "-s"]
    #endif
    package.products.append(.library(name: "_core", type: .dynamic, targets: ["PythonExtension"]))
    package.targets.append(
        .target(
            name: "PythonExtension",
            dependencies: ["EmbedCompressABI", "CEmbedCompress"],
            path: "python/csrc",
            exclude: ["exports.map"],
            publicHeadersPath: ".",
            cSettings: [.unsafeFlags(["-I" + pythonInclude, "-fvisibility=hidden"])],
            linkerSettings: [.unsafeFlags(linkerFlags)]
        )
    )
}
