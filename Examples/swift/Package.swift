// swift-tools-version: 6.0
import PackageDescription

let package = Package(
    name: "EmbedCompressExamples",
    platforms: [.macOS(.v13)],
    dependencies: [
        // Where the repository is, and the oldest version that will do.
        .package(url: "https://example.com/embedcompress.git", from: "0.1.0")
    ],
    targets: [
        .executableTarget(
            name: "Embeddings",
            dependencies: [
                .product(name: "EmbedCompress", package: "embedcompress"),
                .product(name: "EmbedCompressFoundation", package: "embedcompress"),
            ]),
        .executableTarget(
            name: "Benchmark", dependencies: [.product(name: "EmbedCompress", package: "embedcompress")]),
    ],
    swiftLanguageModes: [.v6]
)
