"""ONNX's backend node tests through TVM Relax, on TVM's `llvm` target and on `rigi1`."""
