"""`rigi bench timing`: the emulator's clock held against the rules of the chip manual by four independent routes."""
