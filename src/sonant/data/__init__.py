"""Speech with its texts: manifests, corpora, what is wrong with them, shards, and (with PyTorch) batches."""
