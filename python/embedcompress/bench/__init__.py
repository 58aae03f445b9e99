"""Benchmarks beside other libraries. `embedcompress bench lookup` runs `embedcompress.bench.lookup`.

Nothing here imports torch, FBGEMM or faiss before a benchmark runs; what is not installed is listed as absent.
"""
