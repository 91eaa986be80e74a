"""The words of the specifications: digests, names, references, ranges, media types, manifests.

Pure: values in, values out, no input or output. Source: distribution-spec main (967efdc),
image-spec main (13cff54).
"""
