"""The pictures and captions that a LoRA is trained on: found, sorted into buckets, drawn, encoded.

`folders`, `find`, `buckets`, `wording` and `order` import no torch and look at no pixels; `pixels`, `cache` and
`batches` do.
"""
