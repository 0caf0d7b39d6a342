"""python -m benchmarks.faults.fuzz CALLS MODULES [SEED]: the fuzzer alone; fails if it found something."""

import sys

from . import fuzz

result, _ = fuzz(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
print(result)
sys.exit(result["crashes"] != 0 or result["leaked_bytes"] != 0)
