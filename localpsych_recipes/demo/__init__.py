"""What the demo needs beside the package: a tiny Gemma 4, made here, and a small original dataset."""
