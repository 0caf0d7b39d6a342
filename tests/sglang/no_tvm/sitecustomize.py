"""Put in front of PYTHONPATH by tests: a Python in which TVM is not installed, as on a machine that only serves."""

from importlib.machinery import PathFinder

_find_spec = PathFinder.find_spec


def find_spec(name, path=None, target=None):
    return None if name == "tvm" or name.startswith("tvm.") else _find_spec(name, path, target)


PathFinder.find_spec = staticmethod(find_spec)
