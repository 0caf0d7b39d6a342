from .stage import Unsupported
def lower(stage, kernel): raise Unsupported("todo")
