public import CEmbedCompress.ABI
internal import EmbedCompress

@_cdecl("ec_hash_ids")
public func hashIDs(
    ids base: UnsafeRawPointer?, width: Int32, count total: Int64, functions: UnsafePointer<ec_hash_functions>?,
    out: UnsafeMutablePointer<Float>?
) -> ec_status {
    withStatus {
        let functions = try required(functions, "functions").pointee
        let ids = try ids(base, total, width, "ids")
        let hashes = try count(functions.count, "count")
        try requireMemory("out", ids.count, hashes)
        try HashNetwork.write(
            hashesOf: ids,
            constants: (
                try required(functions.factors, "factors"), try required(functions.summands, "summands"),
                try required(functions.moduli, "moduli")
            ),
            count: hashes, buckets: try count(functions.buckets, "buckets"), to: try output(out, ids.count))
    }
}

@_cdecl("ec_hot_sketch_places")
public func hotSketchPlaces(
    sketch: UnsafePointer<ec_hot_sketch>?, ids base: UnsafeRawPointer?, width: Int32, count total: Int64,
    out: UnsafeMutablePointer<Int64>?
) -> ec_status {
    withStatus {
        let sketch = try lent(sketch)
        let ids = try ids(base, total, width, "ids")
        guard ids.count > 0 else { return }
        sketch.places(ids, into: try required(out, "out"))
    }
}

@_cdecl("ec_hot_sketch_add")
public func hotSketchAdd(
    sketch: UnsafePointer<ec_hot_sketch>?, ids base: UnsafeRawPointer?, width: Int32, count total: Int64,
    norms: UnsafePointer<Float>?
) -> ec_status {
    withStatus {
        let sketch = try lent(sketch)
        let ids = try ids(base, total, width, "ids")
        guard ids.count > 0 else { return }
        try sketch.add(ids, try required(norms, "norms"))
    }
}

private func lent(_ sketch: UnsafePointer<ec_hot_sketch>?) throws -> HotSketch {
    let given = try required(sketch, "sketch").pointee
    return try HotSketch(
        keys: try required(given.keys, "keys"), scores: try required(given.scores, "scores"),
        places: try required(given.places, "places"), buckets: try count(given.buckets, "buckets"),
        seed: try count(given.seed, "seed"))
}

@_cdecl("ec_train_products_rows")
public func trainProductsRows(
    products: UnsafePointer<ec_train_products>?, owners base: UnsafeRawPointer?, width: Int32, count total: Int64,
    out: UnsafeMutablePointer<Float>?
) -> ec_status {
    withStatus {
        let owners = try ids(base, total, width, "owners")
        guard let products = try lent(products, owners.count) else { return }
        try products.rows(owners, into: try required(out, "out"))
    }
}

@_cdecl("ec_train_products_gradients")
public func trainProductsGradients(
    products: UnsafePointer<ec_train_products>?, owners base: UnsafeRawPointer?, width: Int32, count total: Int64,
    slopes: UnsafePointer<Float>?, gradients: UnsafePointer<ec_train_gradients>?
) -> ec_status {
    withStatus {
        let owners = try ids(base, total, width, "owners")
        let given = try required(gradients, "gradients").pointee
        guard let products = try lent(products, owners.count) else { return }
        try products.gradients(
            owners, of: try required(slopes, "slopes"),
            into: TrainProducts.Gradients(
                left: try required(given.left, "left"), middle: try required(given.middle, "middle"),
                slices: try count(given.slices, "slices"), right: try required(given.right, "right")))
    }
}

@_cdecl("ec_train_products_step")
public func trainProductsStep(
    products: UnsafePointer<ec_train_products>?, owners base: UnsafeRawPointer?, width: Int32, count total: Int64,
    slopes: UnsafePointer<Float>?, table: UnsafePointer<ec_trained_rows>?, step: UnsafePointer<ec_row_step>?,
    left: UnsafeMutablePointer<Float>?, right: UnsafeMutablePointer<Float>?
) -> ec_status {
    withStatus {
        let owners = try ids(base, total, width, "owners")
        let table = try lent(table)
        let optimizer = try optimizer(try required(step, "step").pointee)
        guard let products = try lent(products, owners.count) else { return }
        try products.step(
            owners, of: try required(slopes, "slopes"), left: try required(left, "left"),
            right: try required(right, "right"), table, optimizer)
    }
}

/// nil if there are no rows.
private func lent(_ products: UnsafePointer<ec_train_products>?, _ rows: Int) throws -> TrainProducts? {
    let given = try required(products, "products").pointee
    let columns = (try size(given.columns.0), try size(given.columns.1), try size(given.columns.2))
    let (rank, slices) = (try size(given.rank), try count(given.slices, "slices"))
    try requireMemory("middle", slices, rank, columns.1, rank)
    try requireMemory("left", max(rows, 16), columns.0, columns.1, rank)
    try requireMemory("out", rows, columns.0, columns.1, columns.2)
    guard rows > 0 else { return nil }
    return TrainProducts(
        columns: columns, rank: rank, left: try required(given.left, "left"),
        middle: try required(given.middle, "middle"), slices: slices, right: try required(given.right, "right"))
}

/// Of an axis: what is worked on at once fits in memory.
private func size(_ value: Int64) throws -> Int {
    guard (1...Int64(UInt16.max)).contains(value) else {
        throw invalid("columns and rank must be from 1 to \(UInt16.max), not \(value)")
    }
    return Int(value)
}
