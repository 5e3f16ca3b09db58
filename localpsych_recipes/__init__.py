"""One YAML recipe in, one release on the Hugging Face Hub out: adapter, merged model, GGUF quants and their cards."""

__version__ = "0.1.0"
