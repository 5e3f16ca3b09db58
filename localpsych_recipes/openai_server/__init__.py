"""The one door to OpenAI-compatible servers (llama-server, vLLM, Ollama).

connecting.py  whom texts may be sent to: this machine alone unless the recipe allows another one
asking.py      one request and its answer
"""

from localpsych_recipes.openai_server.asking import Answer, Refused, Server, digest
from localpsych_recipes.openai_server.connecting import HEADERS, connect, where

__all__ = ["HEADERS", "Answer", "Refused", "Server", "connect", "digest", "where"]
