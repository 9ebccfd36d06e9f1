"""The Hugging Face Hub: fetch, cache, push."""
