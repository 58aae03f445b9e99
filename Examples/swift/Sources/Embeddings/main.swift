// Compresses a table to 4 bits, looks rows up, pools them, saves the table and opens it again.
//
//     swift run -c release Embeddings FILE
import EmbedCompress
import EmbedCompressFoundation
import Foundation

guard CommandLine.arguments.count == 2 else {
    print("usage: Embeddings FILE")
    exit(2)
}
let path = CommandLine.arguments[1]

// 1,000 rows of 64 numbers; yours come from a model.
let (rows, dimension) = (1000, 64)
let values = (0..<rows * dimension).map { Float($0 * 37 % 101 - 50) / 8 }
let weight = Table(try Dense(values, rows: rows, dimension: dimension))

let table = try weight.compressed(.greedy(bits: 4, b: 100))
print(table)

let row = try table[5]
let vectors = try table.lookup([3, 1, 4])
let sums = try table.bag([3, 1, 4, 1, 5] as [UInt32], offsets: [0, 2])
print(row.count, vectors.count, sums.count)

let quality = try table.quality(against: weight)
print("error", quality.normalizedL2, "cosine", quality.meanCosine)

try table.save(to: path)
let again = try Table(contentsOf: path)
print("same rows:", try again.lookup([3, 1, 4]) == vectors)

do {
    _ = try table[1000]
} catch {
    print(error.localizedDescription)
}
