"""The dictionaries, one per file; `orbitlens.sae` exports them.

base         the interface, and the transpose as an encoder
free         learned directions of unit length
archetypal   mixtures of data, a baseline of the paper (Fel et al. 2025)
crosscoder   one block of directions per group element, another (Gorton 2024)
orbit        one direction per atom, moved into every orientation by the transport
"""
