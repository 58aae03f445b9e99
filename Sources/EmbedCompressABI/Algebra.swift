public import CEmbedCompress.ABI
internal import EmbedCompress

@_cdecl("ec_symmetric_eigenvectors")
public func symmetricEigenvectors(
    matrix: UnsafePointer<Double>?, size: Int64, values: UnsafeMutablePointer<Double>?,
    vectors: UnsafeMutablePointer<Double>?, progress: ec_progress?, context: UnsafeMutableRawPointer?
) -> ec_status {
    withStatus {
        let size = try count(size, "size")
        guard size > 0 else { return }
        try LinearAlgebra.symmetricEigenvectors(
            try required(matrix, "matrix"), size: size, values: try required(values, "values"),
            vectors: try required(vectors, "vectors"), progress: progressCallback(progress, context))
    }
}
