"""Seeds that depend on what they are for, and on nothing else: no global state, no order of calls."""

import hashlib


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from any description, e.g. `derive_seed(seed, "mask", step)`: unrelated for unequal descriptions."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
