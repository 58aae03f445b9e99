// swift-tools-version: 6.0
import PackageDescription

let package = Package(
    name: "EmbedCompress",
    // The oldest systems that have Swift's concurrency, which asynchronous compression uses. Processors are 64-bit ones.
    platforms: [.macOS(.v10_15), .iOS(.v13), .tvOS(.v13), .macCatalyst(.v13), .visionOS(.v1)],
    products: [
        .library(name: "EmbedCompress", targets: ["EmbedCompress"]),
        .library(name: "EmbedCompressFoundation", targets: ["EmbedCompressFoundation"]),
    ],
    targets: [
        // MARK: - Public API
        .target(
            name: "EmbedCompress",
            dependencies: ["CEmbedCompress"],
            swiftSettings: [.enableUpcomingFeature("InternalImportsByDefault")]
        ),

        // Descriptions of errors for Foundation, which the library itself does without.
        .target(
            name: "EmbedCompressFoundation", dependencies: ["EmbedCompress"],
            swiftSettings: [.enableUpcomingFeature("InternalImportsByDefault")]
        ),

        // MARK: - C ABI
        // Headers only: the statement of the ABI, and shims for instructions that Swift cannot name.
        .target(name: "CEmbedCompress"),
        .target(
            name: "EmbedCompressABI",
            dependencies: ["EmbedCompress", "CEmbedCompress"],
            exclude: ["exports.map"],
            swiftSettings: [.enableUpcomingFeature("InternalImportsByDefault")]
        ),

        // MARK: - Tests
        // References are slow by design; without optimisation they would take most of the tests' time.
        .target(
            name: "TestSupport", dependencies: ["EmbedCompress"], path: "Tests/TestSupport",
            swiftSettings: [.unsafeFlags(["-O"])]
        ),
        .testTarget(
            name: "EmbedCompressTests", dependencies: ["EmbedCompress", "EmbedCompressFoundation", "TestSupport"]),
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

// The C library is part of the package only when its build asks for it, because linking it takes unsafe flags, which
// Swift users never meet. python/_build/c_library.py sets the variable to the name that the library has at run time. The
// product's own name differs from EmbedCompress by more than case, for file systems that ignore it.
if let runtimeName = Context.environment["EMBEDCOMPRESS_C_LIBRARY"] {
    #if os(macOS)
        let linkerFlags = ["-install_name", "@rpath/" + runtimeName, "-exported_symbol", "_ec_*"]
            .flatMap { ["-Xlinker", $0] }
    #else
        let exports = Context.packageDirectory + "/Sources/EmbedCompressABI/exports.map"
        // Never unloaded, because threads that have used the library clean up through it when they end.
        let linkerFlags = ["-soname=" + runtimeName, "--version-script=" + exports, "-z", "nodelete", "-s"]
            .flatMap { ["-Xlinker", $0] }
    #endif
    package.products.append(.library(name: "embedcompress_c", type: .dynamic, targets: ["EmbedCompressABI"]))
    for target in package.targets where target.name == "EmbedCompressABI" {
        target.linkerSettings = [.unsafeFlags(linkerFlags)]
    }
}

// The fuzzer is part of the package only when its build asks for it, because libFuzzer brings the main function, which no
// other build has. python/_build/fuzz.py sets the variable.
if Context.environment["EMBEDCOMPRESS_FUZZ"] != nil {
    package.products.append(.executable(name: "fuzz", targets: ["fuzz"]))
    package.targets.append(
        .executableTarget(
            name: "fuzz", dependencies: ["EmbedCompressABI", "CEmbedCompress"], path: "Tests/Fuzz",
            exclude: ["corpus.tar.xz", "words.dict"]))
}
