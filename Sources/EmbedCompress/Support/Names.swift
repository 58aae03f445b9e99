// Second names for types whose names other modules have too, for files that import both. See the article
// <doc:NamesAndOtherModules>.

/// ``Table``, beside SwiftUI's.
public typealias EmbeddingTable = Table
/// ``Method``, beside the Objective-C runtime's, which Foundation brings along on Apple's systems.
public typealias CompressionMethod = Method
/// ``Option``, beside ArgumentParser's.
public typealias MethodOption = Option
/// ``Product``, beside StoreKit's.
public typealias ProductCodes = Product
