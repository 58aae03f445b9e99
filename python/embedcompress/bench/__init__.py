"""Benchmarks. `embedcompress bench NAME` runs the module of that name.

Nothing here imports torch, FBGEMM, faiss or transformers before a benchmark runs; what is not installed is listed as
absent, or said to be missing.
"""
