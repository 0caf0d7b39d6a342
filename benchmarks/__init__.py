"""What the stack is worth: measurements behind `rigi bench` and `rigi parity`. Uses every layer; no layer uses this one."""
