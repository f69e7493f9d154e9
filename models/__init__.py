"""What runs: weights, tokenizer, the numpy executor, quantisers, perplexity, shapes, the trace."""
