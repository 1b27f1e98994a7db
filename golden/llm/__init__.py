"""A language model's decoder in golden arithmetic: every bit as the units give it, at GEMM speed.

`opal`, `int_weight` and `bf16` are matrix products with the bits of `opal_dot`, `w4a16_dot` and
`bf16_dot`; `attention` has the softmaxes and what follows them; `decoder` puts them together.
"""
