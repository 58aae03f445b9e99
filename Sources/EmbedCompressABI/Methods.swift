public import CEmbedCompress.ABI
internal import EmbedCompress

@_cdecl("ec_methods")
public func methods(out: UnsafeMutablePointer<ec_string>?) -> ec_status {
    withStatus { try hand(try MethodEntry.catalog(), to: try required(out, "out")) }
}

@_cdecl("ec_method_name")
public func methodName(
    method: UnsafePointer<CChar>?, stage: UnsafePointer<CChar>?, out: UnsafeMutablePointer<ec_string>?
) -> ec_status {
    withStatus {
        let out = try required(out, "out")
        try hand(try entry(method, stage).name, to: out)
    }
}

@_cdecl("ec_method_options")
public func methodOptions(
    method: UnsafePointer<CChar>?, stage: UnsafePointer<CChar>?, options: UnsafePointer<CChar>?,
    out: UnsafeMutablePointer<ec_string>?
) -> ec_status {
    withStatus {
        let out = try required(out, "out")
        try hand(try entry(method, stage).values(given: try text(options, "options")), to: out)
    }
}

@_cdecl("ec_method_register")
public func methodRegister(entry: UnsafePointer<CChar>?) -> ec_status {
    withStatus { try MethodEntry.register(MethodEntry(text: try text(entry, "entry"))) }
}

private func entry(_ method: UnsafePointer<CChar>?, _ stage: UnsafePointer<CChar>?) throws -> MethodEntry {
    let (name, words) = (try text(method, "method"), try text(stage, "stage"))
    guard let stage = Stage(rawValue: words) else {
        let stages = Stage.allCases.map { "'\($0.rawValue)'" }.joined(separator: ", ")
        throw invalid("stage must be one of \(stages), not '\(words)'")
    }
    return try MethodEntry.named(name, stage: stage)
}
