"""Put in front of PYTHONPATH by tests: makes `import tvm` fail, as on a machine that only serves."""

import sys


class NoTvm:
    def find_spec(self, name, path=None, target=None):
        if name == "tvm" or name.startswith("tvm."):
            raise ModuleNotFoundError(f"{name}: this process must serve without TVM", name=name)
        return None


sys.meta_path.insert(0, NoTvm())
