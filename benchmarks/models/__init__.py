"""Real models from torch.export through Relax, on the chip: what they are, how they are exported, and `rigi bench models`."""
